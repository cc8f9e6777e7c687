"""What the store knows of its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

PADDING, UNKNOWN = 0, 1


@dataclass
class Vocabulary:
    """Tokens by descending document frequency in the training texts; 0 is padding and 1 the unknown token.

    size: V, those two included. document_frequency: (V,) int64, training documents that hold the token.
    num_documents: training documents counted. folder: the store's `text/` folder. For a Hugging Face tokenizer the ids
    are the tokenizer's own.
    """

    size: int
    document_frequency: np.ndarray
    num_documents: int
    folder: Path | None = None

    def cut(self, min_documents: int) -> Vocabulary:
        """Only tokens met in at least so many training documents: as tokens are sorted, ids from the new size on are the
        ones to be read as unknown."""
        enough = np.flatnonzero(self.document_frequency >= min_documents)
        size = int(enough[-1]) + 1 if len(enough) else UNKNOWN + 1
        return Vocabulary(size, self.document_frequency[:size], self.num_documents, self.folder)

    def words(self) -> list[str]:
        """(V,) the tokens; only word-level vocabularies have them."""
        path = self.folder / "vocabulary.txt"
        return path.read_text(encoding="utf-8").split("\n")[: self.size]
