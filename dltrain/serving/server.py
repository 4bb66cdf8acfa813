"""The HTTP server: it binds, says where it is, and stops without losing a request."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from dltrain.errors import UsageError
from dltrain.serving.application import ServerState

DRAIN = 0.5, 5.0
"""Shortest and longest time in seconds between a signal and the close: each new request is answered with 503, and its
connection closed. A connection that is closed while it is idle could lose the request that a client just sends."""
GRACE = 30
"""Seconds that accepted requests have to finish."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError where that is not possible."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"--port {port}: another program listens there"
            advice = "choose another port, or --port 0 for a free one"
        else:
            message, advice = f"cannot listen on {host}, port {port}: {error.strerror}", "correct --host and --port"
        raise UsageError(message, advice=advice) from None


class StoppableServer(uvicorn.Server):
    """On SIGTERM or SIGINT it refuses new requests, finishes accepted ones, and returns; at a second one it leaves."""

    def __init__(self, config: uvicorn.Config, state: ServerState, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._state, self._announce = state, announce

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        handlers = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = self._state.stopping = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.stopping = True
        shortest, longest = DRAIN
        closing = time.monotonic()
        await asyncio.sleep(shortest)
        while self.server_state.connections and not self.force_exit and time.monotonic() - closing < longest:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)


def run_server(
    app: Starlette, listening: socket.socket, state: ServerState, announce: Callable[[], None] = lambda: None
) -> None:
    """Serve until a signal arrives; `announce` is called once requests are accepted."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=GRACE, server_header=False
    )
    server = StoppableServer(config, state, announce)
    asyncio.run(server.serve([listening]))
