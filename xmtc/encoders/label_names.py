"""The words and word pieces of labels' names, and vectors made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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


def name_pieces(names: Sequence[str], definition: Path) -> list[list[int]]:
    """Ids of the word pieces of each name, without special tokens. definition: the tokenizer's `tokenizer.json`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(definition))
    tokenizer.no_truncation()
    tokenizer.no_padding()  # MiniLM's fills up every text to 128 pieces
    # a blank before each, as within a text: to some tokenizers it belongs to the word
    told = [" " + name.replace("_", " ") if name else "" for name in names]
    return [encoding.ids for encoding in tokenizer.encode_batch(told, add_special_tokens=False)]
