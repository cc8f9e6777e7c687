"""Dense execution and top-k lists."""

import numpy as np
import pytest
import torch

from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded
from xmtc.execution import topk
from xmtc.execution.base import Execution, row_names
from xmtc.execution.dense import Dense
from xmtc.execution.topk import _filtered, best
from xmtc.heads.block import CorrelationHead
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead
from xmtc.training.objectives import Objective

L = 7


@pytest.fixture
def encoded():
    return Encoded(torch.randn(3, 4))


def dense(**head):
    return Dense(LinearDecoder(4, L), LCENet(L, rank=3, **head) if head else NoHead(L), Objective())


def by_sorting(scores, k):
    """(B, k) labels by (-score, label)."""
    rows = [sorted(range(len(row)), key=lambda label: (-row[label], label)) for row in scores.tolist()]
    return torch.tensor([row[:k] for row in rows])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [1, 5, 40, 100])
@pytest.mark.parametrize("values", [1, 2, 5, 1000])
def test_equal_scores_come_in_the_order_of_labels_also_at_the_cut(values, k, dtype):
    scores = torch.randint(values, (20, 100)).to(dtype)
    top, labels = best(scores, k)
    assert torch.equal(labels, by_sorting(scores, k)) and labels.dtype == torch.int64
    assert torch.equal(top, scores.gather(1, labels))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("k, count", [(1, 64), (5, 333), (20, 700)])
def test_a_threshold_in_front_of_the_sort_changes_nothing(k, count, dtype):
    scores = torch.randn(9, count).to(dtype)
    scores[1] = scores[1].round()  # equal scores, some of them at the cut
    scores[2] = -scores[2].abs()
    scores[3, :7], scores[4, :7] = torch.inf, -torch.inf
    scores[5, 3 * k :] = -5.0
    scores[6, : 2 * k] = torch.tensor([0.0, -0.0], dtype=dtype).repeat(k)  # equal, whatever their bits
    scores[6, 2 * k :] = -scores[6, 2 * k :].abs() - 1
    labels = by_sorting(scores, k)
    for rows in (slice(None), [0, 2, 3, 4], [6], [8]):
        top, found = best(scores[rows], k)
        assert torch.equal(found, labels[rows]) and torch.equal(top, scores[rows].gather(1, found))
    assert _filtered(scores[[0, 2, 3, 4]], k) is not None
    view = scores[:4].t().contiguous().t()
    assert torch.equal(best(view, k)[1], labels[:4])


def test_scores_that_differ_in_their_last_bit_alone():
    """Neighbouring numbers, the smallest there are, and zeros of both signs, which are equal."""
    random = np.random.default_rng(0)
    bits = np.concatenate([np.arange(600) + 0x3F800000, np.arange(600), -(2**31) + np.arange(600)]).astype(np.int32)
    scores = random.permutation(bits).view(np.float32)
    order = sorted(range(len(scores)), key=lambda place: (-float(scores[place]), place))
    for k in (50, 110):  # both ways
        found, labels = topk.best(torch.from_numpy(scores)[None], k)
        assert labels[0].tolist() == order[:k]
    far, labels = topk.best(torch.from_numpy(scores[scores < 0.5])[None], 60)
    small = scores[scores < 0.5]
    assert labels[0].tolist() == sorted(range(len(small)), key=lambda place: (-float(small[place]), place))[:60]


def test_the_threshold_is_used_where_it_spares_and_not_in_double_precision(monkeypatch):
    scores = torch.randn(3, 640)
    whole = topk._selected(scores, 5)[1]
    monkeypatch.setattr(topk, "_filtered", lambda *_: pytest.fail("single precision cannot tell these apart"))
    fine = (1 + 1e-12 * torch.arange(640, dtype=torch.float64)).expand(2, -1)
    assert best(fine, 3)[1].tolist() == [[639, 638, 637]] * 2
    monkeypatch.undo()
    monkeypatch.setattr(topk, "_selected", lambda *_: pytest.fail("slower"))
    assert torch.equal(best(scores, 5)[1], whole)


def test_an_execution_that_says_nothing():
    """What one without shards and updates answers to the training around it."""
    plain = Execution(LinearDecoder(4, L), NoHead(L), Objective())
    state = {"weight": torch.zeros(1)}
    plain.load_state_dict({})
    assert plain.describe() == "execution" and Dense(plain.decoder, plain.head, plain.objective).describe() == "dense"
    assert not plain.collective and not plain.clipping and not list(plain.start()) and plain.state_dict() == {}
    assert plain.whole_state(state) is state and plain.own_state(state) is state
    for call in (plain.loss, plain.topk):
        with pytest.raises(NotImplementedError):
            call(None, None)
    with pytest.raises(NotImplementedError):
        plain.logits(None)


def test_rows_by_label_are_named():
    decoder = LinearDecoder(4, L)
    own = {"decoder.weight", "decoder.bias"}
    assert row_names(decoder, NoHead(L)) == own
    block = {f"head.blocks.{i}.{name}" for i in (0, 1) for name in ("gather_weight", "spread_weight", "spread_bias")}
    assert row_names(decoder, LCENet(L, rank=2)) == own | block
    assert row_names(decoder, LCENet(L, blocks=1, bottleneck=False)) == own | {"head.blocks.0.bias"}
    assert row_names(decoder, CorrelationHead([torch.nn.Linear(L, L)])) == own  # somebody else's block


def test_without_a_threshold_where_it_would_spare_nothing():
    assert _filtered(torch.randn(4, 30), 5) is None  # few labels for their k
    assert _filtered(torch.zeros(4, 4000), 5) is None  # all equal
    unknown = torch.randn(4, 4000)
    unknown[2] = torch.nan
    assert _filtered(unknown, 5) is None
    assert best(unknown, 5)[1].shape == (4, 5)
    assert best(torch.randn(3, 640, requires_grad=True), 5)[0].requires_grad


def test_rows_with_and_without_ties_at_the_cut_share_a_batch():
    scores = torch.tensor([[3.0, 1, 2, 2, 2], [5, 4, 3, 2, 1], [-torch.inf] * 5])
    top, labels = best(scores, 3)
    assert labels.tolist() == [[0, 2, 3], [0, 1, 2], [0, 1, 2]]
    assert top.tolist() == [[3, 2, 2], [5, 4, 3], [-torch.inf] * 3]


def test_k_is_cut_to_the_labels_and_empty_batches_pass():
    top, labels = best(torch.tensor([[1.0, 3.0, 2.0]]), 100)
    assert labels.tolist() == [[1, 2, 0]] and top.tolist() == [[3, 2, 1]]
    assert best(torch.zeros(0, 9), 5)[1].shape == (0, 5)
    assert best(torch.zeros(2, 1), 5)[1].tolist() == [[0], [0]]


def test_logits_are_raw_and_enhanced(encoded):
    execution = dense(blocks=2)
    raw = encoded.features @ execution.decoder.weight.T + execution.decoder.bias
    torch.testing.assert_close(execution.logits(encoded), (raw, execution.head(raw)))
    raw, enhanced = dense().logits(encoded)
    assert raw is enhanced


@pytest.mark.parametrize("head", [{}, {"blocks": 2}, {"blocks": 1, "bottleneck": False}])
@pytest.mark.parametrize("labels", [slice(2, 5), slice(0, 1), slice(5, L), slice(None)])
def test_logits_of_a_slice_are_a_slice_of_the_logits(encoded, head, labels):
    execution = dense(**head)
    for part, whole in zip(execution.logits(encoded, labels), execution.logits(encoded), strict=True):
        torch.testing.assert_close(part, whole[:, labels])


def test_topk_is_of_the_enhanced_logits_in_single_precision(encoded):
    execution = dense(blocks=2)
    torch.nn.init.normal_(execution.head.blocks[1].spread_bias, 0, 5)
    raw, enhanced = execution.logits(encoded)
    scores, labels = execution.topk(encoded, 4)
    assert torch.equal(labels, by_sorting(enhanced, 4)) and not torch.equal(labels, by_sorting(raw, 4))
    torch.testing.assert_close(scores, enhanced.gather(1, labels))
    with torch.autocast("cpu", torch.bfloat16):
        assert execution.topk(encoded, 4)[0].dtype == torch.float32


def test_loss_adds_the_heads_share_of_the_raw_loss(encoded, labels_of, dense_targets):
    labels, execution = labels_of([[0, 3], [], [6]]), dense(blocks=2, raw_loss_weight=0.25)

    def entropy(logits):
        targets = dense_targets(labels, L)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits.double(), targets, reduction="sum") / 3

    raw, enhanced = execution.logits(encoded)
    loss, expected = execution.loss(encoded, labels), entropy(enhanced) + 0.25 * entropy(raw)
    torch.testing.assert_close(loss.double(), expected)
    parameters = [*execution.decoder.parameters(), *execution.head.parameters()]
    wanted = torch.autograd.grad(expected, parameters, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), wanted)
    execution.head.raw_loss_weight = 0.0
    torch.testing.assert_close(execution.loss(encoded, labels).double(), entropy(enhanced))
