"""A server: listeners, and the connections that came by them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from ._codec import Table
from .connection import Connection
from .limits import Limits
from .listening import BACKLOG, listen_on
from .method import Method
from .tls import MakeContext, RenewedContext

OnCall = Callable[[str, int, float], None]
"""Hears of every call that ends: path, status code, seconds it took."""


def serve(
    methods: Sequence[Method],
    address: str,
    *,
    limits: Limits | None = None,
    tls: MakeContext | None = None,
    shares_port: bool = False,
    on_call: OnCall | None = None,
) -> Server:
    """A server of `methods` on "HOST:PORT", "[::1]:PORT" or "unix:/path", from `async with` on.

    `tls` is asked for a context for each connection, so it may give one with new certificates. With
    `shares_port` other processes may listen on the same port (SO_REUSEPORT).
    """
    return Server(methods, address, limits or Limits(), tls, shares_port, on_call)


class Server:
    """Serves while its context is entered; leaving that cancels all calls, and waits for them.

    `port` is the one in use, 0 for a unix socket. Entering raises OSError when it cannot listen.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        address: str,
        limits: Limits,
        tls: MakeContext | None,
        shares_port: bool,
        on_call: OnCall | None,
    ) -> None:
        self.methods = tuple(methods)
        self.limits = limits
        self.on_call = on_call
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop
        rows = {method.path: method.streams_requests for method in methods}
        if len(rows) < len(methods):
            paths = sorted(method.path for method in methods)
            raise ValueError(f"a path has two handlers: {paths}")
        self.table = Table(list(rows.items()), limits)
        self._address = address
        self._tls = None if tls is None else RenewedContext(tls)
        self._shares_port = shares_port
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._is_empty = asyncio.Event()

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        handshake = None if self._tls is None else self.limits.handshake_seconds
        if self._address.startswith("unix:"):
            path = self._address.removeprefix("unix:")
            listener = await self.loop.create_unix_server(
                self._connect,
                path,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
                backlog=BACKLOG,
            )
            self._listeners = [listener]
            return self
        sockets = listen_on(self._address, shares_port=self._shares_port)
        self.port = sockets[0].getsockname()[1]
        self._listeners = [
            await self.loop.create_server(
                self._connect,
                sock=one,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
                backlog=BACKLOG,
            )
            for one in sockets
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop_listening()
        for connection in list(self._connections):
            connection.close()
        self._note_if_empty()
        await self._is_empty.wait()

    async def drain(self, grace_seconds: float) -> None:
        """Takes no new calls, lets running ones end, cancels what is left after the grace time.

        Cancelled handlers may still be running then; leaving the context waits for them.
        """
        self._stop_listening()
        for connection in list(self._connections):
            connection.drain()
        self._note_if_empty()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._is_empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.close()

    def admit(self, connection: Connection) -> bool:
        """Counts a connection that was made. False when there are too many."""
        if len(self._connections) >= self.limits.connections:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """A connection was lost."""
        self._connections.discard(connection)
        self._note_if_empty()

    def finished(self, task: asyncio.Task[None]) -> None:
        """A Task of a call has ended."""
        self.tasks.discard(task)
        if not self.tasks:
            self._note_if_empty()

    def _connect(self) -> Connection:
        return Connection(self)

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _note_if_empty(self) -> None:
        if self._connections or self.tasks:
            self._is_empty.clear()
        else:
            self._is_empty.set()
