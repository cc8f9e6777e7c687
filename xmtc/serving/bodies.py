"""Reading what clients send: bounded in bytes, in time and in sum, and refused in one line.

Every refusal is a `Refused` with its HTTP status; `api.py` turns it into `{"error": ...}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import contextmanager
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from xmtc.serving.settings import Settings

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
TOLD, WIDTH = 3, 80  # errors of a body that are named, and characters of where each one is


class Refused(Exception):
    """status: HTTP status. retry: seconds after which to come back. Its message is the line that the client sees."""

    def __init__(self, status: int, line: str, retry: int | None = None):
        super().__init__(line)
        self.status, self.retry = status, retry


class ClientGone(Exception):
    """The client closed the connection; nobody reads an answer."""


class Bodies:
    """Reads requests. `held` is the sum of the bytes of all requests under way."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.held = 0

    @contextmanager
    def holding(self):
        """What was read inside counts as held until the end."""
        mine = _Held(self)
        try:
            yield mine
        finally:
            self.held -= mine.bytes


class _Held:
    def __init__(self, bodies: Bodies):
        self.bodies, self.bytes = bodies, 0

    async def read(self, request: Request) -> bytes:
        """The whole body. Refused: 413 too long, 408 too slow, 429 too much of all clients. ClientGone."""
        settings = self.bodies.settings
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > settings.max_body:
            raise Refused(413, f"the request has {int(announced):,} bytes, more than max_body={settings.max_body:,}")
        chunks = []
        try:
            async with asyncio.timeout(settings.body_timeout):
                while True:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    self._take(message.get("body", b""), chunks)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise Refused(408, f"the request took longer than body_timeout={settings.body_timeout:g} s") from None

    def _take(self, chunk: bytes, chunks: list[bytes]) -> None:
        settings = self.bodies.settings
        self.bytes += len(chunk)
        self.bodies.held += len(chunk)
        if self.bytes > settings.max_body:
            raise Refused(413, f"the request has more than max_body={settings.max_body:,} bytes")
        if self.bodies.held > settings.max_held:
            raise Refused(429, "busy: the requests under way hold max_held bytes", retry=1)
        chunks.append(chunk)


def parse(kind: type[M], body: bytes) -> M:
    """JSON as `kind`. Refused: 400 no JSON (invalid UTF-8 too), 422 other keys, types or values."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise Refused(400, f"the body is no JSON: {errors[0]['ctx']['error']}") from None
        told = "; ".join(_told(each) for each in errors[:TOLD])
        rest = f" (and {len(errors) - TOLD} more)" if len(errors) > TOLD else ""
        raise Refused(422, told + rest) from None
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of Rust, whose code finds no memory; the class has no other name
            raise MemoryError(str(error)) from None
        raise


def _told(error: Mapping) -> str:
    where = ".".join(str(part) for part in error["loc"])[:WIDTH]
    return f"{where + ': ' if where else ''}{error['msg']}"


async def unless_gone(request: Request, answer: Awaitable[T], seconds: float) -> T:
    """`answer`, given up when the client goes away (ClientGone) or after so many seconds (Refused 504)."""
    task = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientGone
        raise Refused(504, f"no answer within timeout={seconds:g} s", retry=1)
    finally:
        for left in (task, gone):
            left.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
