import math

import numpy as np
import pytest
import torch

from xmtc.metrics.propensity import constants, inverse_propensities, propensities


def test_value_worked_by_hand():
    # N = 100, N_l = 4, A = 0.5, B = 0.25: C = (ln 100 - 1) sqrt(1.25), p = 1 / (1 + C / sqrt(4.25))
    expected = 1 / (1 + (math.log(100) - 1) * math.sqrt(1.25) / math.sqrt(4.25))
    assert propensities([4], 100, 0.5, 0.25)[0] == pytest.approx(expected, rel=1e-14)


def test_form_of_the_published_scripts():
    """AttentionXML's get_inv_propensity, which writes the weight directly: 1 + C (N_l + B)^-A."""
    counts = np.array([0, 1, 7, 900])
    c = (np.log(15539) - 1) * (1.5 + 1) ** 0.55
    np.testing.assert_allclose(inverse_propensities(counts, 15539), 1.0 + c * (counts + 1.5) ** -0.55, rtol=1e-14)


def test_rare_labels_weigh_more_and_tensors_are_accepted():
    weights = inverse_propensities(torch.tensor([0, 1, 2, 50, 1000]), 1000)
    assert (np.diff(weights) < 0).all() and (weights > 1).all()


@pytest.mark.parametrize("documents", [1, 2])
def test_tiny_training_sets_give_probabilities(documents):
    assert (propensities([0, 1, 2], documents) == 1.0).all()


def test_the_smallest_settings_that_are_possible():
    assert (propensities([3, 7], 100, a=0.0) == propensities([5, 9], 100, a=0.0)).all()  # every label alike
    assert propensities([4], 100, b=0.4)[0] > propensities([0], 100, b=0.4)[0] > 0
    assert propensities([], 5).shape == (0,) and propensities([0], 1)[0] == 1


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="b > 0"):
        propensities([1], 10, b=0.0)
    with pytest.raises(ValueError, match="a >= 0"):
        propensities([1], 10, a=-1.0)
    with pytest.raises(ValueError, match="counts"):
        propensities([-1], 10)
    with pytest.raises(ValueError, match="document"):
        propensities([1], 0)


def test_what_a_dataset_does_not_say_stays_the_usual():
    assert constants({"propensity": {"a": 0.5, "b": 0.4}}) == {"propensity_a": 0.5, "propensity_b": 0.4}
    assert constants({"propensity": {"b": 0.4}}) == {"propensity_b": 0.4}
    assert constants({"propensity": None}) == constants({}) == {}
