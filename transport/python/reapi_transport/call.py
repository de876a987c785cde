"""What a handler may know of its call, and say about it beside its replies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._codec import Head
from .metadata import Pairs

if TYPE_CHECKING:
    from .connection import Connection
    from .method import Method


class Call:
    """One call, read lazily: most handlers ask for nothing.

    The properties and the two methods are for handlers, the attributes for the connection.
    """

    __slots__ = (
        "_head",
        "begun",
        "connection",
        "deadline",
        "is_over",
        "method",
        "readable",
        "stream",
        "task",
        "timer",
        "trailing",
        "writable",
    )

    def __init__(self, connection: Connection, stream: int, head: Head, method: Method) -> None:
        self.connection = connection
        self._head = head
        self.stream = stream
        self.method = method
        self.begun = connection.loop.time()
        timeout = head.timeout_seconds
        self.deadline = None if timeout is None else self.begun + timeout
        self.is_over = False
        self.trailing: Pairs | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.readable: asyncio.Future[None] | None = None
        self.writable: asyncio.Future[None] | None = None

    @property
    def peer(self) -> str:
        """ "ipv4:127.0.0.1:1234", "ipv6:[::1]:1234" or "unix:"."""
        return self.connection.peer

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        """What the client sent, names in lower case. Those that end with `-bin` have bytes.

        Values of a repeated name are joined by commas; of bytes it is the last.
        """
        return self._head.metadata()

    @property
    def seconds_left(self) -> float | None:
        """Until the client gives up, never negative; None when it has not said."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - self.connection.loop.time())

    @property
    def peer_certificate(self) -> Mapping[str, Any] | None:
        """As `ssl.SSLSocket.getpeercert` gives it; None without mutual TLS."""
        return self.connection.peer_certificate

    def send_initial_metadata(self, metadata: Pairs) -> None:
        """Sends it now, before any reply. ValueError when it cannot be sent."""
        self.connection.begin_reply(self.stream, metadata)

    def set_trailing_metadata(self, metadata: Pairs) -> None:
        """Goes with the status at the end of the call, also when that is an error."""
        self.trailing = metadata
