"""A server with a model made of nothing, in a thread of its own: what HTTP does to it can be seen exactly."""

import contextlib
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from xmtc.errors import InputError  # noqa: E402
from xmtc.serving.api import make_app  # noqa: E402
from xmtc.serving.server import Server, listen  # noqa: E402
from xmtc.serving.settings import Settings  # noqa: E402


@dataclass
class Answer:
    labels: list
    names: list
    scores: list
    indices: list = field(default_factory=list)


class Table(list):
    """Labels with id, name and frequency."""


class Fake:
    """Twelve labels. The raw ranking of a text is label (len(text) + i) mod 12; the head swaps its first two.

    calls: the texts of every call. open: cleared, the model works until it is set. poison: a text it fails on.
    """

    poison = "poison"

    def __init__(self):
        self.labels = Table(SimpleNamespace(id=f"l{i}", name=f"Label {i}", frequency=12 - i) for i in range(12))
        self.num_labels = 12
        self.has_head = True
        self.config = {"names": {"encoder": "bow", "head": "lcenet"}, "dataset": {"name": "toy"}}
        self.calls, self.threads = [], set()
        self.open = threading.Event()
        self.open.set()

    def threshold(self, given):
        if given == "unknown" or (isinstance(given, float) and not 0 <= given <= 1):
            raise InputError(f"threshold: expected a probability from 0 to 1, got {given}")
        return given

    def predict(self, texts, k=5, threshold=None, raw=False):
        self.calls.append(list(texts))
        self.threads.add(threading.current_thread().name)
        assert self.open.wait(20)
        if self.poison in texts:
            raise RuntimeError("cannot read this")
        return [self._answer(text, k, raw, threshold or 0) for text in texts]

    def both(self, texts, k):
        return self.predict(texts, k, raw=True), self.predict(texts, k)

    def _answer(self, text, k, raw, least):
        places = [(len(text) + i) % 12 for i in range(12)]
        if not raw:
            places[:2] = places[1::-1]
        scores = [s for s in (0.9 * 0.5**i for i in range(min(k, 12))) if s >= least]
        places = places[: len(scores)]
        return Answer([f"l{i}" for i in places], [f"Label {i}" for i in places], scores, places)


@pytest.fixture
def fake():
    return Fake()


class Running:
    """url, and the server's own objects."""

    def __init__(self, model, token, settings):
        self.settings = Settings(**({"port": 0, "linger": 0.2} | settings))
        self.server = Server(self.settings)
        self.app = self.server.config.app = make_app(model, self.settings, token, lambda: self.server.stopping)
        sock = listen(self.settings)
        self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.run, args=([sock],), daemon=True)
        self.thread.start()
        wait_until(lambda: self.server.started)

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    @property
    def waiting(self):
        return len(self.app.state.batcher)


@pytest.fixture
def until():
    return wait_until


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def run_server(fake):
    """`run_server(token=None, **settings)`: a running server with the fake model; stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(token=None, model=fake, **settings):
            running = Running(model, token, settings)
            stack.callback(running.stop)
            stack.callback(fake.open.set)
            return running

        yield start


@pytest.fixture(scope="session")
def shared():
    """A server with the defaults for tests that change nothing of it."""
    running = Running(Fake(), None, {})
    yield running
    running.stop()


@pytest.fixture
def client(shared):
    """httpx on the shared server."""
    with httpx.Client(base_url=shared.url, timeout=20) as client:
        yield client
