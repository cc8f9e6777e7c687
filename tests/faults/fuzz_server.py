"""Requests to the server's application, in this process, as an ASGI server hands them over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

import xmtc
from xmtc.serving.api import make_app
from xmtc.serving.settings import Settings

PATHS = st.sampled_from([
    "/predict", "/predict", "/predict", "/explain", "/labels", "/health", "/metrics", "/", "/v1/projects",
    "/v1/projects/xmtc", "/v1/projects/xmtc/suggest", "/openapi.json", "/docs", "//predict",
    "/../etc/passwd", "/%2e%2e",
]) | st.text(max_size=10).map(lambda text: f"/{text}")  # fmt: skip
TEXTS = st.text(max_size=20) | st.sampled_from(["g0c1w1 n3", "", "\x00", "\ud800", "a" * 300, "\u2028"])
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 1, 5, -1, 10**30, True, None, "3", "1e400"]))
BODIES = st.one_of(
    st.binary(max_size=60),
    st.fixed_dictionaries(
        {}, optional={"texts": st.lists(TEXTS, max_size=4) | TEXTS | NUMBERS, "k": NUMBERS, "raw": NUMBERS,
                      "threshold": NUMBERS | st.text(max_size=5), "text": TEXTS, "why": NUMBERS, "x": NUMBERS},
    ).map(lambda body: json.dumps(body).encode()),
    st.sampled_from([b"[" * 5000, b'{"texts":' * 3000, b'{"texts": ["a"], "k": 1e999}', b'{"texts": ["\xff"]}',
                     b'{"texts": ["a"], "texts": []}', b"text=a&limit=3",
                     b"text=%ff", b"text=a&limit=x", b"text=&" * 30,
                     b'{"texts": ["a"], "k": 3}', b'{"text": "g0c1w1", "k": 3, "why": true}']),
)  # fmt: skip
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"content-type", b"content-length", b"authorization", b"host", b"accept", b"x"]),
        st.sampled_from([b"application/json", b"text/html", b"-1", b"99999999999999999999", b"3", b"Bearer x", b"\xff",
                         b"application/x-www-form-urlencoded", b""]) | st.binary(max_size=8),
    ),
    max_size=3,
)  # fmt: skip
QUERIES = st.sampled_from(
    [b"", b"q=a", b"offset=-1", b"limit=9999", b"q=%00&limit=3", b"offset=" + b"9" * 30]
) | st.binary(max_size=12)
REQUESTS = st.tuples(
    st.sampled_from(["POST", "POST", "GET", "PUT", "HEAD", "OPTIONS", "X"]), PATHS, QUERIES, HEADERS, BODIES,
    st.integers(1, 4), st.booleans(),
)  # fmt: skip


def server(run: Path) -> tuple[st.SearchStrategy, Callable]:
    """(strategy of requests, what answers one). The application lives as long as the process."""
    app = make_app(xmtc.load(run), Settings(max_wait_ms=0, max_body=4000, max_text=500, max_texts=5, max_k=50))
    loop = asyncio.new_event_loop()
    life = app.router.lifespan_context(app)
    loop.run_until_complete(life.__aenter__())

    def read(request: tuple) -> None:
        status, body = loop.run_until_complete(asyncio.wait_for(_ask(app, request), 15))
        assert status is not None or not request[-1], "no answer"
        assert status not in (500, 502), (status, body[:200])
        if status is not None and status >= 400 and request[0] != "HEAD":
            line = json.loads(body)["error"]
            assert "\n" not in line, line
        assert app.state.bodies.held == 0 and len(app.state.batcher) == 0

    return REQUESTS, read


async def _ask(app, request: tuple) -> tuple[int | None, bytes]:
    """Status (None: the client left before there was one) and body."""
    method, path, query, headers, body, pieces, stays = request
    path = path.encode("utf-8", "replace").decode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query, "headers": headers, "root_path": "",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    size = max(1, -(-len(body) // pieces))
    chunks = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
    messages = [{"type": "http.request", "body": c, "more_body": i + 1 < len(chunks)} for i, c in enumerate(chunks)]
    if not stays:
        messages[-1:] = [{"type": "http.disconnect"}]
    answer: list[dict] = []

    async def receive() -> dict:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict) -> None:
        answer.append(message)

    await app(scope, receive, send)
    status = next((message["status"] for message in answer if message["type"] == "http.response.start"), None)
    return status, b"".join(message.get("body", b"") for message in answer)
