"""The generated corpus: what it promises, and a proof of the plant that uses none of the project's models."""

import hashlib
from collections import Counter

import numpy as np
import pytest
import torch

from xmtc.data.sources.toy import ToySource, effects


@pytest.fixture(scope="module")
def corpus():
    source = ToySource()
    source.check()
    return {part: list(source.documents(part)) for part in source.parts()}


def rule(text):
    """The labels of a text by the planted rule, the ceiling of P@5."""
    causes = {word.split("w")[0] for word in text.split() if word.startswith("g")}
    group = int(next(iter(causes))[1])
    return {cause.replace("c", ".cause") for cause in causes} | set(effects(group, len(causes)))


def test_sizes_labels_and_names(corpus):
    assert {part: len(docs) for part, docs in corpus.items()} == {"train": 3000, "validation": 300, "test": 500}
    labels = {label for _, labels in corpus["train"] for label in labels}
    assert len(labels) == 128 and labels == set(ToySource().label_names())
    assert {len(text.split()) for text, _ in corpus["test"]} == {18}


def test_the_rule_is_exact(corpus):
    for text, labels in corpus["test"]:
        assert set(labels) == rule(text) and len(labels) == 5


def test_deterministic_and_parts_and_seeds_differ():
    source = ToySource(train=50, test=50)
    first = list(source.documents("train"))
    assert first == list(source.documents("train")) == list(ToySource(train=50).documents("train"))
    assert first != list(source.documents("test")) and first != list(ToySource(train=50, seed=1).documents("train"))
    assert ToySource(seed=1).fingerprint() != ToySource().fingerprint()
    digest = hashlib.sha256(repr(first).encode()).hexdigest()
    assert digest.startswith("1cd1fee80c6509bb"), "other documents: raise VERSION and update this digest"


def arrays(corpus):
    """Bags of words (N, V) and labels (N, 128) of train and test."""
    words = {word: n for n, word in enumerate(sorted({w for text, _ in corpus["train"] for w in text.split()}))}
    names = {label: n for n, label in enumerate(sorted(ToySource().label_names()))}
    for part in ("train", "test"):
        bags, targets = np.zeros((len(corpus[part]), len(words)), "f"), np.zeros((len(corpus[part]), len(names)), "f")
        for row, (text, labels) in enumerate(corpus[part]):
            for word, count in Counter(text.split()).items():
                if word in words:
                    bags[row, words[word]] = count
            targets[row, [names[label] for label in labels]] = 1
        yield torch.from_numpy(bags), torch.from_numpy(targets)


def fitted(model, inputs, targets, epochs, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(100):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def precision_at_5(logits, targets):
    return targets.gather(1, logits.topk(5).indices).mean().item()


@pytest.fixture
def one_thread():
    """Many small steps: on a busy machine threads wait for each other far longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_labels_tell_what_a_sum_over_words_cannot(corpus, one_thread):
    """Logistic regression on words stays near the floor; a small network on its probabilities nears the ceiling."""
    torch.manual_seed(0)
    (bags, targets), (test_bags, test_targets) = arrays(corpus)
    words = fitted(torch.nn.Linear(bags.shape[1], 128), bags, targets, 8, 0.05)
    with torch.no_grad():
        seen, test_seen = words(bags).sigmoid(), words(test_bags).sigmoid()
    network = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.ELU(), torch.nn.Linear(64, 128))
    labels = fitted(network, seen, targets, 12, 0.01)
    with torch.no_grad():
        plain = precision_at_5(words(test_bags), test_targets)
        staged = precision_at_5(labels(test_seen), test_targets)
    assert 0.55 < plain < 0.72, plain
    assert staged > 0.85, (plain, staged)
