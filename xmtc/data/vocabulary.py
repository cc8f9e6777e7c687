"""What the store knows of its tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

PADDING, UNKNOWN = 0, 1  # of word-level vocabularies


@dataclass
class Vocabulary:
    """Tokens by descending document frequency in the training texts; 0 is padding and 1 the unknown token.

    size: V, those two included. document_frequency: (V,) int64, training documents that hold the token.
    num_documents: training documents counted. folder: the store's `text/` folder. padding, unknown: their ids. For a
    Hugging Face tokenizer the ids are the tokenizer's own, in its order; one without an unknown token has another
    special token stand for it. trained: numbers of the documents of the store's training part whose labels may be
    learnt from (not those split off for validation); null: all.
    """

    size: int
    document_frequency: np.ndarray
    num_documents: int
    folder: Path | None = None
    padding: int = PADDING
    unknown: int = UNKNOWN
    trained: np.ndarray | None = None

    def cut(self, min_documents: int) -> Vocabulary:
        """Only tokens met in at least so many training documents: as tokens are sorted, ids from the new size on are
        the ones to be read as unknown. (A Hugging Face tokenizer's are not sorted: only its last ids can go.)"""
        enough = np.flatnonzero(self.document_frequency >= min_documents)
        size = max(self.padding, self.unknown, int(enough[-1]) if len(enough) else 0) + 1
        return replace(self, size=size, document_frequency=self.document_frequency[:size])

    def words(self) -> list[str]:
        """(V,) the tokens; only word-level vocabularies have them."""
        path = self.folder / "vocabulary.txt"
        return path.read_text(encoding="utf-8").split("\n")[: self.size]
