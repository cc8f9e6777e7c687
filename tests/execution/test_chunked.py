"""Chunked against dense: value, gradient and top-k, over heads, decoders, types and odd sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.execution.cases import labels_of, loss_and_gradients, parts
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded
from xmtc.errors import InputError
from xmtc.execution.chunked import Chunked, chunk_size
from xmtc.execution.dense import Dense
from xmtc.execution.sharded import Sharded
from xmtc.execution.shortlist import Shortlist
from xmtc.heads.block import CorrelationHead
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead
from xmtc.training.objectives import Asymmetric, Focal, Objective, PropensityWeighted

OBJECTIVES = {"bce": Objective, "focal": Focal, "asymmetric": Asymmetric, "propensity": PropensityWeighted}


def objective(name, reduction, num_labels):
    made = OBJECTIVES[name](reduction=reduction)
    made.prepare(torch.arange(num_labels), 100)
    return made


@settings(max_examples=120, deadline=None)
@given(
    num_labels=st.integers(1, 23),
    documents=st.integers(1, 5),
    blocks=st.integers(0, 3),
    chunk=st.integers(1, 30),
    keep=st.sampled_from([0.0, 0.5, 0.75, 1.0]),
    attention=st.booleans(),
    entry=st.sampled_from(["sigmoid", "relu", "tanh", "elu", "identity"]),
    middle=st.sampled_from(["elu", "identity"]),
    residual=st.booleans(),
    centred=st.booleans(),
    dropout=st.sampled_from([0.0, 0.4]),
    raw_loss_weight=st.sampled_from([0.0, 0.7]),
    loss=st.sampled_from(sorted(OBJECTIVES)),
    reduction=st.sampled_from(["mean", "label_sum"]),
    seed=st.integers(0, 5),
)
def test_loss_gradients_and_topk_equal_dense(
    num_labels, documents, blocks, chunk, keep, attention, entry, middle, residual, centred, dropout, raw_loss_weight,
    loss, reduction, seed,
):  # fmt: skip
    head = dict(entry=entry, middle=middle, residual=residual, centred=centred)
    head |= dict(dropout=dropout, raw_loss_weight=raw_loss_weight)
    decoder, head, encoded, labels = parts(num_labels, documents, blocks, attention, seed, **head)
    made = objective(loss, reduction, num_labels)
    dense, chunked = Dense(decoder, head, made), Chunked(decoder, head, made, chunk=chunk, keep_raw=keep)
    expected = loss_and_gradients(dense, encoded, labels, scale=2.5)
    torch.testing.assert_close(loss_and_gradients(chunked, encoded, labels, scale=2.5), expected)
    head.eval()
    scores, found = chunked.topk(encoded, 7)
    expected_scores, expected_labels = dense.topk(encoded, 7)
    torch.testing.assert_close(scores, expected_scores)
    assert torch.equal(found, expected_labels)
    for part in (slice(num_labels // 3, num_labels), slice(None)):
        wanted = tuple(x.detach() for x in dense.logits(encoded, part))
        torch.testing.assert_close(chunked.logits(encoded, part), wanted)


@pytest.mark.parametrize("attention", [False, True])
def test_bfloat16_autocast_is_as_near_to_the_truth_as_dense_is(attention):
    decoder, head, encoded, labels = parts(300, 6, 2, attention, dtype=torch.float32, rank=20)
    truth = loss_and_gradients(Dense(decoder, head, Objective()), encoded, labels)
    errors = []
    for execution in (Dense(decoder, head, Objective()), Chunked(decoder, head, Objective(), chunk=70)):
        with torch.autocast("cpu", torch.bfloat16):
            got = loss_and_gradients(execution, encoded, labels)
            execution.topk(encoded, 5)
        errors.append(max(float((a - b).norm() / (b.norm() + 1e-9)) for a, b in zip(got, truth, strict=True)))
    assert 0 < errors[1] < 1.2 * errors[0] + 1e-3


def test_equal_scores_across_chunks_come_in_the_order_of_labels():
    decoder = LinearDecoder(1, 9)
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.bias.copy_(torch.tensor([0.0, 2, 1, 2, 1, 1, 2, 0, 1]))
    scores, labels = Chunked(decoder, NoHead(5), Objective(), chunk=2).topk(Encoded(torch.ones(2, 1)), 6)
    assert labels.tolist() == [[1, 3, 6, 2, 4, 5]] * 2 and scores[0].tolist() == [2, 2, 2, 1, 1, 1]


def test_same_twice_bit_by_bit():
    decoder, head, encoded, labels = parts(50, 4, 2, False, dtype=torch.float32)
    chunked = Chunked(decoder, head, Objective(), chunk=7)
    first, second = (loss_and_gradients(chunked, encoded, labels) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_frozen_rows_get_no_gradient_and_the_rest_is_the_same():
    decoder, head, encoded, labels = parts(11, 3, 1, False)
    expected = loss_and_gradients(Dense(decoder, head, Objective()), encoded, labels)
    decoder.weight.requires_grad_(False)
    loss = Chunked(decoder, head, Objective(), chunk=4).loss(Encoded(encoded.features.requires_grad_()), labels)
    loss.backward()
    assert decoder.weight.grad is None
    torch.testing.assert_close(encoded.features.grad, expected[1])
    torch.testing.assert_close(decoder.bias.grad, expected[3])


def test_a_frozen_head_gets_no_gradient_and_the_rest_is_the_same():
    decoder, head, encoded, labels = parts(11, 3, 2, False)
    expected = loss_and_gradients(Dense(decoder, head, Objective()), encoded, labels)
    head.requires_grad_(False)
    features = encoded.features.clone().requires_grad_()
    Chunked(decoder, head, Objective(), chunk=4).loss(Encoded(features), labels).backward()
    assert all(parameter.grad is None for parameter in head.parameters())
    torch.testing.assert_close([features.grad, decoder.weight.grad, decoder.bias.grad], expected[1:4])


def test_logits_and_rankings_before_and_behind_the_head_and_memory_given_back():
    decoder, head, encoded, labels = parts(11, 3, 2, False, dtype=torch.float32)
    dense, chunked = Dense(decoder, head, Objective()), Chunked(decoder, head, Objective(), chunk=4, keep_raw=1.0)
    found = dense.raw_and_enhanced_topk(encoded, 2, 5)
    torch.testing.assert_close(chunked.raw_and_enhanced_topk(encoded, 2, 5), found)
    torch.testing.assert_close(found[0], Dense(decoder, NoHead(11), Objective()).topk(encoded, 2))
    wanted = tuple(x.detach() for x in dense.logits(encoded, slice(2, 9)))
    torch.testing.assert_close(chunked.logits(encoded, slice(2, 9)), wanted)
    loss_and_gradients(chunked, encoded, labels)
    assert chunked.store.shape == (11, 3)
    chunked.rest()
    assert chunked.store is None
    chunked.load_state_dict(chunked.state_dict())  # without an update of its own there is none


@pytest.mark.parametrize(("options", "said"), [
    ({"keep_raw": True}, "chunked (raw logits kept)"),
    ({"keep_raw": False, "update": "adam"}, "chunked (raw logits recomputed, adam within the last sweep)"),
], ids=str)  # fmt: skip
def test_it_says_what_it_does(options, said):
    assert Chunked(LinearDecoder(4, 5), NoHead(5), Objective(), **options).describe() == said


@pytest.mark.parametrize("processes", [False, True])
def test_what_is_collected_is_added_in_place_but_not_where_other_processes_wait_for_it(monkeypatch, processes):
    """Autograd's hooks are called for what it is given: DDP's, which send it."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: processes)
    decoder, head, encoded, labels = parts(11, 3, 1, False)
    calls, chunked = [], Chunked(decoder, head, Objective(), chunk=4)
    decoder.weight.register_hook(lambda grad: calls.append(grad is not None))
    for _ in range(2):
        chunked.loss(Encoded(encoded.features.clone().requires_grad_()), labels).backward()
    assert calls == [True, processes]
    expected = loss_and_gradients(Dense(decoder, head, Objective()), encoded, labels)
    torch.testing.assert_close(decoder.weight.grad, 2 * expected[2])


@pytest.mark.parametrize("kind", ["bce", "propensity"])
def test_a_scaled_loss_of_labels_that_weigh_differently(kind):
    decoder, head, encoded, labels = parts(11, 3, 2, False, seed=3)
    made = objective(kind, "mean", 11)
    expected = loss_and_gradients(Dense(decoder, head, made), encoded, labels, scale=2.5)
    chunked = Chunked(decoder, head, made, chunk=4)
    torch.testing.assert_close(loss_and_gradients(chunked, encoded, labels, scale=2.5), expected)


def test_no_tensor_of_documents_by_labels_is_made():
    """Largest tensor of a step without kept logits, beside parameters and their gradients."""
    documents, num_labels, chunk = 8, 4096, 256
    decoder, head = LinearDecoder(4, num_labels), LCENet(num_labels, rank=2, blocks=2)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for value in result if isinstance(result, tuple | list) else (result,):
                if isinstance(value, torch.Tensor) and value.ndim == 2 and value.shape[0] == documents:
                    largest = max(largest, value.numel())
            return result

    features = torch.randn(documents, 4, requires_grad=True)
    execution = Chunked(decoder, head, Objective(), chunk=chunk, keep_raw=False)
    with Watch():
        execution.loss(Encoded(features), labels_of([[i, 4000 + i] for i in range(documents)])).backward()
    assert 0 < largest <= documents * chunk


def test_chunk_follows_from_batch_and_device():
    assert chunk_size(64, 501_008, "cpu") == 4096
    assert chunk_size(64, 100, "cpu") == 100
    assert chunk_size(10_000, 501_008, "cpu") == 512
    assert chunk_size(64, 501_008, "cuda") == 2**17
    assert chunk_size(0, 0, "cpu") == 1


def test_what_cannot_be_is_refused_in_one_line():
    decoder = LinearDecoder(4, 5)
    with pytest.raises(InputError, match="head.bottleneck=false.*execution=dense"):
        Chunked(decoder, LCENet(5, bottleneck=False), Objective())
    with pytest.raises(InputError, match="execution.weights=bf16.*update=sgd"):
        Chunked(decoder, NoHead(5), Objective(), weights="bf16", update="adam")
    with torch.autocast("cpu", torch.float16), pytest.raises(InputError, match="16-mixed"):
        Chunked(decoder, NoHead(5), Objective()).loss(Encoded(torch.ones(1, 4)), labels_of([[1]]))


def test_the_smallest_chunk_and_the_ends_of_the_share_are_possible():
    decoder, head, encoded, labels = parts(4, 2, 1, False)
    expected = loss_and_gradients(Dense(decoder, head, Objective()), encoded, labels)
    for keep in (0, 1, True, False):
        chunked = Chunked(decoder, head, Objective(), chunk=1, keep_raw=keep)
        torch.testing.assert_close(loss_and_gradients(chunked, encoded, labels), expected)


def test_gradients_of_several_losses_add_up():
    decoder, head, encoded, labels = parts(11, 3, 2, False)
    _, _, *expected = loss_and_gradients(Dense(decoder, head, Objective()), encoded, labels)
    chunked = Chunked(decoder, head, Objective(), chunk=4)
    for _ in range(3):
        chunked.loss(Encoded(encoded.features), labels).backward()
    for parameter, once in zip([*decoder.parameters(), *head.parameters()], expected, strict=True):
        torch.testing.assert_close(parameter.grad, 3 * once)


def test_no_labels_at_all():
    chunked = Chunked(LinearDecoder(4, 0), NoHead(5), Objective())
    assert chunked.topk(Encoded(torch.ones(2, 4)), 5)[1].shape == (2, 0)


class Scaled(nn.Module):
    def forward(self, logits_BL):
        return 2 * logits_BL


class Halved(LCENet):
    def forward(self, logits_BL):
        return super().forward(logits_BL) / 2


@pytest.mark.parametrize("head", [CorrelationHead([Scaled()]), Halved(5, rank=2)], ids=["blocks", "forward"])
@pytest.mark.parametrize("kind", [Chunked, Sharded, Shortlist])
def test_heads_that_are_no_stack_of_correlation_blocks_are_dense_alone(kind, head):
    """Sweeps would fail on such blocks, and know nothing of such a forward."""
    decoder, encoded = LinearDecoder(4, 5), Encoded(torch.randn(3, 4))
    with pytest.raises(InputError, match=f"head: {type(head).__name__} runs with execution=dense only"):
        kind(decoder, head, Objective())
    assert torch.equal(Dense(decoder, head, Objective()).logits(encoded)[1], head(decoder(encoded)))
