"""Vectors of labels from the words of their names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xmtc.data.text import Words
from xmtc.data.vocabulary import Vocabulary


def name_vectors(names: Sequence[str], text: Words, vocabulary: Vocabulary, table_VE: Tensor) -> tuple[Tensor, Tensor]:
    """(L, E) mean of the word vectors of each name's known words, zero without any; and (L,) bool, which have some."""
    place = {word: i for i, word in enumerate(vocabulary.words()) if i not in (vocabulary.padding, vocabulary.unknown)}
    vectors = table_VE.new_zeros(len(names), table_VE.shape[1])
    found = torch.zeros(len(names), dtype=torch.bool)
    for label, name in enumerate(names):
        words = [place[word] for word in text.tokenise(name.replace("_", " ")) if word in place]
        if words:
            vectors[label], found[label] = table_VE[words].mean(0), True
    return vectors, found
