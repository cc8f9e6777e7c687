"""Pre-trained word vectors from a file: GloVe (Pennington et al. 2014), another of that format, or binary."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xmtc.bounds import Count
from xmtc.data.binary_vectors import binary_rows, is_binary
from xmtc.data.embedding import WordVectors, kept_in_store
from xmtc.data.text import SEPARATOR
from xmtc.data.vocabulary import Vocabulary
from xmtc.data.word_rows import identity, word_rows
from xmtc.errors import InputError

log = logging.getLogger(__name__)


class Glove(WordVectors):
    """path: a text file of word vectors, plain, .gz or .xz, or a .bin of word2vec or fastText; only words of the
    vocabulary are kept, in the store.

    Words without a vector, the unknown word among them, start uniform(-1, 1); /SEP/ has the vector of "." (as in
    AttentionXML's code). Cost: one pass over the file for each store; memory: the table.
    """

    def __init__(self, path: str, size: Count = 300, trainable: bool = True):
        super().__init__(size, trainable)
        self.path = Path(path).expanduser()

    def table(self, vocabulary: Vocabulary) -> Tensor:
        if not (vocabulary.folder / "vocabulary.txt").exists():
            raise InputError("embedding=glove: vectors of words need text=words, not a Hugging Face tokenizer")
        settings = {"size": self.size} | identity(self.path)
        kept = kept_in_store(vocabulary, "glove", settings, lambda: self._read(vocabulary.folder / "vocabulary.txt"))
        vectors = np.load(kept, mmap_mode="r")
        table = torch.empty(vocabulary.size, self.size).uniform_(-1, 1)
        for start in range(0, vocabulary.size, 10_000):
            piece = np.array(vectors[start : min(start + 10_000, vocabulary.size)])
            known = torch.from_numpy(piece.any(axis=1))
            table[start : start + len(piece)][known] = torch.from_numpy(piece)[known]
        return table

    def _read(self, vocabulary: Path) -> np.ndarray:
        """(V, E) float32; rows of zeros: no vector."""
        words = vocabulary.read_bytes().split(b"\n")[:-1]
        wanted = {word: i for i, word in enumerate(words) if i >= 2}  # without padding and unknown
        if (separator := wanted.pop(SEPARATOR.encode(), None)) is not None:
            wanted[b"."] = separator
        vectors = np.zeros((len(words), self.size), np.float32)
        log.info("reading vectors of %d words from %s", len(wanted), self.path)
        found, begun = np.zeros(len(words), bool), time.monotonic()
        rows = binary_rows if is_binary(self.path) else _text_rows
        for number, word, vector in rows(self.path, wanted):
            if len(vector) != self.size:
                size = len(vector)
                raise InputError(
                    f"{self.path}: vectors of {size} numbers, embedding.size is {self.size}: set it to {size}"
                )
            row = wanted[word]
            if found[row]:  # a word that stands twice: its first vector
                continue
            if not np.isfinite(vector).all():
                raise InputError(f"{self.path}, line {number}: a number that is not finite")
            vectors[row], found[row] = vector, True
        log.info("%d of %d words have a vector (%.0f s)", found.sum(), len(words) - 2, time.monotonic() - begun)
        return vectors


def _text_rows(path: Path, wanted: dict[bytes, int]) -> Iterator[tuple[int, bytes, np.ndarray]]:
    for number, word, rest, size in word_rows(path, wanted):
        try:
            vector = np.array(rest.split(b" "), dtype=bytes).astype(np.float32)
        except ValueError:
            raise InputError(f"{path}, line {number}: expected {size} numbers after the word") from None
        yield number, word, vector
