"""`bonsai`: its trees, their machines and the search, against scikit-learn and a search that leaves nothing out."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.svm import LinearSVC

from xmtc.data.text import Words
from xmtc.errors import InputError
from xmtc.fitted.beam import Forest
from xmtc.fitted.bonsai import Bonsai
from xmtc.fitted.grow import Node, cluster, label_means, machines, partition

L = 13


@pytest.fixture(scope="module")
def corpus():
    """Word i calls for label i in most documents; label 12 is in no document; a document has no words, one no label."""
    random = np.random.default_rng(0)
    features = np.abs(random.normal(size=(150, 20))) * (random.random((150, 20)) < 0.3)
    targets = features[:, :L] > 0.4
    targets[:, 4] |= targets[:, 0]
    targets[:, 12] = False
    features[7], targets[8] = 0, False
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    return csr_matrix(features.astype(np.float32)), csr_matrix(targets)


def grown(corpus, **settings):
    settings = {"arity": 3, "leaves": 2, "threads": 1, "trees": 2} | settings
    model = Bonsai(Words(), **settings)
    model.fit(*corpus)
    return model


def walked(forest: Forest, features: np.ndarray) -> np.ndarray:
    """(N, L) probabilities by every path of every tree."""
    chances = np.zeros((len(features), L))

    def walk(node, log_N):
        for c, slot in enumerate(range(forest.starts[node], forest.starts[node + 1])):
            weights = np.zeros(features.shape[1])
            for place in range(forest.word_starts[node], forest.word_starts[node + 1]):
                for entry in range(forest.entry_starts[place], forest.entry_starts[place + 1]):
                    if forest.places[entry] == c:
                        weights[forest.words[place]] += forest.weights[entry]
            margin_N = features @ weights + forest.bias[slot]
            below_N = log_N - np.maximum(0, 1 - margin_N) ** 2
            if forest.child[slot] < 0:
                chances[:, ~forest.child[slot]] += np.exp(below_N) / len(forest.roots)
            else:
                walk(forest.child[slot], below_N)

    for root in forest.roots:
        walk(root, np.zeros(len(features)))
    return chances


@pytest.mark.parametrize(
    "settings", [{}, {"depth": 1}, {"depth": 2, "trees": 1}, {"arity": 2, "leaves": 1, "depth": 9}]
)
def test_a_wide_search_finds_what_a_whole_one_finds(corpus, settings):
    model = grown(corpus, beam=1000, prune=0.01, **settings)
    scores, labels = model.topk(corpus[0], 5)
    chances = walked(model.forest, corpus[0].toarray().astype(np.float64))
    expected = -np.sort(-chances, axis=1)[:, :5]
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), expected.clip(1e-7, 1 - 1e-7), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(chances, labels, 1), expected, rtol=1e-4, atol=1e-6)
    assert ((chances[:, :12] > 0.5) == corpus[1].toarray()[:, :12]).mean() > 0.9


def test_a_beam_of_one_follows_the_best_node_alone(corpus):
    model = grown(corpus, beam=1, trees=1, arity=2, leaves=4, depth=2)
    forest = model.forest
    assert forest.starts[1] == 2 and len(forest.starts) == 4  # a root of two groups
    chances = walked(forest, corpus[0].toarray().astype(np.float64))
    _, labels = model.topk(corpus[0], 1)
    groups = [set(~forest.child[forest.starts[node] : forest.starts[node + 1]]) for node in forest.child[:2]]
    best = [max(group) for group in groups]
    assert sorted(groups[0] | groups[1]) == list(range(12)) and best
    scores, reached = model.topk(corpus[0], L)
    for row, label in enumerate(labels[:, 0]):
        (own,) = [group for group in groups if label in group]
        found = reached[row, : len(own)]
        assert set(found) == own and label == max(own, key=lambda each: chances[row, each])
        assert (scores[row, len(own) :] < -16).all()  # not reached


def test_labels_that_no_document_has_and_documents_without_words_come_last(corpus):
    model = grown(corpus)
    scores, labels = model.topk(corpus[0], L)
    assert (np.diff(scores, axis=1) <= 0).all() and all(sorted(row) == list(range(L)) for row in labels.tolist())
    assert (labels[:, -1] == 12).all() and np.isfinite(scores[7]).all()
    assert model.topk(corpus[0][:0], 2)[1].shape == (0, 2)


def test_the_same_seed_grows_the_same_trees_with_any_number_of_threads(corpus):
    one, two, other = grown(corpus), grown(corpus, threads=3), grown(corpus, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(one.forest, two.forest, strict=True))
    assert not np.array_equal(one.forest.child, other.forest.child)
    for mine, theirs in zip(one.topk(corpus[0], 4), two.topk(corpus[0], 4), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_machine_is_the_svm_of_its_parents_documents(corpus):
    features, targets = corpus
    node = Node(np.array([1, 4, 9]), np.array([0, 1, 0]), np.array([~1, ~4]))
    model = Bonsai(Words(), tolerance=1e-5, prune=0.0, threads=1)
    ((words, weights, bias),) = machines([node], features, targets, model._machines, 1)
    dense = targets.toarray()
    rows = dense[:, [1, 4, 9]].any(1)
    matrix = np.zeros((features.shape[1], 2))
    matrix[words] = weights.toarray()
    for child, own in enumerate([[1, 9], [4]]):
        svm = LinearSVC(C=1.0, tol=1e-8, max_iter=100_000).fit(features[rows], dense[rows][:, own].any(1))
        np.testing.assert_allclose(matrix[:, child], svm.coef_[0], atol=2e-4)
        np.testing.assert_allclose(bias[child], svm.intercept_[0], atol=2e-4)


def test_machines_of_many_children_are_dense_by_the_block_alone():
    """Those of a node of 1,000 labels and 10,000 words together would be 40 MB, though hardly a weight is kept."""
    features = csr_matrix((np.ones(10_000, np.float32), np.arange(10_000), np.arange(0, 10_001, 20)))
    targets = csr_matrix(np.eye(500, 1000, dtype=bool))
    node = Node(np.arange(1000), np.arange(1000), ~np.arange(1000))

    def fit(features_NW, has_NC):
        weights = np.zeros((features_NW.shape[1], has_NC.shape[1]), np.float32)
        weights[3] = 1
        return weights, np.zeros(has_NC.shape[1], np.float32)

    tracemalloc.start()
    ((words, weights, bias),) = machines([node], features, targets, fit, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert words.tolist() == [3] and weights.toarray().tolist() == [[1] * 1000] and len(bias) == 1000
    assert peak < 20e6


def test_a_child_of_all_of_its_parents_documents_is_certain(corpus):
    node = Node(np.array([2]), np.array([0]), np.array([~2]))
    ((words, _, bias),) = machines([node], *corpus, Bonsai(Words())._machines, 1)
    assert len(words) == 0 and bias.tolist() == [1.0]


@pytest.mark.parametrize("arity, leaves, depth", [(3, 2, 9), (100, 5, 3), (2, 1, 2), (4, 100, 3)])
def test_every_label_is_under_one_leaf_of_a_tree(corpus, arity, leaves, depth):
    known = np.arange(12)
    nodes = partition(label_means(*corpus), known, arity, leaves, depth, 0)
    level = {0: 1}
    for number, node in enumerate(nodes):
        assert set(node.group) == set(range(len(node.child))) and len(node.child) <= max(arity, len(node.labels))
        if (node.child < 0).all():
            assert (~node.child == node.labels).all()
            continue
        assert level[number] < depth and len(node.labels) > leaves and len(node.child) <= arity
        for group, child in enumerate(node.child):
            level[child] = level[number] + 1
            np.testing.assert_array_equal(nodes[child].labels, node.labels[node.group == group])
    leaf_labels = np.concatenate([~node.child for node in nodes if (node.child < 0).all()])
    assert sorted(leaf_labels) == list(known) and sorted(level) == list(range(len(nodes)))


def test_labels_that_are_alike_are_not_parted_for_ever():
    same = csr_matrix(np.ones((6, 2), np.float32))
    nodes = partition(same, np.arange(6), 2, 1, 99, 0)
    assert [len(node.child) for node in nodes] == [6]


def test_groups_are_of_rows_that_point_the_same_way():
    random = np.random.default_rng(0)
    rows = np.repeat(np.eye(3, 5), 20, axis=0) + 0.1 * random.random((60, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores = []
    for seed in range(5):  # a start may have two rows of one direction
        group = cluster(csr_matrix(rows.astype(np.float32)), 3, np.random.default_rng(seed))
        scores.append(len({tuple(np.unique(group[20 * i : 20 * i + 20])) for i in range(3)}) == 3)
        assert set(group) == set(range(group.max() + 1))
    assert any(scores)
    assert set(cluster(csr_matrix((4, 3), dtype=np.float32), 2, random)) == {0}  # nothing to tell them apart


def test_what_a_label_means():
    features = csr_matrix(np.array([[1, 0], [0, 1], [0, 1]], np.float32))
    targets = csr_matrix(np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0]], bool))
    expected = [[1, 0], [1 / 5**0.5, 2 / 5**0.5], [0, 0]]
    np.testing.assert_allclose(label_means(features, targets).toarray(), expected, rtol=1e-6)


def test_no_label_at_all_is_one_line():
    with pytest.raises(InputError, match="none of the training documents has a label"):
        Bonsai(Words()).fit(csr_matrix(np.eye(3, dtype=np.float32)), csr_matrix((3, 2), dtype=bool))


@pytest.mark.parametrize("name, value", [
    ("roots", [999]), ("roots", [0.5]), ("child", [0]), ("child", None), ("words", []), ("starts", [0]),
    ("starts", []), ("bias", []), ("entry_starts", None), ("places", None), ("word_starts", [0, 1]),
    ("weights", [[1.0]]),
])  # fmt: skip
def test_a_made_up_checkpoint_is_one_line(corpus, name, value):
    """The compiled search would read wherever it points."""
    model = grown(corpus, trees=1)
    state = model.state()
    state[name] = state[name] + 5 if value is None else torch.tensor(value)
    with pytest.raises(InputError, match="holds no label trees"):
        Bonsai(Words()).load(state)
    ring = model.state()
    inner = torch.nonzero(ring["child"] >= 0)[0, 0]
    ring["child"][inner] = 0  # up again, for ever
    with pytest.raises(InputError, match="holds no label trees"):
        Bonsai(Words()).load(ring)


def test_what_a_label_leans_on_adds_up_over_every_path(corpus):
    features, _ = corpus
    model = grown(corpus, beam=100, depth=3)
    chances = walked(model.forest, features.toarray())
    empty = walked(model.forest, np.zeros((1, features.shape[1])))[0]
    for row in (0, 3, 7, 20):
        for label in range(L):
            found = model.evidence(features[[row]], label)
            p, p0 = (np.clip(each, 1e-7, 1 - 1e-7) for each in (chances[row, label], empty[label]))
            assert found.without == pytest.approx(np.log(p0 / (1 - p0)), abs=1e-4)
            assert found.without + found.amounts.sum() == pytest.approx(np.log(p / (1 - p)), abs=1e-4)
    # of a document with one word alone that word has all of it
    one = csr_matrix((np.ones(1, np.float32), ([0], [2])), shape=(1, features.shape[1]))
    found = model.evidence(one, 2)
    assert found.amounts.shape == (1,) and found.amounts[0] > 1


def test_words_that_lead_to_a_label_are_told_from_those_that_lead_away():
    """Two labels, each with a word of its own, and a word that says nothing."""
    random = np.random.default_rng(1)
    targets = random.random((60, 2)) < 0.5
    features = np.hstack([targets, np.ones((60, 1))]).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    model = grown((csr_matrix(features), csr_matrix(targets)), leaves=100)
    first, second, nothing = model.evidence(csr_matrix(features[[targets.all(axis=1).argmax()]]), 0).amounts
    assert first > 3 * max(abs(second), abs(nothing))


def test_a_sum_that_misses_the_logit_says_so():
    from xmtc.explaining.document import markdown

    words = {"words": [["fish", 1.0]], "without": -3.0, "logit": -2.5, "error": 0.5}
    entry = {"id": "a", "name": "a", "enhanced_rank": 1, "enhanced_logit": -2.5, "blocks": [], "words": words}
    found = {"head": False, "raw": ["a"], "enhanced": ["a"], "labels": [entry], "completeness_error": 0.0,
             "attention": None}  # fmt: skip
    assert "(no words: -3.00; sum off by 0.50)" in markdown(found)
    words["error"] = 1e-6
    assert "(no words: -3.00)" in markdown(found)
