"""RankingMetrics against the formulas written out document by document, scikit-learn, and worked examples."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from xmtc.data.batch import Labels
from xmtc.metrics.frequency_bins import frequency_bins
from xmtc.metrics.hits import LABEL_BITS, MAX_DOCUMENTS, hits
from xmtc.metrics.label_sets import LabelSetMetrics
from xmtc.metrics.ranking import RankingMetrics

KS = (1, 3, 5)


def csr(gold_sets) -> Labels:
    ids = [label for gold in gold_sets for label in sorted(gold)]
    offsets = np.cumsum([0] + [len(gold) for gold in gold_sets])
    return Labels(torch.tensor(ids, dtype=torch.int64), torch.from_numpy(offsets))


def as_topk(rankings, columns: int) -> torch.Tensor:
    return torch.tensor(rankings, dtype=torch.int64).reshape(len(rankings), columns)


def measured(rankings, gold_sets, frequency, documents=1000, columns=None, **options) -> dict[str, float]:
    metric = RankingMetrics(len(frequency), torch.tensor(frequency), documents, **options)
    metric.update(as_topk(rankings, len(rankings[0]) if columns is None else columns), csr(gold_sets))
    return metric.compute()


def oracle(rankings, gold_sets, frequency, documents, ks=KS) -> dict[str, float]:
    """The definitions of xmtc/metrics/ranking.py, one document at a time."""
    num_labels, n = len(frequency), len(rankings)
    c = (math.log(documents) - 1) * 2.5**0.55

    def weight(label):
        return 1 + c * ((frequency[label] if label < num_labels else 0) + 1.5) ** -0.55

    order = sorted(range(num_labels), key=lambda label: (-frequency[label], label))
    head, torso = math.ceil(num_labels / 10), math.ceil(num_labels / 2)
    bins = {
        "/head": {x for x in order[:head] if frequency[x]},
        "/torso": {x for x in order[head:torso] if frequency[x]},
    }
    every = set(order) | {label for gold in gold_sets for label in gold}
    bins["/tail"] = every - bins["/head"] - bins["/torso"]

    def mean(values):
        return sum(values) / len(values) if values else 0.0

    values = {}
    for k in ks:
        for suffix, members in {"": every, **bins}.items():
            precision, ndcg, recall, r_precision = [], [], [], []
            for ranking, full_gold in zip(rankings, gold_sets, strict=True):
                gold = set(full_gold) & members
                found = [label in gold for label in ranking[:k]]
                precision.append(sum(found) / k)
                if suffix and not gold:
                    continue
                ideal = sum(1 / math.log2(j + 2) for j in range(min(k, len(gold))))
                ndcg.append(sum(h / math.log2(j + 2) for j, h in enumerate(found)) / ideal if gold else 0.0)
                recall.append(sum(found) / len(gold) if gold else 0.0)
                r_precision.append(sum(found) / min(k, len(gold)) if gold else 0.0)
            values[f"P@{k}{suffix}"] = mean(precision)
            values[f"nDCG@{k}{suffix}"] = mean(ndcg)
            values[f"R@{k}{suffix}"] = mean(recall)
            if not suffix:
                values[f"R-precision@{k}"] = mean(r_precision)
        for name, discounted in {"PSP": False, "PSnDCG": True}.items():
            discount = [1 / math.log2(j + 2) if discounted else 1.0 for j in range(k)]
            numerator = denominator = 0.0
            for ranking, gold in zip(rankings, gold_sets, strict=True):
                numerator += sum(d * weight(x) for d, x in zip(discount, ranking, strict=False) if x in gold)
                best = sorted((weight(x) for x in gold), reverse=True)
                denominator += sum(d * w for d, w in zip(discount, best, strict=False))
            values[f"{name}@{k}"] = numerator / denominator if n and denominator else 0.0
    return values


@st.composite
def corpora(draw):
    num_labels = draw(st.integers(1, 25))
    columns = draw(st.integers(1, min(num_labels, 8)))
    documents = draw(st.integers(0, 7))
    rankings = [draw(st.permutations(range(num_labels)))[:columns] for _ in range(documents)]
    gold_sets = [draw(st.sets(st.integers(0, num_labels + 3), max_size=12)) for _ in range(documents)]
    # Few distinct frequencies: ties of propensity weights and of bins are the rule, zeros occur.
    frequency = draw(st.lists(st.sampled_from([0, 1, 2, 40]), min_size=num_labels, max_size=num_labels))
    return rankings, gold_sets, frequency, columns


@settings(max_examples=100, deadline=None)
@given(corpora())
def test_equals_the_definitions(corpus):
    rankings, gold_sets, frequency, columns = corpus
    values = measured(rankings, gold_sets, frequency, columns=columns)
    expected = oracle(rankings, gold_sets, frequency, 1000)
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-10), name
        assert 0.0 <= values[name] <= 1.0
    for k in KS:
        assert sum(values[f"P@{k}/{name}"] for name in ("head", "torso", "tail")) == pytest.approx(values[f"P@{k}"])
    assert values["nDCG@1"] == values["P@1"]


def random_corpus(documents: int, num_labels: int, columns: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    rankings = rng.random((documents, num_labels)).argsort(1)[:, :columns]
    sizes = rng.integers(0, num_labels, documents)
    gold_sets = [set(rng.choice(num_labels + 5, size, replace=False).tolist()) for size in sizes]
    frequency = rng.integers(0, 30, num_labels).tolist()
    return rankings.tolist(), gold_sets, frequency


def test_large_gold_sets_equal_the_definitions():
    """Sets of up to 200 labels: R@k beyond the sizes it counts exactly."""
    rankings, gold_sets, frequency = random_corpus(60, 200, 10)
    values = measured(rankings, gold_sets, frequency)
    assert values == pytest.approx(oracle(rankings, gold_sets, frequency, 1000), abs=1e-10)


def test_any_order_and_any_batches_give_the_same_bits():
    rankings, gold_sets, frequency = random_corpus(101, 40, 7)
    whole = measured(rankings, gold_sets, frequency)
    rng = np.random.default_rng(1)
    for _ in range(4):
        order = rng.permutation(101)
        cuts = np.sort(rng.integers(0, 102, 6))
        metric = RankingMetrics(40, torch.tensor(frequency), 1000)
        for part in np.split(order, cuts):  # some parts are empty
            metric.update(as_topk([rankings[i] for i in part], 7), csr([gold_sets[i] for i in part]))
        assert metric.compute() == whole


def test_worked_by_hand():
    """L = 4, one label a bin except the tail; second document has an unseen gold label, third has none."""
    values = measured(
        [[0, 1, 2], [3, 0, 1], [2, 1, 0]],
        [{0, 2}, {0, 9}, set()],
        [8, 4, 2, 0],
        ks=(1, 3),
        bins={"head": 0.25, "torso": 0.25},
    )
    log3 = math.log2(3)
    assert values["P@1"] == pytest.approx(1 / 3)
    assert values["P@3"] == pytest.approx(3 / 9)
    assert values["R@3"] == pytest.approx((2 / 2 + 1 / 2 + 0) / 3)
    assert values["R-precision@1"] == pytest.approx(1 / 3)
    assert values["nDCG@3"] == pytest.approx(((1 + 1 / 2) / (1 + 1 / log3) + (1 / log3) / (1 + 1 / log3)) / 3)
    w = {n: 1 + (math.log(1000) - 1) * 2.5**0.55 * (n + 1.5) ** -0.55 for n in (8, 2, 0)}
    assert values["PSP@1"] == pytest.approx(w[8] / (w[2] + w[0]))
    assert values["PSP@3"] == pytest.approx((w[8] + w[2] + w[8]) / (w[8] + w[2] + w[8] + w[0]))
    assert values["PSnDCG@3"] == pytest.approx(
        (w[8] + w[2] / 2 + w[8] / log3) / (w[2] + w[8] / log3 + w[0] + w[8] / log3)
    )
    # Head is label 0: gold in documents 1 and 2, found at ranks 1 and 2.
    assert values["P@3/head"] == pytest.approx(2 / 9)
    assert values["nDCG@3/head"] == pytest.approx((1 + 1 / log3) / 2)
    assert values["R@1/head"] == pytest.approx(1 / 2)
    assert values["nDCG@3/torso"] == values["R@3/torso"] == 0.0  # label 1 is nobody's gold label
    assert values["nDCG@3/tail"] == pytest.approx((1 / 2 + 0) / 2)
    assert values["R@3/tail"] == pytest.approx((1 + 0) / 2)


def test_ndcg_equals_scikit_learn():
    """scikit-learn's ideal is the k best relevances, hence min(k, |Y|) ones; it needs every document to have one."""
    rankings, gold_sets, frequency = random_corpus(30, 20, 20)
    gold_sets = [{x for x in gold if x < 20} | {3} for gold in gold_sets]
    truth, scores = np.zeros((30, 20)), np.zeros((30, 20))
    for row, (ranking, gold) in enumerate(zip(rankings, gold_sets, strict=True)):
        truth[row, list(gold)] = 1
        scores[row, ranking] = -np.arange(20)
    values = measured(rankings, gold_sets, frequency)
    for k in KS:
        assert values[f"nDCG@{k}"] == pytest.approx(ndcg_score(truth, scores, k=k), abs=1e-12)


def test_equal_weights_reduce_psp_to_hits_over_reachable_hits():
    rankings, gold_sets, _ = random_corpus(40, 20, 5)
    gold_sets = [{x for x in gold if x < 20} for gold in gold_sets]
    values = measured(rankings, gold_sets, [7] * 20)
    for k in KS:
        hit = sum(len(set(r[:k]) & gold) for r, gold in zip(rankings, gold_sets, strict=True))
        assert values[f"PSP@{k}"] == pytest.approx(hit / sum(min(k, len(gold)) for gold in gold_sets), rel=1e-12)


def test_perfect_predictions_score_exactly_one():
    gold_sets = [{0, 1, 2, 3, 4}, {5, 1}, {3}]
    frequency = [5, 4, 3, 2, 1, 1]
    rarest_first = [sorted(gold, key=lambda x: frequency[x]) for gold in gold_sets]
    rankings = [r + [x for x in range(6) if x not in r] for r in rarest_first]
    values = measured(rankings, gold_sets, frequency)
    for k in KS:
        for name in ("nDCG", "R-precision", "PSP", "PSnDCG"):
            assert values[f"{name}@{k}"] == 1.0
    assert values["R@5"] == 1.0


def test_fewer_columns_than_k_still_divides_by_k():
    values = measured([[1, 0]], [{0, 1}], [3, 3])
    assert values["P@5"] == pytest.approx(2 / 5) and values["R-precision@5"] == values["nDCG@5"] == 1.0


def test_padding_never_hits():
    values = measured([[2, -1, -1]], [{1, 2}], [3, 3, 3])
    assert values["P@3"] == pytest.approx(1 / 3)
    # Padding of the second row must not read as the last label of the first.
    assert measured([[1], [-1]], [{0}, {0}], [3, 3])["P@1"] == 0.0


def test_gold_labels_in_any_order():
    metric = RankingMetrics(5, torch.ones(5, dtype=torch.int64), 100, ks=(1,))
    metric.update(torch.tensor([[4], [0]]), Labels(torch.tensor([4, 1, 3, 0]), torch.tensor([0, 3, 4])))
    assert metric.compute()["P@1"] == 1.0


def test_no_documents_score_zero():
    metric = RankingMetrics(5, torch.ones(5, dtype=torch.int64), 100)
    metric.update(torch.empty(0, 5, dtype=torch.int64), csr([]))
    assert set(metric.compute().values()) == {0.0}


def test_reset_and_use_after_inference_mode():
    metric = RankingMetrics(3, torch.ones(3, dtype=torch.int64), 100, ks=(1,))
    with torch.inference_mode():
        metric.update(torch.tensor([[0]]), csr([{1}]))
        metric.compute()
        metric.reset()
    metric.update(torch.tensor([[0]]), csr([{0}]))
    assert metric.compute()["P@1"] == 1.0


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="frequencies"):
        RankingMetrics(4, torch.ones(3, dtype=torch.int64), 100)
    with pytest.raises(ValueError, match="2 gold sets"):
        measured([[0, 1]], [{0}, {1}], [1, 1])

    with pytest.raises(ValueError, match="2 gold sets"):
        hits(torch.tensor([0, 1]), csr([{0}, {1}]))
    for ks in ((), (0, 3)):
        with pytest.raises(ValueError, match="cut-offs"):
            RankingMetrics(2, torch.ones(2, dtype=torch.int64), 100, ks=ks)


def test_no_more_documents_than_a_key_has_room_for(monkeypatch):
    assert MAX_DOCUMENTS << LABEL_BITS == 2**63
    monkeypatch.setattr("xmtc.metrics.hits.MAX_DOCUMENTS", 3)
    assert hits(torch.tensor([[1], [0]]), csr([{1}, {1}])).tolist() == [[True], [False]]
    with pytest.raises(ValueError, match="at most 2 documents"):
        hits(torch.tensor([[1]] * 3), csr([{1}] * 3))


@pytest.mark.parametrize("metric", [RankingMetrics, LabelSetMetrics])
def test_what_torchmetrics_asks_of_a_class(metric):
    assert metric.higher_is_better and not metric.full_state_update


def test_bins_split_by_frequency_with_ties_to_the_lower_id():
    names, bins = frequency_bins(torch.tensor([5, 9, 5, 5, 1, 0, 1, 1, 1, 1]))
    assert names == ["head", "torso", "tail"]
    assert bins.tolist() == [1, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2]


def test_labels_without_training_documents_are_tail_whatever_their_rank():
    assert frequency_bins(torch.tensor([0, 0, 2, 0]))[1].tolist() == [2, 2, 0, 2, 2]


def test_bins_that_take_all_or_nothing():
    frequency = torch.tensor([5, 4, 3, 2])
    assert frequency_bins(frequency, {})[1].tolist() == [0, 0, 0, 0, 0]
    assert frequency_bins(frequency, {"a": 0.0, "b": 0.5})[1].tolist() == [1, 1, 2, 2, 2]
    assert frequency_bins(frequency, {"a": 0.5, "b": 0.5})[1].tolist() == [0, 0, 1, 1, 2]
    # sums of rounded shares may end above 1: 0.1 + 0.2 + 0.7 is 1, 0.7 + 0.1 + 0.2 not quite
    for shares in ((0.1, 0.2, 0.7), (0.7, 0.1, 0.2)):
        assert len(frequency_bins(frequency, dict(zip("abc", shares, strict=True)))[0]) == 4


@pytest.mark.parametrize("fractions", [{"tail": 0.1}, {"a": -0.1, "b": 0.5}, {"a": 0.6, "b": 0.5}])
def test_bins_that_cannot_be_are_refused(fractions):
    with pytest.raises(ValueError, match="no bin called 'tail'"):
        frequency_bins(torch.tensor([5, 4, 3, 2]), fractions)


def test_bins_that_overflow_are_refused():
    with pytest.raises(ValueError, match="at most 1"):
        frequency_bins(torch.tensor([1, 2]), {"head": 0.7, "torso": 0.7})


def test_rounding_makes_nothing_better_than_perfect():
    """Five times two perfect ranks add up to the last bit more than five."""
    assert measured([[0, 1]] * 5, [{0, 1}] * 5, [9, 5, 1], ks=(2,))["nDCG@2"] == 1.0


def test_a_checkpoint_does_not_grow_by_what_follows_from_the_labels():
    assert RankingMetrics(3, torch.tensor([9, 5, 1]), 1000).state_dict() == {}
