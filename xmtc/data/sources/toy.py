"""A generated corpus whose labels need each other: 128 labels, of which 72 have no word of their own.

Six blocks of 20 labels. In a block `g` a document has two *causes*, `g.a<i>` and `g.b<j>` (i, j in 0..3, independent and
uniform), and three *effects*, `g.c<i + j>`, `g.d<i + 2j>`, `g.e<i + 3j>`, where sum and product are those of the field
with four elements. A document has one block or two (even odds), and one of eight *topics* with odds of 1 in 2.

Text: every cause writes one to `repeats` words drawn from its own `synonyms` words, a topic likewise; the rest, up to
24..40 words, is drawn from `noise` words that mean nothing; the order is random. Effects write nothing.

Why a linear decoder fails. The effects of a block are three orthogonal Latin squares: over the 16 pairs (i, j) an effect is
independent of i and independent of j, so a score that is a sum over words - f(i) + g(j) - cannot put all the right effects
first: over the 16 pairs the right label of a square leads the others by 0 on average. It takes the *pair*. Text models could learn pairs of words, but a pair of synonyms is rare
(synonyms² · 16 · blocks of them), while each cause is learned from its words one by one, by its own label. A head that
reads sigmoid(cause logits) needs 16 conjunctions a block, which is what a correlation block can hold.

Ceiling: the labels follow from the words, so P@1, P@3, P@5 = 1 (every document has at least five labels), less the odd
test word that training never showed. Knowing the causes and guessing the effects of a block gives P@5 = 0.55 for
one-block documents (2 causes and 3 · 1/4 effects) and 0.85 for two-block ones (4 causes and 1/4), topics aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from xmtc.data.sources.base import PARTS, Source
from xmtc.errors import InputError

VERSION = 1
BLOCKS, VALUES, TOPICS = 6, 4, 8
EFFECTS = "cde"
# i + k*j in the field with four elements: sum is XOR, product by k permutes 0..3.
PRODUCT = ((0, 0, 0, 0), (0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2))


class ToySource(Source):
    """The corpus of this module's docstring. The same arguments give the same documents on every machine.

    train, validation, test: documents. synonyms: words of each cause and topic. repeats: most words a cause writes
    in one document. noise: meaningless words. seed: of all draws.
    """

    def __init__(
        self,
        train: int = 2000,
        validation: int = 300,
        test: int = 500,
        synonyms: int = 20,
        repeats: int = 2,
        noise: int = 500,
        words: int = 24,
        seed: int = 0,
    ):
        self.sizes = {"train": train, "validation": validation, "test": test}
        self.mn = words; self.synonyms, self.repeats, self.noise, self.seed = synonyms, repeats, noise, seed
        values = {**self.sizes, "synonyms": synonyms, "repeats": repeats, "noise": noise}
        for name, value in values.items():
            if value < 1:
                raise InputError(f"dataset.source.{name}={value}: expected at least 1")

    def parts(self) -> list[str]:
        return list(PARTS)

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        random = np.random.default_rng([VERSION, self.seed, PARTS.index(part)])
        for _ in range(self.sizes[part]):
            yield self._document(random)

    def files(self) -> list[Path]:
        return []

    def fingerprint(self) -> dict:
        return {
            "layout": "toy",
            "version": VERSION,
            **self.sizes,
            "synonyms": self.synonyms,
            "repeats": self.repeats,
            "noise": self.noise,
            "seed": self.seed,
        }

    def label_names(self) -> dict[str, str]:
        kinds = {"a": "first cause", "b": "second cause", "c": "effect i+j", "d": "effect i+2j", "e": "effect i+3j"}
        names = {f"{g}.{kind}{v}": f"block {g}, {kinds[kind]} = {v}" for g in range(BLOCKS) for kind in kinds for v in range(VALUES)}
        return names | {f"topic{t}": f"topic {t}" for t in range(TOPICS)}

    def _document(self, random: np.random.Generator) -> tuple[str, list[str]]:
        labels, words = [], []
        for block in random.permutation(BLOCKS)[: random.integers(1, 3)]:
            i, j = random.integers(0, VALUES, 2)
            causes = [f"{block}.a{i}", f"{block}.b{j}"]
            labels += causes + effects(block, i, j)
            for cause in causes:
                words += self._words(random, cause)
        if random.integers(0, 2):
            labels.append(f"topic{random.integers(0, TOPICS)}")
            words += self._words(random, labels[-1])
        noise = random.integers(0, self.noise, max(0, random.integers(self.mn, self.mn*3//2) - len(words)))
        words += [f"n{number}" for number in noise]
        return " ".join(words[place] for place in random.permutation(len(words))), labels

    def _words(self, random: np.random.Generator, label: str) -> list[str]:
        numbers = random.integers(0, self.synonyms, random.integers(1, self.repeats + 1))
        return [f"{label.replace('.', '')}w{number}" for number in numbers]


def effects(block: int, i: int, j: int) -> list[str]:
    """The labels that follow in a block from its causes a<i> and b<j>: one of each of three orthogonal Latin squares."""
    return [f"{block}.{kind}{i ^ PRODUCT[k][j]}" for k, kind in enumerate(EFFECTS, start=1)]
