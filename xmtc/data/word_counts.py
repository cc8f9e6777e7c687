"""Which words the vocabulary holds: document frequencies of all shards, summed in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xmtc.data.shards import GROUPS, lines_of
from xmtc.data.tokenising import Numbered

log = logging.getLogger(__name__)
ENTRIES = 20_000_000  # (shard, word) pairs looked at together; distinct words are a small share of them


def most_frequent(
    shards: list[Path], size: int, preferred: Callable[[dict[bytes, int]], np.ndarray] | None
) -> tuple[list[bytes], np.ndarray]:
    """The `size` best words and their document frequencies: most frequent first, then preferred, then first seen.

    preferred: word -> number in, (words,) bool out. Exact for any number of passes: words are split by a hash into as
    many passes as memory asks for (at most 64), and after each pass only the best `size` are kept.
    """
    entries = sum(int(_read(path, "groups")[0][-1]) for path in shards)
    passes = min(GROUPS, max(1, -(-entries // ENTRIES)))
    words: list[bytes] = []
    frequency, first, rank = (np.zeros(0, np.int64) for _ in range(3))
    for number in range(passes):
        start, stop = number * GROUPS // passes, (number + 1) * GROUPS // passes
        if passes > 1:  # else it takes seconds
            log.info("words: pass %d of %d over %d shards", number + 1, passes, len(shards))
        place, more, seen = _count(shards, start, stop)
        words += place
        liked = np.zeros(len(place), bool) if preferred is None else preferred(place)
        frequency, first = np.concatenate([frequency, more]), np.concatenate([first, seen])
        rank = np.concatenate([rank, ~liked])
        best = np.lexsort((first, rank, -frequency))[:size]
        words = [words[i] for i in best.tolist()]
        frequency, first, rank = frequency[best], first[best], rank[best]
    return words, frequency


def _count(shards: list[Path], start: int, stop: int) -> tuple[Numbered, np.ndarray, np.ndarray]:
    """Words of some groups, the documents that hold each, and where each was seen first (shard and place in it)."""
    place = Numbered()
    frequency, first = np.zeros(1024, np.int64), np.zeros(1024, np.int64)
    for shard, path in enumerate(shards):
        groups, blob, counts, seen = _read(path, "groups", "words", "frequency", "seen")
        pick = slice(groups[start], groups[stop])
        known = len(place)
        ids = np.array(list(map(place.__getitem__, lines_of(_slice(blob, pick)))), np.int64)
        if len(place) > len(frequency):
            more = np.zeros(max(len(place), 2 * len(frequency)) - len(frequency), np.int64)
            frequency, first = np.concatenate([frequency, more]), np.concatenate([first, more])
        frequency[ids] += counts[pick]
        new = ids >= known
        first[ids[new]] = (shard << 32) + seen[pick][new].astype(np.int64)
    return place, frequency[: len(place)], first[: len(place)]


def _slice(blob: np.ndarray, words: slice) -> np.ndarray:
    """The bytes of these words: to split those of all would take most of the time where there are many passes."""
    ends = np.flatnonzero(blob == 10) + 1
    begin, end = (int(ends[place - 1]) if place else 0 for place in (words.start, words.stop))
    return blob[begin:end]


def _read(path: Path, *names: str) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as shard:
        return [shard[name] for name in names]
