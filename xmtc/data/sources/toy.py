"""A generated corpus whose labels need each other: 128 labels, of which 72 have no word of their own.

There are 8 groups of labels. A document belongs to one and always has five labels: m *causes*, drawn from the group's 7
(m = 1, 2 or 3 with even odds), and the group's 5 - m *effects* that mean "exactly m causes". A group has 4 effects for
m = 1, 3 for m = 2 and 2 for m = 3: 7 + 9 = 16 labels.

Text: always `words` words of the causes, shared equally (12 of one cause, 6 + 6 or 4 + 4 + 4), each drawn from the
`synonyms` words of its cause, and `noise` words that mean nothing, in random order. Effects write nothing.

Why a sum over words fails. The effects depend on how many *different labels* are present, and the number of words says
nothing about it: there are 12 either way. Causes are alike, so a score that adds up word weights - any linear decoder
on a bag of words, with a linear bottleneck or none - has the same mean for the effects of m = 1, 2 and 3. It takes a
function that saturates for each cause before the causes are added. That is sigmoid(logit), then a sum over labels: the
gather of a correlation block. A ReLU bottleneck can build it too, but only out of units for single causes or for their
pairs and triples (504 sets of causes, 6 training documents each on average): we expect it to need more documents.

Ceiling: the labels follow from the words, so P@1 = P@3 = P@5 = 1. A floor worth knowing: all causes right and the
effects of the right group guessed is P@5 = 0.60.

Measured, test P@5 with CorNet's head (2 blocks, R = 128) and without, three seeds, small stand-ins of encoders,
epoch by validation; the head also adds parameters, and this design was chosen among four because heads gained on it:
  bag of words, 128 ReLU features, 12 epochs      0.961 to 0.979   against 0.846 to 0.856
  XML-CNN, 64 filters, bottleneck 256, 10 epochs  0.792 to 0.829   against 0.741 to 0.771
  logistic regression, then a small network on its probabilities (tests/data/test_toy.py): 0.92 against 0.64
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np

from xmtc.bounds import Bounds, Count, Natural
from xmtc.data.sources.base import PARTS, Source

VERSION = 1  # part of the fingerprint: raise it with any change of the documents
GROUPS, CAUSES, MOST_CAUSES, LABELS_PER_DOCUMENT = 8, 7, 3, 5


class ToySource(Source):
    """The corpus of this module's docstring. The same arguments give the same documents.

    train, validation, test: documents. synonyms: words of each cause. words: words that the causes of a document write;
    a multiple of 6 shares them equally. noise: meaningless words a document, out of 50. seed: of all draws.
    """

    def __init__(
        self,
        train: Count = 3000,
        validation: Count = 300,
        test: Count = 500,
        synonyms: Count = 3,
        words: Annotated[int, Bounds(least=MOST_CAUSES)] = 12,
        noise: Natural = 6,
        seed: Natural = 0,
    ):
        self.sizes = {"train": train, "validation": validation, "test": test}
        self.synonyms, self.words, self.noise, self.seed = synonyms, words, noise, seed

    def parts(self) -> list[str]:
        return list(PARTS)

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        random = np.random.default_rng([VERSION, self.seed, PARTS.index(part)])
        return (self._document(random) for _ in range(self.sizes[part]))

    def files(self) -> list[Path]:
        return []

    def fingerprint(self) -> dict:
        own = {"synonyms": self.synonyms, "words": self.words, "noise": self.noise, "seed": self.seed}
        return {"layout": "toy", "version": VERSION, **self.sizes, **own}

    def label_names(self) -> dict[str, str]:
        names = {}
        for group in range(GROUPS):
            names |= {f"g{group}.cause{cause}": f"group {group}: cause {cause}" for cause in range(CAUSES)}
            for count in range(1, MOST_CAUSES + 1):
                names |= {effect: f"group {group}: exactly {count} causes" for effect in effects(group, count)}
        return names

    def _document(self, random: np.random.Generator) -> tuple[str, list[str]]:
        group, count = random.integers(0, GROUPS), random.integers(1, MOST_CAUSES + 1)
        causes = random.permutation(CAUSES)[:count]
        synonyms = random.integers(0, self.synonyms, self.words)
        words = [f"g{group}c{causes[place % count]}w{synonym}" for place, synonym in enumerate(synonyms)]
        words += [f"n{number}" for number in random.integers(0, 50, self.noise)]
        text = " ".join(words[place] for place in random.permutation(len(words)))
        return text, [f"g{group}.cause{cause}" for cause in causes] + effects(group, count)


def effects(group: int, count: int) -> list[str]:
    """The labels that mean that exactly `count` causes of the group are present."""
    return [f"g{group}.exactly{count}.{number}" for number in range(LABELS_PER_DOCUMENT - count)]
