"""From a store part and document numbers to a Batch."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from xmtc.data.batch import Bags, Batch, Labels
from xmtc.data.store import Part
from xmtc.data.text import Text
from xmtc.data.vocabulary import PADDING

Layout = Literal["padded", "bag"]


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenation of arange(start, start + length) over all pairs."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)


class Documents(Dataset):
    """Documents of one part. Indexed by an array of document numbers, it answers with their Batch.

    numbers: which documents of the part belong to it (a validation split takes some of train's).
    `Batch.documents` are positions in `numbers`. padding: the id that fills up rows. width: rows are at least so wide.
    distinct: batches know their distinct words, before they lie on a device that would have to be waited for.
    """

    def __init__(
        self,
        part: Part,
        text: Text,
        layout: Layout,
        numbers: np.ndarray | None = None,
        padding: int = PADDING,
        width: int = 1,
        distinct: bool = False,
    ):
        self.part, self.text, self.layout, self.padding, self.width = part, text, layout, padding, width
        self.distinct = distinct
        self.numbers = np.arange(len(part)) if numbers is None else numbers
        self._lengths = np.diff(part.token_offsets)

    def __len__(self) -> int:
        return len(self.numbers)

    def lengths(self) -> np.ndarray:
        """(N,) tokens each document contributes, after cutting."""
        return self._cut(self._lengths[self.numbers])

    def cut(self) -> int:
        """How many of the documents are longer than what is read of them."""
        return int((self.lengths() < self._lengths[self.numbers]).sum())

    def _cut(self, lengths: np.ndarray) -> np.ndarray:
        """A bag holds the whole document; only sequences are cut."""
        whole = self.text.length is None or self.layout == "bag"
        return lengths if whole else np.minimum(lengths, self.text.length)

    def gold(self, positions: np.ndarray | None = None) -> Labels:
        """True labels of these documents, in order; of all N without."""
        return self._labels(self.numbers if positions is None else self.numbers[positions])

    def _labels(self, numbers: np.ndarray) -> Labels:
        offsets = self.part.label_offsets
        starts, counts = offsets[numbers], offsets[numbers + 1] - offsets[numbers]
        ids = self.part.label_ids[ranges(starts, counts)].astype(np.int64)
        return Labels(torch.from_numpy(ids), torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])))

    def tokens(self, positions) -> tuple[np.ndarray, np.ndarray]:
        """The token ids of these documents one behind the other, int32, and how many each has."""
        numbers = self.numbers[np.asarray(positions, dtype=np.int64)]
        lengths = self._cut(self._lengths[numbers])
        return _slices(self.part.tokens, self.part.token_offsets[numbers], lengths), lengths

    def __getitem__(self, positions) -> Batch:
        positions = np.asarray(positions, dtype=np.int64)
        numbers = self.numbers[positions]
        tokens, lengths = self.tokens(positions)
        batch = Batch(torch.from_numpy(positions), self._labels(numbers))
        if self.layout == "bag":
            batch.bags = _bags(tokens, lengths)
        else:
            width = self.text.length if self.text.fixed else int(lengths.max(initial=self.width))
            padded = np.full((len(numbers), width), self.padding, np.int64)
            padded[np.arange(width) < lengths[:, None]] = tokens
            batch.tokens, batch.lengths = torch.from_numpy(padded), torch.from_numpy(lengths)
        if self.distinct:
            held = batch if batch.bags is None else batch.bags
            held.words, held.places = held.distinct()
        return batch


def _slices(array: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenation of array[start : start + length]; five times faster than fancy indexing where slices are long."""
    array = array.view(np.ndarray)  # a memmap pays for every slice
    pieces = [array[start:stop] for start, stop in zip(starts.tolist(), (starts + lengths).tolist(), strict=True)]
    return np.concatenate(pieces) if pieces else array[:0]


def _bags(tokens: np.ndarray, lengths: np.ndarray) -> Bags:
    """One sort of (document, word) keys, in 32 bits where they fit: half the time."""
    span = int(tokens.max(initial=0)) + 1
    kind = np.int32 if len(lengths) * span < 2**31 else np.int64
    documents = np.arange(len(lengths) + 1, dtype=np.int64) * span
    keys = np.repeat(documents[:-1].astype(kind), lengths) + tokens.astype(kind)
    keys.sort()
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    counts = np.diff(first, append=len(keys))
    pairs = keys[first].astype(np.int64)
    offsets = np.searchsorted(pairs, documents)
    ids = pairs - np.repeat(documents[:-1], np.diff(offsets))
    return Bags(torch.from_numpy(ids), torch.from_numpy(counts.astype(np.float32)), torch.from_numpy(offsets))
