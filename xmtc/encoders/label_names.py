"""The words and word pieces of labels' names, and vectors made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from xmtc.data.text import Text, Words
from xmtc.data.vocabulary import Vocabulary


def name_vectors(names: Sequence[str], text: Text, vocabulary: Vocabulary, table_VE: Tensor) -> tuple[Tensor, Tensor]:
    """(L, E) mean of the vectors of each name's known words or word pieces, zero without any; and (L,) bool, which have
    some."""
    vectors = table_VE.new_zeros(len(names), table_VE.shape[1])
    found = torch.zeros(len(names), dtype=torch.bool)
    for label, ids in enumerate(_known(names, text, vocabulary)):
        if ids:
            vectors[label], found[label] = table_VE[ids].mean(0), True
    return vectors, found


def _known(names: Sequence[str], text: Text, vocabulary: Vocabulary) -> list[list[int]]:
    if not isinstance(text, Words):
        pieces = name_pieces(names, vocabulary.folder / "tokenizer.json")
        return [[piece for piece in ids if piece != vocabulary.unknown] for ids in pieces]
    place = {word: i for i, word in enumerate(vocabulary.words()) if i not in (vocabulary.padding, vocabulary.unknown)}
    told = (text.tokenise(name.replace("_", " ")) for name in names)
    return [[place[word] for word in words if word in place] for words in told]


def name_pieces(names: Sequence[str], definition: Path) -> list[list[int]]:
    """Ids of the word pieces of each name, without special tokens. definition: the tokenizer's `tokenizer.json`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(definition))
    tokenizer.no_truncation()
    tokenizer.no_padding()  # MiniLM's fills up every text to 128 pieces
    # a blank before each, as within a text: to some tokenizers it belongs to the word
    told = [" " + name.replace("_", " ") if name else "" for name in names]
    return [encoding.ids for encoding in tokenizer.encode_batch(told, add_special_tokens=False)]
