"""What a store knows of its labels: names, hierarchy, frequencies, propensities, bands, and which go together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xmtc.data.collate import ranges
from xmtc.data.store import Store
from xmtc.metrics.propensity import propensities

PAIRS = 1 << 24  # label pairs looked at together: 400 MB


@dataclass
class Cooccurrence:
    """Sparse by rows: label i was met together with `labels[offsets[i]:offsets[i + 1]]` (ascending, i itself left out),
    in `counts` documents each. Symmetric. offsets (L + 1,) int64, labels int32, counts int32."""

    offsets: np.ndarray
    labels: np.ndarray
    counts: np.ndarray

    def row(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """(labels, counts) of one label."""
        span = slice(self.offsets[label], self.offsets[label + 1])
        return self.labels[span], self.counts[span]


class LabelSide:
    """Labels 0 .. L - 1 of a store. Counts are of training documents; numbers: those that count (without those set
    aside for validation), null for all of the train part."""

    def __init__(self, store: Store, numbers: np.ndarray | None = None):
        self.store = store
        part = store.parts["train"]
        self.numbers = np.arange(len(part)) if numbers is None else np.asarray(numbers)
        self._ids, self._offsets = part.label_ids, part.label_offsets

    @property
    def size(self) -> int:
        return self.store.num_labels

    @property
    def names(self) -> list[str]:
        return self.store.label_names

    def frequency(self) -> np.ndarray:
        """(L,) int64."""
        starts = self._offsets[self.numbers]
        ids = self._ids[ranges(starts, self._offsets[self.numbers + 1] - starts)]
        return np.bincount(ids, minlength=self.size)

    def propensity(self, a: float, b: float) -> np.ndarray:
        """(L,) float64, Jain et al. 2016."""
        return propensities(self.frequency(), len(self.numbers), a, b)

    def bands(self, head: float = 0.1, torso: float = 0.4) -> dict[str, np.ndarray]:
        """head, torso, tail -> labels, most frequent first; shares are of labels, and labels never met are tail."""
        frequency = self.frequency()
        order = np.argsort(-frequency, kind="stable")
        stops = [int(np.ceil(round(share * self.size, 6))) for share in (head, head + torso)]
        met = int((frequency > 0).sum())
        first, second = (min(stop, met) for stop in stops)
        return {"head": order[:first], "torso": order[first:second], "tail": order[second:]}

    def parents(self) -> list[tuple[int, int]]:
        """(label, the label above it), both labels of the store; what lies above but is no label is left out."""
        number = {label: i for i, label in enumerate(self.store.labels)}
        pairs = ((number.get(child), number.get(above)) for child, above in self.store.label_parents())
        return sorted((child, above) for child, above in pairs if child is not None and above is not None)

    def cooccurrence(self, min_count: int = 1) -> Cooccurrence:
        """Pairs met in at least `min_count` training documents. Memory: the distinct pairs, and `PAIRS` at a time."""
        starts = self._offsets[self.numbers]
        counts = self._offsets[self.numbers + 1] - starts
        starts, counts = starts[counts > 1], counts[counts > 1]
        keys, sums = np.zeros(0, np.int64), np.zeros(0, np.int64)
        held_keys, held_sums = [keys], [sums]
        for begin, end in _pieces(counts * (counts - 1)):
            pairs = self._pairs(starts[begin:end], counts[begin:end])
            distinct, times = np.unique(pairs, return_counts=True)
            held_keys.append(distinct)
            held_sums.append(times)
            if sum(map(len, held_keys[1:])) > max(PAIRS, len(held_keys[0])):
                held_keys, held_sums = ([x] for x in _merge(held_keys, held_sums))
        keys, sums = _merge(held_keys, held_sums)
        keys, sums = keys[sums >= min_count], sums[sums >= min_count]
        offsets = np.searchsorted(keys, np.arange(self.size + 1, dtype=np.int64) * self.size)
        return Cooccurrence(offsets, (keys % self.size).astype(np.int32), sums.astype(np.int32))

    def _pairs(self, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Keys i L + j of all ordered pairs of different labels of some documents; labels of no training document but
        of a validation one cannot occur here."""
        first = np.repeat(ranges(starts, counts), np.repeat(counts, counts))
        second = ranges(np.repeat(starts, counts), np.repeat(counts, counts))
        different = first != second
        left = self._ids[first[different]].astype(np.int64)
        return left * self.size + self._ids[second[different]]


def _pieces(work: np.ndarray) -> list[tuple[int, int]]:
    """Runs of documents with about PAIRS pairs each."""
    if not len(work):
        return []
    total = np.cumsum(work)
    edges = np.searchsorted(total, np.arange(PAIRS, int(total[-1]), PAIRS), side="left") + 1
    edges = np.unique(np.concatenate([[0], np.minimum(edges, len(work)), [len(work)]]))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _merge(keys: list[np.ndarray], sums: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    distinct, place = np.unique(np.concatenate(keys), return_inverse=True)
    total = np.bincount(place, weights=np.concatenate(sums), minlength=len(distinct))
    return distinct, total.astype(np.int64)
