"""Tokenising in processes: a stream of documents in, blocks of token ids out, in corpus order.

Workers see blocks of documents and answer with ids local to the block, so that the result does not depend on how many
there are; at most a few blocks are under way, so memory stays bounded.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from xmtc.data.text import HuggingFace, Text, Words
from xmtc.errors import InputError

BLOCK = 512  # documents
FEW = 4  # blocks that are not worth starting processes for


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
    for text in map(_whole, texts):
        mine = [local.setdefault(word, len(local)) for word in spec.tokenise(text)]
        frequency.extend([0] * (len(local) - len(frequency)))
        for word in set(mine):
            frequency[word] += 1
        ids.extend(mine)
        lengths.append(len(mine))
    return Block(list(local), np.array(ids, np.int32), np.array(lengths, np.int64), np.array(frequency, np.int64))


def tokenise_hugging_face(definition: str, texts: list[str]) -> Block:
    tokenizer = _tokenizer(definition)
    encodings = tokenizer.encode_batch_fast([_whole(text) for text in texts], add_special_tokens=False)
    encoded = [np.array(encoding.ids, np.int32) for encoding in encodings]
    lengths = np.array([len(e) for e in encoded], np.int64)
    distinct = [np.unique(e) for e in encoded]
    frequency = np.bincount(np.concatenate(distinct), minlength=hugging_face_size(definition))
    return Block(None, np.concatenate(encoded), lengths, frequency.astype(np.int64))


def _whole(text: str) -> str:
    """JSON can spell half a surrogate pair, which nothing can write; it becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@functools.lru_cache(maxsize=4)
def _tokenizer(definition: str):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(definition)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@functools.lru_cache(maxsize=4)
def hugging_face_size(definition: str) -> int:
    """Rows a table needs for its ids: one more than the highest, which may exceed their number."""
    return max(_tokenizer(definition).get_vocab(with_added_tokens=True).values()) + 1


_task: tuple = ()


def _start(function, first) -> None:
    """Once in each worker: a tokenizer's definition may have megabytes, too many to travel with every block."""
    global _task
    _task = function, first
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism


def _work(texts: list[str]) -> Block:
    function, first = _task
    return function(first, texts)


def blocks(spec: Text, documents: Iterable[tuple[str, list[str]]], workers: int) -> Iterator[tuple[Block, list]]:
    """(tokens, label lists) of each block of documents, in order. A corpus of few blocks starts no processes."""
    if isinstance(spec, HuggingFace):
        function, first = tokenise_hugging_face, spec.json()
    else:
        function, first = tokenise_words, spec
    stream = iter(documents)
    ahead = list(islice(_blocks(stream), FEW + 1))
    source = chain(ahead, _blocks(stream))
    if workers <= 1 or len(ahead) <= FEW:
        for block in source:
            yield function(first, [text for text, _ in block]), [labels for _, labels in block]
        return
    # spawn: forking a process that has started threads (tokenizers, torch) can deadlock
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (function, first)) as pool:
        waiting: deque = deque()
        try:
            while True:
                while len(waiting) < 3 * workers and (block := next(source, None)):
                    future = pool.submit(_work, [text for text, _ in block])
                    waiting.append((future, [labels for _, labels in block]))
                if not waiting:
                    return
                future, labels = waiting.popleft()
                yield future.result(), labels
        except BrokenProcessPool as error:
            raise InputError(
                "prepare_workers: a process that tokenises has died, for want of memory or because the script that"
                " calls xmtc.run has no `if __name__ == '__main__':`; prepare_workers=1 uses this process alone"
            ) from error
        finally:
            for future, _ in waiting:
                future.cancel()


def _blocks(stream: Iterator) -> Iterator[list]:
    while block := list(islice(stream, BLOCK)):
        yield block
