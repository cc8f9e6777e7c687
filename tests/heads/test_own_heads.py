"""Our own switches of LCENet: blocks centred at the prior, contexts started from the training co-occurrence."""

import numpy as np
import pytest
import torch

from tests.execution.cases import labels_of
from xmtc.config import compose_checked
from xmtc.config.make import make
from xmtc.errors import InputError
from xmtc.heads.block import CorrelationBlock
from xmtc.heads.cooccurrence import leading
from xmtc.heads.cornet import CorNet
from xmtc.heads.lcenet import LCENet


def numbers(tensor):
    return tensor.detach().numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_a_centred_block_by_hand_value_and_gradients():
    L, R, B = 5, 3, 4
    head = LCENet(L, rank=R, blocks=1, centred=True).double()
    prior = torch.tensor([-4.0, -2.0, 0.0, 1.0, -9.0], dtype=torch.float64)
    head.prepare(labels_of([[0], [1, 2]]), prior)
    (block,) = head.blocks
    x = torch.randn(B, L, dtype=torch.float64, requires_grad=True)
    weigh = torch.randn(B, L, dtype=torch.float64)
    (head(x) * weigh).sum().backward()

    values, G, p = numbers(x), numbers(weigh), sigmoid(numbers(prior))
    W1, b1, W2, b2 = map(numbers, (block.gather_weight, block.gather_bias, block.spread_weight, block.spread_bias))
    gate = sigmoid(values) - p
    h = gate @ W1 + b1
    context = np.where(h > 0, h, np.exp(h) - 1)
    np.testing.assert_allclose(numbers(head(x)), values + context @ W2.T + b2, rtol=1e-12)
    dh = (G @ W2) * np.where(h > 0, 1, np.exp(h))
    expected = {
        "spread_weight": G.T @ context,
        "spread_bias": G.sum(0),
        "gather_weight": gate.T @ dh,
        "gather_bias": dh.sum(0),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(numbers(getattr(block, name).grad), value, rtol=1e-10, err_msg=name)
    slope = sigmoid(values) * (1 - sigmoid(values))
    np.testing.assert_allclose(numbers(x.grad), G + (dh @ W1.T) * slope, rtol=1e-10)


@pytest.mark.parametrize("entry", ["sigmoid", "relu", "tanh", "elu", "identity"])
def test_a_document_at_the_prior_says_nothing(entry):
    """Whatever the gate: only the bias of the gather is left in the context."""
    head = LCENet(6, rank=4, blocks=2, entry=entry, centred=True)
    prior = torch.randn(6)
    head.prepare(labels_of([[]]), prior)
    for block in head.blocks:
        torch.testing.assert_close(block.gather(prior[None]), torch.zeros(1, 4), atol=1e-6, rtol=0)
        plain = CorrelationBlock(6, 4, entry)
        assert not torch.allclose(plain.gather(prior[None]), torch.zeros(1, 4), atol=1e-3)


def random_labels(documents=400, labels=12, seed=0):
    """Labels in groups that come together, one that nobody has and one that everybody has."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(documents):
        group = int(random.integers(0, 3))
        near = [label for label in range(group, labels - 2, 3) if random.random() < 0.5]
        far = [label for label in range(labels - 2) if random.random() < 0.1]
        rows.append(sorted({*near, *far, labels - 1}))
    return rows


def normalised(rows, L, shrink):
    """(N, L) shrunk z-scores and their covariance, with dense matrices and loops."""
    Y = np.zeros((len(rows), L))
    for document, row in enumerate(rows):
        Y[document, row] = 1
    Z = np.zeros_like(Y)
    for label in range(L):
        n, p = Y[:, label].sum(), Y[:, label].mean()
        if 0 < p < 1:
            Z[:, label] = (Y[:, label] - p) / np.sqrt(p * (1 - p)) * np.sqrt(n / (n + shrink))
    return Y, Z, Z.T @ Z / len(rows)


@pytest.mark.parametrize("shrink", [0.0, 10.0, 1e9])  # with the last one all values are tiny, and count all the same
@pytest.mark.parametrize("count", [1, 4, 50])
def test_the_leading_directions_are_the_eigenvectors_of_the_whole_matrix(shrink, count):
    rows, L = random_labels(), 12
    _, _, covariance = normalised(rows, L, shrink)
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-values)[: min(count, 10)]  # two labels never vary
    mine, their_values, scale = leading(labels_of(rows), L, count, shrink)
    np.testing.assert_allclose(their_values, values[order], rtol=1e-8)
    np.testing.assert_allclose(np.abs(np.sum(mine * vectors[:, order], axis=0)), 1, atol=1e-6)
    assert mine.shape == (L, len(order)) and scale[-2] == scale[-1] == 0
    assert (mine[np.abs(mine).argmax(0), np.arange(len(order))] > 0).all()  # one sign of the two, always the same


def test_labels_of_one_document_and_labels_that_are_not_ours():
    rows = [[0, 1], [0, 1], [0, 1, 2], [2, 3], [1, 9], [8], []]
    _, _, covariance = normalised([[label for label in row if label < 5] for row in rows], 5, 10.0)
    vectors, values, scale = leading(labels_of(rows), 5, 5)
    np.testing.assert_allclose(values, np.sort(np.linalg.eigvalsh(covariance))[::-1][:4], rtol=1e-8)
    np.testing.assert_allclose(covariance @ vectors, vectors * values, atol=1e-12)
    assert scale[3] == pytest.approx(np.sqrt(1 / 11) / np.sqrt(1 / 7 * 6 / 7)) and scale[4] == 0


def test_few_of_many_directions_are_found_from_the_sparse_counts():
    random = np.random.default_rng(1)
    topics = [random.choice(300, 6, replace=False) for _ in range(20)]
    rows = [sorted({int(label) for t in random.choice(20, 2, p=np.arange(20, 0, -1) / 210) for label in topics[t]
                    if random.random() < 0.8}) for _ in range(2000)]  # fmt: skip
    _, _, covariance = normalised(rows, 300, 10.0)
    expected = np.sort(np.linalg.eigvalsh(covariance))[::-1][:8]
    vectors, values, _ = leading(labels_of(rows), 300, 8)
    np.testing.assert_allclose(values, expected, rtol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(8), atol=1e-10)
    np.testing.assert_allclose(np.diag(vectors.T @ covariance @ vectors), values, rtol=1e-10)


def test_contexts_start_uncorrelated_and_as_wide_as_random_ones():
    rows, L, R = random_labels(3000, 40), 40, 6
    Y, _, _ = normalised(rows, L, 10.0)
    head = LCENet(L, rank=R, blocks=2, start="cooccurrence", zero_init=True)
    head.prepare(labels_of(rows), torch.zeros(L))
    contexts = np.concatenate([(Y - Y.mean(0)) @ numbers(block.gather_weight) for block in head.blocks], axis=1)
    covariance = contexts.T @ contexts / len(rows)
    usual = 2 / (L + R) * (Y.mean(0) * (1 - Y.mean(0))).sum()
    np.testing.assert_allclose(
        covariance, usual * np.eye(2 * R), atol=1e-3 * usual
    )  # each block has directions of its own
    torch.manual_seed(3)
    spreads = [
        ((Y - Y.mean(0)) @ numbers(CorNet(L, rank=R, blocks=1).blocks[0].gather_weight)).var(0).mean()
        for _ in range(200)
    ]
    assert np.mean(spreads) == pytest.approx(usual, rel=0.1)


@pytest.mark.parametrize("rows", [[], [[]], [[0], [0]], [[0, 1, 2]]], ids=str)
def test_labels_that_never_vary_leave_the_start_random(rows):
    torch.manual_seed(5)
    plain = LCENet(3, rank=2, blocks=1)
    torch.manual_seed(5)
    head = LCENet(3, rank=2, blocks=1, start="cooccurrence")
    head.prepare(labels_of(rows), torch.zeros(3))
    assert torch.equal(head.blocks[0].gather_weight, plain.blocks[0].gather_weight)


@pytest.mark.parametrize("name", ["centred", "cooccurrence"])
def test_they_start_as_the_identity_and_leave_the_random_numbers_alone(name):
    node = dict(compose_checked([f"head={name}", "head.rank=4"]).head)
    rows = random_labels()
    torch.manual_seed(1)
    LCENet(12, rank=4, blocks=1, zero_init=True)
    expected = torch.rand(3)
    torch.manual_seed(1)
    head = make(node, num_labels=12)
    head.prepare(labels_of(rows), torch.linspace(-5, 0, 12))
    assert torch.equal(torch.rand(3), expected)
    x = torch.randn(3, 12)
    assert torch.equal(head(x), x)
    assert sum(p.numel() for p in head.parameters()) == 2 * 4 * 12 + 4 + 12  # O(RL)
    (head(x).sum()).backward()
    assert head.blocks[0].spread_weight.grad.abs().sum() > 0


def test_what_needs_a_bottleneck_says_so():
    with pytest.raises(InputError, match="head.centred=true acts on the bottleneck"):
        LCENet(4, bottleneck=False, centred=True)
    with pytest.raises(InputError, match="head.start=cooccurrence acts on the bottleneck"):
        LCENet(4, bottleneck=False, start="cooccurrence")


def test_the_training_labels_leave_a_full_head_as_it_is():
    head = LCENet(5, bottleneck=False)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.prepare(labels_of([[0], [0, 3]]), torch.zeros(5))
    assert before.keys() == head.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_a_head_without_our_switches_has_the_state_it_always_had():
    names = {"gather_weight", "gather_bias", "spread_weight", "spread_bias"}
    assert set(CorrelationBlock(4, 2).state_dict()) == names
    assert set(CorrelationBlock(4, 2, centred=True).state_dict()) == names | {"centre"}
