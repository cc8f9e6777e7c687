"""Bootstrap, permutation test and Holm against scipy and statsmodels."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from xmtc.reporting.significance import bootstrap_interval, compare, holm, sign_flip_p


@pytest.fixture
def random():
    return np.random.default_rng(3)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_the_permutation_test_is_scipys(random, shift):
    first, second = random.random(80).round(1) + shift, random.random(80).round(1)
    wanted = stats.permutation_test(
        (first, second), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=20_000, rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    (p,) = sign_flip_p((first - second)[:, None], 20_000, random)
    assert p == pytest.approx(wanted, abs=4 * np.sqrt(wanted * (1 - wanted) / 20_000) + 2 / 20_000)


def test_few_documents_give_the_exact_p(random):
    differences = np.array([0.2, 0.4, -0.2, 0.4, 0.2, 0.0])
    exact = stats.permutation_test(
        (differences, np.zeros(6)), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    (p,) = sign_flip_p(differences[:, None], 100_000, random)
    assert p == pytest.approx(exact, abs=0.006)  # ties count as extreme, in any order of the sum


def test_p_is_never_zero(random):
    """The order that was seen is one of those that could have been (Phipson and Smyth 2010)."""
    assert sign_flip_p(np.ones((60, 1)), 99, random) == pytest.approx([1 / 100])


def test_the_bootstrap_is_scipys(random):
    differences = random.normal(0.1, 1.0, (300, 1))
    wanted = stats.bootstrap(
        (differences[:, 0],), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    low, high = bootstrap_interval(differences, 20_000, random)
    assert low[0] == pytest.approx(wanted.low, abs=0.005) and high[0] == pytest.approx(wanted.high, abs=0.005)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_holm_is_statsmodels(random, count):
    p = random.random(count) ** 3
    p[: count // 3] = p[0]  # ties
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_equal_systems_do_not_differ():
    scores = np.random.default_rng(0).random(50)
    (found,) = compare({"a": {"P@1": scores}, "b": {"P@1": scores}}, ["P@1"], 500)
    assert (found.difference, found.low, found.high, found.p, found.adjusted) == (0, 0, 0, 1, 1)


def test_every_pair_and_metric_with_one_correction(random):
    base = random.random(400)
    scores = {name: {"P@1": base + up, "P@5": base + up * random.random(400)} for name, up in
              {"low": 0.0, "same": 0.0, "high": 0.2}.items()}  # fmt: skip
    found = compare(scores, ["P@1", "P@5"], 2000)
    assert [(f.first, f.second, f.metric) for f in found][:3] == [
        ("low", "same", "P@1"), ("low", "high", "P@1"), ("same", "high", "P@1"),
    ]  # fmt: skip
    assert [f.adjusted for f in found] == pytest.approx(multipletests([f.p for f in found], method="holm")[1])
    by_pair = {(f.first, f.second, f.metric): f for f in found}
    assert by_pair["low", "same", "P@1"].p == 1 and by_pair["low", "high", "P@5"].adjusted < 0.05
    assert by_pair["low", "high", "P@1"].difference == pytest.approx(-0.2)
    assert by_pair["low", "high", "P@1"].low == pytest.approx(-0.2) == by_pair["low", "high", "P@1"].high


def test_nothing_to_compare():
    assert compare({"a": {"P@1": np.ones(3)}}, ["P@1"]) == []
    assert compare({}, ["P@1"]) == []


def test_a_difference_that_all_documents_agree_on_is_seen_among_hundreds_of_comparisons(random):
    """With a fixed number of draws the smallest p there can be would exceed 0.05 behind the correction."""
    scores = {f"s{i}": {"P@1": random.random(30)} for i in range(20)}
    scores["best"] = {"P@1": scores["s0"]["P@1"] + 0.5}
    found = compare(scores, ["P@1"], resamples=100)
    (told,) = (each for each in found if (each.first, each.second) == ("s0", "best"))
    assert len(found) == 210 and told.adjusted < 0.05
    assert told.p == pytest.approx(1 / (40 * 210 + 1))


def test_what_is_told_of_pairs_is_told_of_their_differences(random):
    """The products are with each configuration's scores: with those of each pair, 40 configurations took a quarter of
    an hour."""
    scores = random.random((70, 4)).round(1)
    pairs = np.array([(0, 1), (0, 3), (2, 3)]).T
    differences = scores[:, pairs[0]] - scores[:, pairs[1]]
    for function in (bootstrap_interval, sign_flip_p):
        ours, wanted = (function(*given, np.random.default_rng(1), *more) for given, more in
                        (((scores, 500), (pairs,)), ((differences, 500), ())))  # fmt: skip
        assert np.asarray(ours) == pytest.approx(np.asarray(wanted), abs=1e-12)
