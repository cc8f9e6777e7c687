"""Tokenising in processes: a stream of documents in, blocks of token ids out, in corpus order.

Workers see blocks of documents and answer with ids local to the block, so that the result does not depend on how many
there are; at most a few blocks are under way, so memory stays bounded.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from xmtc.data.text import HuggingFace, Text, Words

BLOCK = 512  # documents


@dataclass
class Block:
    """words: the block's distinct words in first-seen order (None: ids are the tokenizer's own). ids (T,) int32,
    lengths (documents,) int64, frequency: documents that hold each distinct word."""

    words: list[str] | None
    ids: np.ndarray
    lengths: np.ndarray
    frequency: np.ndarray


def tokenise_words(spec: Words, texts: list[str]) -> Block:
    local: dict[str, int] = {}
    ids, lengths, frequency = [], [], []
    for text in texts:
        mine = [local.setdefault(word, len(local)) for word in spec.tokenise(text)]
        frequency.extend([0] * (len(local) - len(frequency)))
        for word in set(mine):
            frequency[word] += 1
        ids.extend(mine)
        lengths.append(len(mine))
    return Block(list(local), np.array(ids, np.int32), np.array(lengths, np.int64), np.array(frequency, np.int64))


_TOKENIZERS: dict[str, object] = {}


def tokenise_hugging_face(definition: str, texts: list[str]) -> Block:
    from tokenizers import Tokenizer

    if definition not in _TOKENIZERS:
        tokenizer = Tokenizer.from_str(definition)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        _TOKENIZERS[definition] = tokenizer
    tokenizer = _TOKENIZERS[definition]
    encoded = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    lengths = np.array([len(e) for e in encoded], np.int64)
    ids = np.array([i for e in encoded for i in e], np.int32)
    distinct = [np.unique(np.array(e, np.int64)) for e in encoded]
    frequency = np.bincount(np.concatenate(distinct), minlength=tokenizer.get_vocab_size()) if distinct else np.zeros(0)
    return Block(None, ids, lengths, frequency.astype(np.int64))


def blocks(spec: Text, documents: Iterable[tuple[str, list[str]]], workers: int) -> Iterator[tuple[Block, list]]:
    """(tokens, label lists) of each block of documents, in order."""
    if isinstance(spec, HuggingFace):
        function, first = tokenise_hugging_face, spec.json()
    else:
        function, first = tokenise_words, spec
    stream = iter(documents)
    if workers <= 1:
        while block := list(islice(stream, BLOCK)):
            yield function(first, [text for text, _ in block]), [labels for _, labels in block]
        return
    # spawn: forking a process that has started threads (tokenizers, torch) can deadlock
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting: deque = deque()
        try:
            while True:
                while len(waiting) < 3 * workers and (block := list(islice(stream, BLOCK))):
                    future = pool.submit(function, first, [text for text, _ in block])
                    waiting.append((future, [labels for _, labels in block]))
                if not waiting:
                    return
                future, labels = waiting.popleft()
                yield future.result(), labels
        finally:
            for future, _ in waiting:
                future.cancel()
