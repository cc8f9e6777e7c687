"""Losses from CSR targets against the papers' formulas on dense targets, in value and gradient."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from xmtc.metrics.propensity import inverse_propensities
from xmtc.training.objectives import Asymmetric, Focal, Objective, PropensityWeighted

L = 6
DOCUMENTS = [[0, 3], [], [0, 1, 2, 3, 4, 5], [5], [2, L, L + 4]]  # none, all, and labels unseen in training
FREQUENCY = torch.tensor([1, 50, 3, 0, 7, 200])


def entropy(z, y):
    return F.binary_cross_entropy_with_logits(z, y, reduction="none")


def focal(gamma):
    def loss(z, y):
        p = torch.sigmoid(z)
        return -(y * (1 - p) ** gamma * p.log() + (1 - y) * p**gamma * (1 - p).log())

    return loss


def asymmetric(negative, positive, margin):
    def loss(z, y):
        p = torch.sigmoid(z)
        shifted = torch.where(p > margin, p - margin, 0.0)
        false = torch.where(p > margin, shifted.clamp(min=1e-300) ** negative, 0.0 if negative else 1.0)
        return -(y * (1 - p) ** positive * p.log() + (1 - y) * false * (1 - shifted).log())

    return loss


def propensity_weighted(z, y):
    weights = torch.from_numpy(inverse_propensities(FREQUENCY, 1000))
    weights = weights / ((weights * FREQUENCY).sum() / FREQUENCY.sum())
    return (1 - y) * F.softplus(z) + y * weights * F.softplus(-z)


ASYMMETRIC = [(4.0, 0.0, 0.05), (2.0, 1.0, 0.2), (4.0, 1.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.05), (0.5, 0.5, 0.0),
              (0.5, 0.0, 0.05), (1.0, 1.0, 0.05)]  # fmt: skip
CASES = (
    [pytest.param(Objective, {}, entropy, id="entropy")]
    + [pytest.param(Focal, {"gamma": g}, focal(g), id=f"focal-{g}") for g in (0.0, 0.5, 1.0, 2.0)]
    + [
        pytest.param(
            Asymmetric,
            {"gamma_negative": a, "gamma_positive": b, "margin": m},
            asymmetric(a, b, m),
            id=f"asymmetric-{a}-{b}-{m}",
        )
        for a, b, m in ASYMMETRIC
    ]
    + [pytest.param(PropensityWeighted, {}, propensity_weighted, id="propensity")]
)


def make(kind, settings, reduction="label_sum", dtype=torch.float64):
    objective = kind(**settings, reduction=reduction)
    objective.prepare(FREQUENCY, 1000)
    if isinstance(objective, PropensityWeighted) and dtype == torch.float64:
        objective.weights = propensity_in_double()
    return objective


def propensity_in_double():
    weights = torch.from_numpy(inverse_propensities(FREQUENCY, 1000))
    return weights / ((weights * FREQUENCY).sum() / FREQUENCY.sum())


@pytest.mark.parametrize("reduction", ["mean", "label_sum"])
@pytest.mark.parametrize(("kind", "settings", "formula"), CASES)
def test_value_and_gradient_are_the_formulas(kind, settings, formula, reduction, labels_of, dense_targets):
    labels = labels_of(DOCUMENTS)
    logits = (4 * torch.randn(len(DOCUMENTS), L, dtype=torch.float64)).requires_grad_()
    ours = make(kind, settings, reduction)(logits, labels)
    reference = formula(logits, dense_targets(labels, L))
    reference = reference.mean() if reduction == "mean" else reference.sum(1).mean()
    torch.testing.assert_close(ours, reference)
    expected = torch.autograd.grad(reference, logits)[0]
    torch.testing.assert_close(torch.autograd.grad(3 * ours, logits)[0], 3 * expected)


@pytest.mark.parametrize(("kind", "settings", "formula"), CASES)
def test_gradcheck(kind, settings, formula, labels_of):
    labels, objective = labels_of(DOCUMENTS), make(kind, settings)
    logits = (2 * torch.randn(len(DOCUMENTS), L, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: objective(z, labels), logits)


@pytest.mark.parametrize(("kind", "settings", "formula"), CASES)
def test_slices_add_up_to_the_whole(kind, settings, formula, labels_of):
    """What chunked and sharded execution do with the four functions."""
    labels, objective = labels_of(DOCUMENTS), make(kind, settings)
    z = torch.randn(len(DOCUMENTS), L, dtype=torch.float64, requires_grad=True)
    whole = objective(z, labels)
    total, gradient = 0.0, torch.zeros_like(z)
    for start, stop in ((0, 2), (2, 5), (5, L)):
        part = z.detach()[:, start:stop]
        rows, columns = labels.inside(start, stop)
        true, ids = part[rows, columns], columns + start
        total += objective.negative(part).sum() + (objective.positive(true, ids) - objective.negative(true)).sum()
        slope = objective.negative_derivative(part)
        slope[rows, columns] = objective.positive_derivative(true, ids)
        gradient[:, start:stop] = slope
    normaliser = objective.normaliser(len(DOCUMENTS), L)
    torch.testing.assert_close(total / normaliser, whole)
    torch.testing.assert_close(gradient / normaliser, torch.autograd.grad(whole, z)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("kind", "settings", "formula"), CASES)
def test_extreme_logits_stay_finite(kind, settings, formula, dtype, labels_of):
    extremes = torch.tensor([-1e4, -100.0, -88.0, -17.0, -1e-3, 0.0, 1e-3, 17.0, 88.0, 100.0, 1e4])
    objective = make(kind, settings, dtype=dtype)
    for row in ([], list(range(L))):
        logits = extremes[:, None].expand(-1, L).to(dtype).clone().requires_grad_()
        loss = objective(logits, labels_of([row] * len(extremes)))
        loss.backward()
        assert loss.isfinite() and logits.grad.isfinite().all() and logits.grad.dtype == dtype
        assert loss.dtype == torch.float32
        descending = logits.grad <= 0 if row else logits.grad >= 0
        assert descending.all()  # more score never costs a true label more, nor a false one less


@pytest.mark.parametrize(("kind", "settings", "formula"), CASES)
def test_single_precision_follows_double(kind, settings, formula, labels_of):
    labels = labels_of(DOCUMENTS)
    z = torch.linspace(-30, 30, len(DOCUMENTS) * L, dtype=torch.float64).view(-1, L)
    double, single = z.clone().requires_grad_(), z.float().requires_grad_()
    for logits in (double, single):
        make(kind, settings, dtype=logits.dtype)(logits, labels).backward()
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-4, atol=1e-6)


def test_half_precision_sums_in_single(labels_of):
    logits, labels = torch.zeros(2, 5000, dtype=torch.bfloat16), labels_of([[], [7]])
    assert math.isclose(Objective()(logits, labels).item(), 5000 * math.log(2), rel_tol=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "label_sum"])
@pytest.mark.parametrize(("kind", "settings", "formula"), CASES)
def test_no_documents_cost_nothing(kind, settings, formula, reduction, labels_of):
    logits = torch.zeros(0, L, requires_grad=True)
    loss = make(kind, settings, reduction, logits.dtype)(logits, labels_of([]))
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, L)


def test_one_label(labels_of):
    logits = torch.tensor([[0.5], [-2.0]])
    expected = F.binary_cross_entropy_with_logits(logits, torch.tensor([[1.0], [0.0]]))
    for reduction in ("mean", "label_sum"):
        torch.testing.assert_close(Objective(reduction)(logits, labels_of([[0], []])), expected)


def test_the_asymmetric_loss_forgets_what_is_below_its_margin(labels_of):
    z = torch.tensor([[-10.0, -3.0, math.log(0.05 / 0.95) - 1e-3, 0.0]], requires_grad=True)
    for gamma in (0.0, 0.5, 1.0, 4.0):
        gradient = torch.autograd.grad(Asymmetric(gamma, margin=0.05)(z, labels_of([[]])), z)[0][0]
        assert gradient[:3].tolist() == [0, 0, 0] and gradient[3] > 0


def test_weights_of_training_positives_have_mean_one():
    objective = PropensityWeighted()
    objective.prepare(FREQUENCY, 1000)
    assert math.isclose(float((objective.weights * FREQUENCY).sum() / FREQUENCY.sum()), 1, rel_tol=1e-6)
    by_frequency = objective.weights[FREQUENCY.argsort()]
    assert (by_frequency.diff() < 0).all()  # the rarer, the heavier
    torch.testing.assert_close(objective.weights.double(), propensity_in_double(), rtol=1e-6, atol=0)
    objective.prepare(torch.zeros(3, dtype=torch.int64), 10)
    assert objective.weights.isfinite().all()


def test_labels_inside_a_slice(labels_of):
    labels = labels_of(DOCUMENTS)
    for start, stop in ((0, L), (2, 4), (5, 100), (3, 3)):
        rows, columns = labels.inside(start, stop)
        pairs = [(i, label - start) for i, row in enumerate(DOCUMENTS) for label in row if start <= label < stop]
        assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == pairs
    assert labels.rows().tolist() == np.repeat(range(5), [len(row) for row in DOCUMENTS]).tolist()
    assert len(labels_of([])) == 0 and labels_of([]).inside(0, 5)[0].shape == (0,)
