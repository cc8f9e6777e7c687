"""The listening half: uvicorn with deadlines for headers and for readers, and a stop that loses nothing it was sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from xmtc.errors import InputError
from xmtc.serving.settings import Settings

MAX_HEADERS = 64 << 10  # bytes


def patient_for(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which closes connections whose headers do not arrive in time or do not end, and those of
    clients that take nothing of their answer for as long."""

    class Protocol(AutoHTTPProtocol):
        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            self._unread = 0
            self._watch = self.loop.call_later(seconds, self._check, None, 0)

        def connection_lost(self, exc) -> None:
            self._watch.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._unread += len(data)
            super().data_received(data)
            if not self._between():
                self._unread = 0
            elif self._unread > MAX_HEADERS:
                self.transport.close()

        def _between(self) -> bool:
            """No request is being read or answered."""
            return self.cycle is None or self.cycle.response_complete

        def _check(self, last, held: int) -> None:
            """last, held: the request under way and the bytes of answers not taken yet, when it was looked last."""
            holds = self.transport.get_write_buffer_size()
            if holds and holds == held and self.cycle is last:
                self.transport.abort()  # closing would wait for the reader
                return
            if self._between() and self.cycle is last:
                self.transport.close()
            self._watch = self.loop.call_later(seconds, self._check, self.cycle, holds)

    return Protocol


class Server(uvicorn.Server):
    """On SIGTERM or SIGINT: accept what has connected, stop listening, answer everything that was sent, then end.

    A second SIGINT ends at once. `stopping` is for the application: it asks clients to close their connections.
    announce: called once who connects is heard. `config.app` is set afterwards: an application asks its server
    whether it is stopping.
    """

    def __init__(self, settings: Settings, announce: Callable[[], None] = lambda: None):
        super().__init__(
            uvicorn.Config(
                None,
                http=patient_for(settings.body_timeout),
                log_config=None,
                access_log=False,
                ws="none",
                lifespan="on",
                server_header=False,
                limit_concurrency=settings.connections,
                timeout_graceful_shutdown=int(settings.timeout + settings.body_timeout) + 1,
            )
        )
        self.linger = settings.linger
        self.stopping, self.announce = False, announce

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        if self.started:
            self.announce()

    async def shutdown(self, sockets=None) -> None:
        self.stopping = True
        for _ in range(3):  # connections that the kernel has already accepted become ours
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        # a connection may have sent a request that is not read yet: wait until they have all had their say
        loop = asyncio.get_running_loop()
        end = loop.time() + self.linger
        while self.server_state.connections and loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def listen(settings: Settings) -> socket.socket:
    """The listening socket. InputError: the address cannot be had."""
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        raise InputError(f"host={host} port={port}: cannot listen there: {error.strerror or error}") from None
    return sock
