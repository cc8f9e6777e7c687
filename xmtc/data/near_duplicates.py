"""Test documents that stand almost word for word in training too, found by MinHash (Broder 1997; datasketch)."""

from __future__ import annotations

import logging
import time

import numpy as np

from xmtc.data.store import Part
from xmtc.errors import InputError

log = logging.getLogger(__name__)
WORDS = 3  # a shingle
TELL = 10


def near_duplicates(
    train: Part, test: Part, threshold: float = 0.8, most_train: int = 100_000, most_test: int = 5_000, seed: int = 0
) -> dict:
    """How many test documents share at least `threshold` of their distinct shingles (3 tokens) with a training one.

    Of at most `most_train` and `most_test` documents, drawn by `seed` and kept in order; a sample of train makes the
    count a lower bound. Candidates come from MinHash (128 permutations), which misses 1 to 2 in a hundred pairs that
    lie just at the threshold, hardly any above it, and are then compared exactly. Cost: about a millisecond a document.
    Returns documents compared, how many and which test documents, and the pairs.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        raise InputError("near duplicates need datasketch: pip install 'xmtc[stats]'") from None
    random = np.random.default_rng(seed)
    of_train, of_test = _sample(random, len(train), most_train), _sample(random, len(test), most_test)
    first = MinHash(num_perm=128, hashfunc=int)

    def signature(part: Part, number: int):
        sketch = MinHash(num_perm=128, hashfunc=int, permutations=first.permutations, scheme=first.scheme)
        sketch.update_batch(_shingles(part, number).tolist())
        return sketch

    # candidates are compared exactly, so one too many costs a moment; one too few would be a near duplicate missed
    index = MinHashLSH(threshold=threshold, num_perm=128, weights=(0.01, 0.99))
    told = time.monotonic()
    with index.insertion_session() as session:
        for done, number in enumerate(of_train.tolist(), start=1):
            session.insert(number, signature(train, number), check_duplication=False)
            if time.monotonic() - told > TELL:
                told = time.monotonic()
                log.info("near duplicates: %d of %d training documents", done, len(of_train))
    pairs = []
    for number in of_test.tolist():
        mine = _shingles(test, number)
        for other in sorted(index.query(signature(test, number))):
            if _jaccard(mine, _shingles(train, other)) >= threshold:
                pairs.append((number, other))
    return {
        "threshold": threshold,
        "train_documents": len(of_train),
        "test_documents": len(of_test),
        "near_duplicates": len({number for number, _ in pairs}),
        "pairs": pairs,
    }


def _sample(random: np.random.Generator, size: int, most: int) -> np.ndarray:
    return np.arange(size) if size <= most else np.sort(random.choice(size, most, replace=False))


def _shingles(part: Part, number: int) -> np.ndarray:
    """Distinct hashes (uint32) of every 3 tokens in a row; a shorter document is one shingle."""
    tokens = np.array(part.tokens[part.token_offsets[number] : part.token_offsets[number + 1]], np.uint64)
    width = min(WORDS, len(tokens))
    windows = np.lib.stride_tricks.sliding_window_view(tokens, width)
    mixed = np.zeros(len(windows), np.uint64)
    for column in range(width):
        mixed = (mixed ^ windows[:, column]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return np.unique((mixed >> np.uint64(32)).astype(np.uint32))


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)
