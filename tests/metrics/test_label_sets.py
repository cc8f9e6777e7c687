"""Thresholds against brute force, label-set metrics against scikit-learn on dense arrays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, precision_score, recall_score

from xmtc.data.batch import Labels
from xmtc.metrics.label_sets import LabelSetMetrics, best_threshold
from xmtc.metrics.ranking import RankingMetrics


def csr(gold_sets) -> Labels:
    ids = [label for gold in gold_sets for label in sorted(gold)]
    offsets = np.cumsum([0] + [len(gold) for gold in gold_sets])
    return Labels(torch.tensor(ids, dtype=torch.int64), torch.from_numpy(offsets))


@st.composite
def predictions(draw, min_documents=0):
    """topk (N, K), scores (N, K) with many ties, gold sets with unseen labels, L."""
    num_labels = draw(st.integers(1, 12))
    columns = draw(st.integers(1, num_labels))
    documents = draw(st.integers(min_documents, 6))
    topk = [draw(st.permutations(range(num_labels)))[:columns] for _ in range(documents)]
    scores = [[draw(st.integers(-3, 3)) / 7 for _ in range(columns)] for _ in range(documents)]
    gold = [draw(st.sets(st.integers(0, num_labels + 2), max_size=6)) for _ in range(documents)]
    return (
        torch.tensor(topk, dtype=torch.int64).reshape(documents, columns),
        torch.tensor(scores, dtype=torch.float32).reshape(documents, columns),
        gold,
        num_labels,
    )


def measured(topk, scores, gold, num_labels, threshold) -> dict[str, float]:
    metric = LabelSetMetrics(num_labels, threshold)
    metric.update(topk, scores, csr(gold))
    return metric.compute()


def dense(topk, scores, gold, width, threshold):
    truth, guess = np.zeros((len(gold), width), int), np.zeros((len(gold), width), int)
    for row, labels in enumerate(gold):
        truth[row, list(labels)] = 1
        guess[row, topk[row][scores[row] >= threshold].numpy()] = 1
    return truth, guess


@settings(max_examples=60, deadline=None)
@given(predictions(min_documents=1), st.sampled_from([-10.0, -0.2, 0.0, 0.25, 10.0]))
def test_equals_scikit_learn(case, threshold):
    topk, scores, gold, num_labels = case
    values = measured(topk, scores, gold, num_labels, threshold)
    # A second, never used column: scikit-learn takes a one-column array for a single-label problem.
    truth, guess = dense(topk, scores, gold, num_labels + 4, threshold)
    micro = {"average": "micro", "zero_division": 0}
    assert values["micro-P"] == pytest.approx(precision_score(truth, guess, **micro))
    assert values["micro-R"] == pytest.approx(recall_score(truth, guess, **micro))
    assert values["micro-F1"] == pytest.approx(f1_score(truth, guess, **micro))
    assert values["subset-accuracy"] == pytest.approx(accuracy_score(truth, guess))
    for name, score in (("P", precision_score), ("R", recall_score), ("F1", f1_score)):
        known = score(truth, guess, average=None, zero_division=0)[:num_labels]
        assert values[f"macro-{name}"] == pytest.approx(known.mean())
    assert values["example-F1"] == pytest.approx(f1_score(truth, guess, average="samples", zero_division=1))
    wrong = hamming_loss(truth, guess) * truth.shape[1] / num_labels  # unseen labels are missed, and not among the L
    assert values["hamming-loss"] == pytest.approx(wrong)


@settings(max_examples=60, deadline=None)
@given(predictions(min_documents=1))
def test_threshold_is_the_best_of_all_and_the_highest_of_equals(case):
    topk, scores, gold, num_labels = case
    chosen = best_threshold(scores, topk, csr(gold))
    tried = {t: measured(topk, scores, gold, num_labels, t)["micro-F1"] for t in set(scores.flatten().tolist())}
    best = max(tried.values())
    assert chosen == max(t for t, value in tried.items() if value == best)


def test_threshold_worked_by_hand():
    """The score 0.5 is a hit in one document and a miss in the other: both are taken or neither."""
    topk = torch.tensor([[0, 1], [2, 0]])
    scores = torch.tensor([[0.9, 0.5], [0.5, 0.1]])
    # Three gold labels, one out of reach. 0.9: 2/(1+3); 0.5: 4/(3+3); 0.1: 4/(4+3)
    assert best_threshold(scores, topk, csr([{0, 1}, {5}])) == 0.5
    # 0.9: 2/(1+2); 0.5: 2/(3+2)
    assert best_threshold(scores, topk, csr([{0}, {5}])) == pytest.approx(0.9)


def test_metrics_worked_by_hand():
    """Predicted {0}, {0, 2} and none, true {0}, {2, 5} and {3}; of four labels 0 has an F1 of 2/3 and 2 one of 1."""
    topk = torch.tensor([[0, 1], [0, 2], [3, 1]])
    scores = torch.tensor([[0.9, 0.2], [0.8, 0.5], [0.4, 0.3]])
    assert measured(topk, scores, [{0}, {2, 5}, {3}], 4, 0.5) == {
        "micro-P": pytest.approx(2 / 3),
        "micro-R": pytest.approx(2 / 4),
        "micro-F1": pytest.approx(4 / 7),
        "macro-P": pytest.approx((1 / 2 + 1) / 4),
        "macro-R": pytest.approx((1 + 1) / 4),
        "macro-F1": pytest.approx((2 / 3 + 1) / 4),
        "example-F1": pytest.approx((1 + 1 / 2 + 0) / 3),
        "subset-accuracy": pytest.approx(1 / 3),
        "hamming-loss": pytest.approx(3 / (3 * 4)),
    }
    assert LabelSetMetrics.higher_is_better and RankingMetrics.higher_is_better


def test_padding_is_no_candidate_and_never_predicted():
    topk, scores = torch.tensor([[1, -1]]), torch.tensor([[0.5, 0.9]])
    assert best_threshold(scores, topk, csr([{1}])) == 0.5
    assert measured(topk, scores, [{1}], 2, 0.1)["subset-accuracy"] == 1.0


def test_thresholds_that_cannot_be_chosen_are_refused():
    with pytest.raises(ValueError, match="none"):
        best_threshold(torch.empty(0, 3), torch.empty(0, 3, dtype=torch.int64), csr([]))
    with pytest.raises(ValueError, match="not numbers"):
        best_threshold(torch.tensor([[float("nan")]]), torch.tensor([[0]]), csr([{0}]))
    with pytest.raises(ValueError, match="differ in shape"):
        best_threshold(torch.zeros(1, 2), torch.tensor([[0]]), csr([{0}]))


def test_any_order_and_any_batches_give_the_same_bits():
    rng = np.random.default_rng(0)
    topk = torch.from_numpy(rng.random((51, 20)).argsort(1)[:, :6])
    scores = torch.from_numpy(rng.random((51, 6), dtype=np.float32))
    gold = [set(rng.choice(22, size, replace=False).tolist()) for size in rng.integers(0, 8, 51)]
    whole = measured(topk, scores, gold, 20, 0.5)
    order = rng.permutation(51)
    metric = LabelSetMetrics(20, 0.5)
    for part in np.split(order, [0, 13, 14, 40]):
        metric.update(topk[part], scores[part], csr([gold[i] for i in part]))
    assert metric.compute() == whole
    assert best_threshold(scores[order], topk[order], csr([gold[i] for i in order])) == best_threshold(
        scores, topk, csr(gold)
    )


def test_no_documents_score_zero():
    empty = torch.empty(0, 3, dtype=torch.int64)
    assert set(measured(empty, empty.float(), [], 5, 0.5).values()) == {0.0}
