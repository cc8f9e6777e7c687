"""What Prometheus reads at /metrics, and the ASGI layer that counts."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """A registry of its own, so that two applications in one process do not meet."""

    def __init__(self, waiting: Callable[[], int], held: Callable[[], int]):
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter("xmtc_requests", "Requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "xmtc_request_seconds", "From the headers to the last byte", ["path"], buckets=SECONDS, registry=registry
        )
        self.documents = Counter("xmtc_documents", "Documents the model has read", registry=registry)
        self.model_seconds = Histogram(
            "xmtc_batch_seconds", "The model's time for a batch", buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "xmtc_batch_documents",
            "Documents of a batch",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.gone = Counter("xmtc_clients_gone", "Clients that left before their answer", registry=registry)
        Gauge("xmtc_queue_documents", "Documents waiting", registry=registry).set_function(waiting)
        Gauge("xmtc_held_bytes", "Bytes of requests under way", registry=registry).set_function(held)

    def batch_done(self, documents: int, seconds: float) -> None:
        self.documents.inc(documents)
        self.batch.observe(documents)
        self.model_seconds.observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class Counted:
    """ASGI: counts requests by route and status; while the server stops, tells clients to close the connection."""

    def __init__(self, app, metrics: Metrics, stopping: Callable[[], bool]):
        self.app, self.metrics, self.stopping = app, metrics, stopping

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = time.perf_counter(), 499  # as nginx writes down clients that left

        async def sending(message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.stopping():
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            # a path that is no route would make a series for everything a scanner tries
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
