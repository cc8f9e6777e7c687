"""A local HTTP server that misbehaves on demand, for tests of downloads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Misbehaving:
    """files: path -> bytes. tricks: path -> callables that answer one request each, in order, before the file is given.

    A trick gets the request handler and the file's bytes. requests: (path, Range header or null) as they came.
    """

    def __init__(self, url: str):
        self.url = url
        self.files: dict[str, bytes] = {}
        self.tricks: dict[str, list[Callable]] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.versions: dict[str, str] = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        state = self.server.state
        state.requests.append((self.path, self.headers.get("Range")))
        self.close_connection = True
        body = state.files.get(self.path)
        if state.tricks.get(self.path):
            state.tricks[self.path].pop(0)(self, body)
        elif body is None:
            self.send_error(404)
        else:
            whole(self, body)

    def log_message(self, *_):
        pass


def whole(handler, body: bytes, claimed: int | None = None, cut: int | None = None) -> None:
    """The file, or what its Range asks for. claimed: a length that is told instead; cut: bytes after which it ends."""
    version = handler.server.state.versions.get(handler.path, '"v1"')
    asked, start = handler.headers.get("Range"), 0
    if asked and handler.headers.get("If-Range", version) == version:
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start > len(body) or start == len(body) > 0:
        handler.send_response(416)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.send_header("Content-Length", str(len(body) - start if claimed is None else claimed))
    handler.send_header("Content-Type", "application/octet-stream")
    handler.send_header("Connection", "close")
    if version:
        handler.send_header("ETag", version)
    handler.end_headers()
    with contextlib.suppress(ConnectionError):
        handler.wfile.write(body[start:][:cut])


def status(code: int, **headers: str) -> Callable:
    """A trick: this status, and these headers (`Retry_After="1"`)."""

    def answer(handler, _):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.send_header("Connection", "close")
        handler.end_headers()

    return answer


def cut_after(count: int) -> Callable:
    """A trick: the connection ends after so many bytes."""
    return lambda handler, body: whole(handler, body, cut=count)


def stall_after(count: int, seconds: float) -> Callable:
    """A trick: silence after so many bytes."""

    def answer(handler, body):
        whole(handler, body, cut=count)
        handler.wfile.flush()
        handler.server.stop.wait(seconds)

    return answer


@contextlib.contextmanager
def serving() -> Iterator[Misbehaving]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.state = Misbehaving(f"http://127.0.0.1:{server.server_address[1]}")
    server.stop = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.state
    finally:
        server.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
