"""MATCH's regularisers against loops over documents and pairs; their gradients against differences of those."""

import logging

import numpy as np
import pytest
import torch

from xmtc.decoders.hierarchical import OUTPUTS, PARAMETERS, HierarchicalDecoder, Pairs
from xmtc.encoders.base import Encoded
from xmtc.errors import InputError
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.heads.lcenet import LCENet
from xmtc.training.objectives import Objective

L, D, B = 7, 3, 4
# (label, the label above it): 1 has two, 0 is above three; one pair twice, one label above itself, 6 in none
HIERARCHY = [(1, 0), (2, 0), (1, 5), (3, 2), (4, 0), (1, 0), (5, 5)]
PAIRS = sorted({(label, above) for label, above in HIERARCHY if label != above})


def slow(features, weight, bias):
    """Both terms, from the two formulas."""
    near = beyond = 0.0
    for label, above in PAIRS:
        near += sum((weight[label, d] - weight[above, d]) ** 2 for d in range(D)) / 2
        for document in range(len(features)):
            chances = [1 / (1 + np.exp(-(features[document] @ weight[x] + bias[x]))) for x in (label, above)]
            beyond += max(0.0, chances[0] - chances[1]) / len(features)
    return near, beyond


def slow_gradients(arrays, term, step=1e-6):
    found = []
    for array in arrays:
        grad = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            held, values = array[place], []
            for sign in (1, -1):
                array[place] = held + sign * step
                values.append(slow(*arrays)[term])
            array[place] = held
            grad[place] = (values[0] - values[1]) / (2 * step)
        found.append(grad)
    return found


def decoder_of(parameters=0.7, outputs=0.9, hierarchy=HIERARCHY, **settings):
    decoder = HierarchicalDecoder(D, L, parameters, outputs, **settings).double()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter)
    decoder.prepare(lambda: hierarchy)
    return decoder


def some_features():
    return torch.randn(B, D, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("piece", [1, 2, 100])
def test_values_and_gradients(piece):
    decoder, features = decoder_of(), some_features()
    decoder.pairs = Pairs(sorted((above, label) for label, above in PAIRS), L, piece)
    assert decoder.pairs.count == -(-len(PAIRS) // piece)
    arrays = [x.detach().numpy().copy() for x in (features, decoder.weight, decoder.bias)]
    terms = decoder.auxiliary(Encoded(features))
    expected = slow(*arrays)
    assert expected[1] > 0.1  # some label is more probable than what lies above it
    for term, (name, factor) in enumerate((("hypernymy_parameters", 0.7), ("hypernymy_outputs", 0.9))):
        assert terms[name].item() == pytest.approx(factor * expected[term], rel=1e-12)
        grads = torch.autograd.grad(terms[name], [features, decoder.weight, decoder.bias], retain_graph=True)
        for grad, numbers in zip(grads, slow_gradients(arrays, term), strict=True):
            np.testing.assert_allclose(grad.numpy(), factor * numbers, atol=1e-7)


def test_one_term_alone():
    features = some_features()
    torch.manual_seed(1)
    both = decoder_of()
    for term, weights in enumerate([(0.7, 0), (0, 0.9)]):
        torch.manual_seed(1)
        decoder = decoder_of(*weights)
        ((name, value),) = decoder.auxiliary(Encoded(features)).items()
        assert name == ("hypernymy_parameters", "hypernymy_outputs")[term]
        assert value.item() == pytest.approx(both.auxiliary(Encoded(features))[name].item(), rel=1e-12)
        value.backward()
        assert decoder.weight.grad.abs().sum() > 0


def test_under_a_loss_that_sums_over_labels_they_count_once_a_label():
    features = some_features()
    torch.manual_seed(1)
    mean = decoder_of().auxiliary(Encoded(features))
    torch.manual_seed(1)
    summed = decoder_of(per_label=True).auxiliary(Encoded(features))
    assert {name: value.item() / L for name, value in summed.items()} == pytest.approx(
        {name: value.item() for name, value in mean.items()}
    )


@pytest.mark.parametrize("term", [0, 1])
def test_descending_it_makes_a_hierarchy_hold(term):
    """The gradient reaches the weights: labels come near their parents, children below them."""
    decoder, features = decoder_of(*[(1.0, 0), (0, 1.0)][term]), some_features().detach()
    arrays = lambda: [x.detach().numpy() for x in (features, decoder.weight, decoder.bias)]  # noqa: E731
    before = slow(*arrays())[term]
    optimizer = torch.optim.SGD(decoder.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        sum(decoder.auxiliary(Encoded(features)).values()).backward()
        optimizer.step()
    assert slow(*arrays())[term] < 0.1 * before


def test_the_papers_weights_need_a_hierarchy_to_be_there(caplog):
    with caplog.at_level(logging.INFO):
        assert decoder_of(None, None, hierarchy=[]).auxiliary(Encoded(some_features())) == {}
    assert "the corpus has no hierarchy" in caplog.text
    features = some_features()
    torch.manual_seed(1)
    found = decoder_of(None, None).auxiliary(Encoded(features))
    torch.manual_seed(1)
    asked = decoder_of(PARAMETERS, OUTPUTS).auxiliary(Encoded(features))
    assert (PARAMETERS, OUTPUTS) == (1e-10, 2.56e-6) and found == asked and len(found) == 2


@pytest.mark.parametrize("hierarchy", [[], [(3, 3)]])
@pytest.mark.parametrize("weights, key", [((0.1, None), "parameter_weight"), ((0, 0.1), "output_weight")])
def test_a_number_insists(weights, key, hierarchy):
    with pytest.raises(InputError, match=f"encoder.{key}: the corpus has no hierarchy of its labels") as caught:
        decoder_of(*weights, hierarchy=hierarchy)
    assert "\n" not in str(caught.value)


def test_without_weights_nobody_asks_for_the_hierarchy():
    decoder = HierarchicalDecoder(D, L, 0, 0)
    decoder.prepare(lambda: pytest.fail("asked"))
    assert decoder.auxiliary(Encoded(torch.zeros(B, D))) == {}


def test_rows_that_are_updated_elsewhere_are_refused():
    decoder = decoder_of()
    Chunked(decoder, LCENet(L, rank=2).double(), Objective(), chunk=3, update="adam").start()
    with pytest.raises(
        InputError, match="encoder.parameter_weight, encoder.output_weight: .*without an update"
    ) as caught:
        decoder.auxiliary(Encoded(some_features()))
    assert "\n" not in str(caught.value)
    decoder = decoder_of()
    decoder.weight.data = decoder.weight.data[:3]  # as sharded execution does
    with pytest.raises(InputError, match="all label rows"):
        decoder.auxiliary(Encoded(some_features()))


def test_the_hierarchy_is_no_part_of_the_state():
    assert set(decoder_of().state_dict()) == {"weight", "bias"}
    assert decoder_of().pairs.children0.tolist() and not list(decoder_of().pairs.parameters())


@pytest.mark.parametrize("accumulated", [False, True])
def test_beside_the_loss_of_every_execution(labels_of, accumulated):
    """Chunks write their gradients straight into those that are there already: nothing of the terms may be lost."""
    labels, features = labels_of([[1, 3], [], [0], [2, 6]]), some_features().detach()
    found = []
    for execution, options in ((Dense, {}), (Chunked, {"chunk": 3}), (Chunked, {"chunk": 2, "keep_raw": 0.0})):
        torch.manual_seed(3)
        decoder, head = decoder_of(), LCENet(L, rank=2, blocks=2).double()
        made = execution(decoder, head, Objective(), **options)
        encoded = Encoded(features.clone().requires_grad_())
        for _ in range(1 + accumulated):
            loss = made.loss(encoded, labels) + sum(decoder.auxiliary(encoded).values())
            loss.backward()
        found.append([loss.detach(), encoded.features.grad, *(p.grad for p in made.parameters())])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_mixed_precision_leaves_the_terms_in_full():
    decoder, features = decoder_of().float(), some_features().detach()
    full = decoder.auxiliary(Encoded(features.to(torch.bfloat16).float()))
    with torch.autocast("cpu", torch.bfloat16):
        half = features.to(torch.bfloat16).requires_grad_()
        terms = decoder.auxiliary(Encoded(half))
    torch.testing.assert_close(terms, full)
    sum(terms.values()).backward()
    assert half.grad.dtype == torch.bfloat16 and decoder.weight.grad.dtype == torch.float32
