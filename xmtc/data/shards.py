"""Tokenising in processes, shard by shard, each kept on disk as soon as it is done.

A shard is a run of documents whose bounds depend on the corpus alone, and its ids are its own: whatever number of
processes makes the shards, they are the same, and those that a killed process has finished are not made again. At most
a few shards are in memory.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from pathlib import Path

import numpy as np

from xmtc.data.checksums import damaged, list_files
from xmtc.data.files import read_npz
from xmtc.data.text import HuggingFace, Text
from xmtc.data.tokenising import Documents, Tokenised, tokenise
from xmtc.errors import InputError

log = logging.getLogger(__name__)
SHARD = 4096  # documents at most
CHARACTERS = 1 << 24  # of text, after which a shard is full
FEW = 2  # shards that are not worth starting processes for
TELL = 10  # seconds between lines of progress
GROUPS = 64  # words of a shard lie by the group that their hash puts them in, so that groups can be counted apart


def write_shards(folder: Path, spec: Text, documents: Iterable[tuple[str, list[str]]], workers: int) -> list[Path]:
    """The shards of one part, in corpus order. Those that lie in `folder` are kept; `complete` in it says that all do.

    InputError: what reading the corpus raises, a label that cannot be written, a process that died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "complete").exists() or damaged(folder) is not None:
        _clear(folder)
        task = spec.json() if isinstance(spec, HuggingFace) else spec
        count = sum(1 for _ in _made(folder, task, documents, workers))
        if count == 0:
            raise InputError(f"dataset: the {folder.name} part of the corpus has no documents")
        (folder / "complete").write_text(f"{count}\n", encoding="utf-8")
        list_files(folder)
    return [_path(folder, number) for number in range(int((folder / "complete").read_text(encoding="utf-8")))]


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


def _clear(folder: Path) -> None:
    """Removes what is not a whole shard: files under a temporary name, and what a crash or a disk has damaged."""
    for path in folder.iterdir():
        if path.name.startswith(".") or damaged(folder, [path.name]) or not _whole(path):
            path.unlink()


def _whole(path: Path) -> bool:
    try:
        return bool(read_npz(path))
    except InputError:
        return False


def _made(folder: Path, spec: Text | str, documents: Iterable, workers: int) -> Iterator[Path]:
    """Each shard's path, once it is there, in order. A corpus of few shards starts no processes."""
    stream = _batches(iter(documents))
    ahead = list(islice(stream, FEW + 1))
    numbered = enumerate(chain(ahead, stream))
    several = workers > 1 and len(ahead) > FEW
    del ahead
    progress = Progress(folder.name)
    if not several:
        for number, batch in numbered:
            if not (path := _path(folder, number)).exists():
                save_shard(path, tokenise(spec, batch))
            progress.add(len(batch))
            yield path
        return
    # spawn: forking a process that has started threads (tokenizers, torch) can deadlock
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (spec,)) as pool:
        waiting: deque = deque()
        try:
            more = True
            while more or waiting:
                while more and len(waiting) < 2 * workers:
                    more = (item := next(numbered, None)) is not None
                    if more:
                        path = _path(folder, item[0])
                        future = None if path.exists() else pool.submit(_work, path, item[1])
                        waiting.append((future, path, len(item[1])))
                    del item
                if waiting:
                    future, path, count = waiting.popleft()
                    if future is not None:
                        future.result()
                    progress.add(count)
                    yield path
        except BrokenProcessPool as error:
            raise InputError(
                "prepare_workers: a process that tokenises has died, for want of memory or because the script that"
                " calls xmtc.run has no `if __name__ == '__main__':`; prepare_workers=1 uses this process alone"
            ) from error
        finally:
            for future, _, _ in waiting:
                if future is not None:
                    future.cancel()


def _batches(stream: Iterator) -> Iterator[Documents]:
    batch: Documents = []
    characters = 0
    for document in stream:
        batch.append(document)
        characters += len(document[0])
        if len(batch) >= SHARD or characters >= CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class Progress:
    """Tells at most every few seconds how many documents are done."""

    def __init__(self, part: str):
        self.part, self.count = part, 0
        self.begun = self.told = time.monotonic()

    def add(self, documents: int) -> None:
        self.count += documents
        if (now := time.monotonic()) - self.told > TELL:
            self.told = now
            log.info("%s: %d documents, %.0f documents/s", self.part, self.count, self.count / (now - self.begun))


_spec: Text | str = ""


def _start(spec: Text | str) -> None:
    """Once in each worker: a tokenizer's definition may have megabytes, too many to travel with every shard."""
    global _spec
    _spec = spec
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism


def _work(path: Path, batch: Documents) -> None:
    save_shard(path, tokenise(_spec, batch))


def save_shard(path: Path, done: Tokenised) -> None:
    """Written under another name and renamed, so that a shard that is there is whole."""
    arrays = {"ids": done.ids, "lengths": done.lengths, "label_ids": done.label_ids, "label_counts": done.label_counts}
    arrays["labels"] = _blob("".join(f"{label}\n" for label in done.labels).encode())
    arrays["duplicates"] = np.array(done.duplicates)
    if done.words is None:
        arrays["frequency"] = done.frequency
    else:
        encoded = [word.encode() for word in done.words]
        groups = np.fromiter((zlib.crc32(word) % GROUPS for word in encoded), np.int64, len(encoded))
        order = np.argsort(groups, kind="stable")
        arrays |= {"seen": order.astype(np.int32), "frequency": done.frequency[order]}
        arrays["words"] = _blob(b"".join(encoded[i] + b"\n" for i in order.tolist()))
        arrays["groups"] = np.searchsorted(groups[order], np.arange(GROUPS + 1))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _blob(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def lines_of(blob: np.ndarray) -> list[bytes]:
    """The words or labels of a shard's array of bytes."""
    return blob.tobytes().split(b"\n")[:-1]
