"""Dynamic batching: documents of many requests are read by the model together.

A batch leaves when it is full, or when its oldest document has waited `wait` seconds; while the model works, the next
batch gathers by itself. The queue is bounded: a request that does not fit whole is refused at once. Answers that nobody
waits for any more (a time-out, a client that went away) are taken out of the queue again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from xmtc.errors import InputError
from xmtc.shortage import is_shortage, said

log = logging.getLogger(__name__)


class QueueFull(Exception):
    """No room for the documents of a request; the client should come back later."""


class ModelFailed(Exception):
    """The model broke on a text, for a reason that is not the text's fault; the log has it."""


@dataclass(eq=False)
class Document:
    """One text, and what was asked of it. Only documents of equal `key` can be given to the model together."""

    text: str
    key: Hashable
    k: int
    answer: asyncio.Future
    since: float


class Batcher:
    """work: (key, texts, k) -> one answer a text, called in a thread of its own, one call at a time.

    k of a call is the largest asked for in it; `cut` shortens an answer to the k that its request wanted.
    size: documents of a batch. wait: seconds. room: documents waiting. done: told of the documents of every batch, and
    its seconds.
    """

    def __init__(
        self,
        work: Callable[[Any, Sequence[str], int], Sequence[Any]],
        cut: Callable[[Any, int], Any],
        size: int,
        wait: float,
        room: int,
        done: Callable[[int, float], None] = lambda documents, seconds: None,
    ):
        self.work, self.cut, self.size, self.wait, self.room, self.done = work, cut, size, wait, room, done
        self._queue: deque[Document] = deque()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="xmtc-model")
        self._task: asyncio.Task | None = None
        self._batch: list[Document] = []  # at the model

    def __len__(self) -> int:
        """Documents waiting."""
        return len(self._queue)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._go_on)

    def _go_on(self, task: asyncio.Task) -> None:
        """Nothing of a batch's own ends the task, but a machine without memory or threads may, and a server that takes
        requests and answers none would be worse than one that has ended."""
        if task.cancelled():
            return
        log.error("a batch was lost (%s)", said(task.exception() or RuntimeError()))
        lost = self._batch or [self._queue.popleft() for _ in range(min(self.size, len(self._queue)))]
        self._batch = []
        for document in lost:
            if not document.answer.done():
                document.answer.set_exception(ModelFailed("the server failed on this text; its log says how"))
        self.start()

    async def stop(self) -> None:
        """Answers what waits and what is at the model, then ends."""
        while (self._queue or self._batch) and self._task and not self._task.done():
            await asyncio.sleep(0.01)
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._thread.shutdown()

    async def submit(self, key: Hashable, texts: Sequence[str], k: int) -> list:
        """One answer a text. QueueFull: not all of them fit. InputError, ModelFailed: on one of them."""
        if len(self._queue) + len(texts) > self.room:
            raise QueueFull
        loop = asyncio.get_running_loop()
        now = loop.time()
        documents = [Document(text, key, k, loop.create_future(), now) for text in texts]
        if not documents:
            return []
        self._queue.extend(documents)
        self._arrived.set()
        if len(self._queue) >= self.size:
            self._full.set()
        try:
            return await asyncio.gather(*(document.answer for document in documents))
        finally:
            if any(document.answer.cancelled() for document in documents):
                self._queue = deque(d for d in self._queue if not d.answer.cancelled())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            while self._queue and len(self._queue) < self.size:
                left = self._queue[0].since + self.wait - loop.time()
                if left <= 0:
                    break
                self._full.clear()
                try:
                    await asyncio.wait_for(self._full.wait(), left)
                except TimeoutError:
                    break
            batch = [self._queue.popleft() for _ in range(min(self.size, len(self._queue)))]
            self._batch = [document for document in batch if not document.answer.done()]
            if not self._queue:
                self._arrived.clear()
            if self._batch:
                start = loop.time()
                answers = await loop.run_in_executor(self._thread, self._answer, self._batch)
                self.done(len(self._batch), loop.time() - start)
                for document, answer in answers:
                    if document.answer.done():
                        continue
                    if isinstance(answer, Exception):
                        document.answer.set_exception(answer)
                    else:
                        document.answer.set_result(answer)
                self._batch = []

    def _answer(self, batch: list[Document]) -> list[tuple[Document, Any]]:
        """In the model's thread."""
        answers = []
        for key, group in groupby(sorted(batch, key=lambda d: repr(d.key)), key=lambda d: d.key):
            answers += self._ask(key, list(group))
        return answers

    def _ask(self, key: Hashable, documents: list[Document]) -> list[tuple[Document, Any]]:
        try:
            found = self.work(key, [d.text for d in documents], max(d.k for d in documents))
            return [(d, self.cut(answer, d.k)) for d, answer in zip(documents, found, strict=True)]
        except Exception as error:
            if len(documents) > 1:  # one text that cannot be read must not take the others' answers with it
                return [pair for document in documents for pair in self._ask(key, [document])]
            if isinstance(error, InputError):
                return [(documents[0], error)]
            if is_shortage(error):  # of this text; the next one may be shorter
                log.error("out of memory on a text of %d characters (%s)", len(documents[0].text), said(error))
                return [(documents[0], ModelFailed("out of memory on this text; a shorter one may do"))]
            log.exception("the model failed on a text of %d characters", len(documents[0].text))
            return [(documents[0], ModelFailed("the model failed on this text; the server's log says how"))]
