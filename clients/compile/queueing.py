"""How long compiles wait for an executor to take one: a fleet that died takes none, for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reapi.clients.model import Operation, Stage
from reapi.core.errors import Unavailable

_PATIENCE_SECONDS = 30.0
_LESS_PATIENCE_SECONDS = 5.0
"""Once it has run out, until something moves again."""

_TAKEN = (Stage.EXECUTING, Stage.COMPLETED)


class QueuePatience:
    """The patience of all compiles of a service, for one event loop.

    It runs out when none of them was taken for a while. A long queue that moves is no reason.
    """

    def __init__(self) -> None:
        self._seconds = _PATIENCE_SECONDS
        self._queued: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def wait(self) -> AsyncIterator["Waiting"]:
        """Around the wait for one operation; raises Unavailable when patience runs out in it."""
        try:
            async with asyncio.timeout(self._seconds) as timeout:
                self._queued.add(timeout)
                try:
                    yield Waiting(self, timeout)
                finally:
                    self._queued.discard(timeout)
        except TimeoutError as error:
            self._seconds = _LESS_PATIENCE_SECONDS
            raise Unavailable("no executor takes the compiles that wait for one") from error

    def note(self, timeout: asyncio.Timeout, stage: Stage) -> None:
        """What has become of one of them: what was taken can be queued again by a loss."""
        if timeout.expired():
            return
        until = asyncio.get_running_loop().time() + self._seconds
        if stage not in _TAKEN:
            if timeout not in self._queued:
                self._queued.add(timeout)
                timeout.reschedule(until)
            return
        self._queued.discard(timeout)
        timeout.reschedule(None)
        self._seconds = _PATIENCE_SECONDS
        for other in self._queued:
            if not other.expired():
                other.reschedule(until)


class Waiting:
    """One operation that is waited for."""

    def __init__(self, patience: QueuePatience, timeout: asyncio.Timeout) -> None:
        self._patience = patience
        self._timeout = timeout

    def note(self, operation: Operation) -> None:
        """Takes each state of it."""
        self._patience.note(self._timeout, operation.stage)
