"""A generated corpus with the printed statistics of a real one, so that scale can be exercised anywhere.

`like=wiki500k` takes documents, labels, labels and words a document and the size of the vocabulary from that dataset's
card. What is made up is said here:

* Labels follow Zipf's law with Mandelbrot's offset, p(rank) ~ 1 / (rank + q), q such that the most frequent label is
  expected in `most_frequent` of the documents; every label is put into one document at least when all documents are
  generated (a part of them gets that part of the labels).
* Planted correlation: labels come in clusters of 8 neighbours in rank. Each label of a document after its first comes
  from the first one's cluster with probability `correlation`, else from all labels.
* Lengths are log-normal (sigma 0.6) around the printed mean. A word is, with probability `signal`, one of 20 words of
  one of the document's labels, else drawn from the whole vocabulary by Zipf's law (q = 2.7).

Documents are drawn in chunks of 1,024, each from its own random stream: the same arguments give the same documents,
wherever one begins, with the same version of NumPy. Memory: the vocabulary and one chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from xmtc.data.cards import registered
from xmtc.data.sources.base import PARTS, Source
from xmtc.errors import InputError

VERSION = 1  # part of the fingerprint: raise it with any change of the documents
CHUNK, CLUSTER, WORDS_OF_LABEL = 1024, 8, 20
CELLS = 1 << 16


class SyntheticSource(Source):
    """like: a registered dataset whose printed numbers stand in for those left out (null). train, validation, test:
    documents. vocabulary: distinct words. seed: of all draws."""

    def __init__(
        self,
        like: str | None = None,
        train: int | None = None,
        validation: int | None = None,
        test: int | None = None,
        labels: int | None = None,
        labels_per_document: float | None = None,
        words_per_document: float | None = None,
        vocabulary: int | None = None,
        most_frequent: float = 0.05,
        correlation: float = 0.5,
        signal: float = 0.3,
        seed: int = 0,
    ):
        given = {"train": train, "validation": validation, "test": test, "labels": labels, "vocabulary": vocabulary}
        given |= {"labels_per_document": labels_per_document, "words_per_document": words_per_document}
        printed = _printed(like) if like is not None else {}
        self.whole = printed.get("train") or train  # documents that all labels are spread over
        self.settings = {name: printed.get(name) if value is None else value for name, value in given.items()}
        self.settings["validation"] = self.settings["validation"] or 0
        for name, value in self.settings.items():
            if value is None:
                raise InputError(f"dataset.{name}: must be given, dataset.like={like} does not print it")
            if value < (0 if name == "validation" else 1):
                raise InputError(f"dataset.{name}={value}: expected at least {int(name != 'validation')}")
        shares = {"most_frequent": most_frequent, "correlation": correlation, "signal": signal}
        for name, value in shares.items():
            if not 0 <= value <= 1 or name == "most_frequent" and value == 0:
                raise InputError(f"dataset.{name}={value}: expected a share between 0 and 1")
        self.settings |= shares | {"seed": seed}
        self.labels, self.size = self.settings["labels"], self.settings["vocabulary"]

    def parts(self) -> list[str]:
        return [part for part in PARTS if self.settings[part]]

    def files(self) -> list[Path]:
        return []

    def fingerprint(self) -> dict:
        return {"layout": "synthetic", "version": VERSION, "whole": self.whole, **self.settings}

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        for start in range(0, self.settings[part], CHUNK):
            yield from self.chunk(part, start // CHUNK)

    def chunk(self, part: str, number: int) -> Iterator[tuple[str, list[str]]]:
        """Documents 1024 number to 1024 number + 1023 of a part."""
        random = np.random.default_rng([VERSION, self.settings["seed"], PARTS.index(part), number])
        start = number * CHUNK
        count = min(CHUNK, self.settings[part] - start)
        owners, labels = self._labels(random, start, count, part == "train")
        ends, words = self._words(random, owners, labels, count)
        names = self._names
        text = [names[word] for word in words.tolist()]
        label_ends = np.cumsum(np.bincount(owners, minlength=count)).tolist()
        spelt = [f"l{label}" for label in labels.tolist()]
        begin = label_begin = 0
        for end, label_end in zip(ends.tolist(), label_ends, strict=True):
            yield " ".join(text[begin:end]), spelt[label_begin:label_end]
            begin, label_begin = end, label_end

    @cached_property
    def _names(self) -> list[str]:
        return [f"w{word}" for word in range(self.size)]

    @cached_property
    def _label_law(self) -> Zipf:
        share = min(1.0, self.settings["most_frequent"] / self.settings["labels_per_document"])
        return Zipf(self.labels, offset_for(self.labels, share))

    @cached_property
    def _word_law(self) -> Zipf:
        return Zipf(self.size, 2.7)

    def _labels(self, random, start: int, count: int, spread: bool) -> tuple[np.ndarray, np.ndarray]:
        """(document in the chunk, label) of each positive, by document and label, each once."""
        drawn = 1 + random.poisson(max(self.settings["labels_per_document"] - 1, 0), count)
        drawn = np.minimum(drawn, self.labels)
        first, anchor = np.cumsum(drawn) - drawn, self._label_law.draw(random, count)
        rank = np.arange(drawn.sum()) - np.repeat(first, drawn)  # of a positive within its document
        owners = np.repeat(np.arange(count), drawn)
        near = (random.random(len(owners)) < self.settings["correlation"]) & (rank < CLUSTER)
        # neighbours are taken in a random order that differs by document, so none is taken twice
        turn = random.integers(0, CLUSTER // 2, count)[owners] * 2 + 1
        base = anchor[owners] // CLUSTER * CLUSTER
        neighbour = base + (anchor[owners] - base + rank * turn) % CLUSTER
        labels = np.where(near & (neighbour < self.labels), neighbour, self._label_law.draw(random, len(owners)))
        labels[first] = anchor
        if spread:
            owed = np.arange(start, start + count + 1, dtype=np.int64) * self.labels // self.whole
            of = np.repeat(np.arange(count), np.diff(owed))
            place = np.arange(owed[0], owed[-1]) - owed[of]  # the k-th that its document is owed
            fits = place < drawn[of]
            mixed = np.arange(owed[0], owed[-1]) * _stride(self.labels) % self.labels
            labels[first[of[fits]] + drawn[of[fits]] - 1 - place[fits]] = mixed[fits]
        pairs = np.unique(owners * np.int64(self.labels) + labels)
        return pairs // self.labels, pairs % self.labels

    def _words(self, random, owners: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(end of each document's words, words)."""
        mean = math.log(self.settings["words_per_document"]) - 0.18
        lengths = np.maximum(1, random.lognormal(mean, 0.6, count).astype(np.int64))
        documents = np.repeat(np.arange(count), lengths)
        words = self._word_law.draw(random, len(documents))
        telling = np.flatnonzero(random.random(len(words)) < self.settings["signal"])
        held = np.bincount(owners, minlength=count)
        first = np.cumsum(held) - held
        who = documents[telling]
        label = labels[first[who] + random.integers(0, 1 << 31, len(who)) % held[who]]
        own = label * WORDS_OF_LABEL + random.integers(0, WORDS_OF_LABEL, len(who))
        words[telling] = own * _stride(self.size) % self.size
        return np.cumsum(lengths), words


class Zipf:
    """p(rank) ~ 1 / (rank + 1 + offset) over ranks 0 .. size - 1, drawn by integers from a table of 65,536 cells of
    equal probability; within a cell ranks are equally likely."""

    def __init__(self, size: int, offset: float):
        low, high = 1 + offset, size + 1 + offset
        edges = low * (high / low) ** (np.arange(CELLS + 1) / CELLS) - low
        edges = np.minimum(edges.astype(np.int64), size)
        self.start = np.minimum(edges[:-1], size - 1)
        self.width = np.maximum(edges[1:] - edges[:-1], 1).astype(np.uint64)

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """(count,) int64."""
        cells = random.integers(0, CELLS, count)
        fraction = random.integers(0, 1 << 32, count, dtype=np.uint64)
        return self.start[cells] + (fraction * self.width[cells] >> np.uint64(32)).astype(np.int64)


def offset_for(size: int, share: float) -> float:
    """The offset with which rank 0 has probability `share` (0 if even that gives less), by bisection."""
    low, high = 0.0, float(size) * 1000
    for _ in range(200):
        middle = (low + high) / 2
        first = math.log((2 + middle) / (1 + middle)) / math.log((size + 1 + middle) / (1 + middle))
        low, high = (middle, high) if first > share else (low, middle)
    return low


def _stride(size: int) -> int:
    """A step without a common divisor, about size times the golden ratio: multiplying by it mixes ranks."""
    step = max(1, int(size * 0.6180339887))
    while math.gcd(step, size) != 1:
        step += 1
    return step


def _printed(like: str) -> dict:
    cards = registered()
    if like not in cards:
        raise InputError(f"dataset.like={like}: not a registered dataset, choose from {', '.join(cards)}")
    card = cards[like]
    names = ("labels", "labels_per_document", "words_per_document", "vocabulary")
    return {**card.documents, **{name: getattr(card, name) for name in names}}
