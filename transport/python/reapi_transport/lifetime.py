"""The timers of a connection: its handshake, its silence, and its age."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .limits import Limits

if TYPE_CHECKING:
    from .connection import Connection


class Lifetime:
    """Ends a connection that is silent, or old. Starts at once."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._alarms: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._set(limits.handshake_seconds, self._require_handshake)
        self._set(limits.keepalive_seconds, self._ask)
        if limits.connection_age_seconds is not None:
            self._set(limits.connection_age_seconds, self._retire)

    def end(self) -> None:
        """Forgets the connection."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    def _set(self, seconds: float, then: Callable[[], None]) -> None:
        self._alarms[then] = self._connection.loop.call_later(seconds, then)

    def _require_handshake(self) -> None:
        if not self._connection.is_open:
            self._connection.close()

    def _ask(self) -> None:
        """Pings when nothing was heard for a while, and then waits for an answer."""
        if self._connection.is_heard:
            self._connection.is_heard = False
            self._set(self._limits.keepalive_seconds, self._ask)
        else:
            self._connection.ping()
            self._set(self._limits.keepalive_timeout_seconds, self._require_answer)

    def _require_answer(self) -> None:
        if self._connection.is_heard:
            self._ask()
        else:
            self._connection.abort()

    def _retire(self) -> None:
        self._connection.drain()
        self._set(self._limits.connection_age_grace_seconds, self._connection.close)
