"""Hears what other processes say by NOTIFY, and knows when it may have missed something."""

import asyncio
import logging
from typing import Any, NamedTuple, Self

from reapi.core.errors import ReapiError

from .errors import translated
from .pool import Connection, PostgresqlPool

logger = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 3.0
_TRUST_SECONDS = 10.0
_FIRST_RETRY_SECONDS = 0.05
_LONGEST_RETRY_SECONDS = 2.0


class Heard(NamedTuple):
    """How many notifications there were in which session."""

    session: int
    notifications: int


class Listener:
    """Listens on one channel in a session of its own, reconnecting for as long as it is open.

    Use it as an async context manager; on entry it listens.
    """

    def __init__(self, pool: PostgresqlPool, channel: str) -> None:
        self._pool = pool
        self._channel = channel
        self._session = 0
        self._notifications = 0
        self._trusted_until = 0.0
        self._is_listening = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._listen_for_ever())
        listening = asyncio.create_task(self._is_listening.wait())
        try:
            await asyncio.wait((self._task, listening), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            self._task.cancel()
            raise
        finally:
            listening.cancel()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    def heard(self) -> Heard | None:
        """Equal to an earlier one: nothing was notified in between. None: that cannot be said.

        A notification counts at the latest when a heartbeat has followed it; without one for
        10 s, as on a network that swallows everything, nothing can be said.
        """
        if not self._is_listening.is_set() or self._loop.time() > self._trusted_until:
            return None
        return Heard(self._session, self._notifications)

    async def _listen_for_ever(self) -> None:
        retry_seconds = _FIRST_RETRY_SECONDS
        while True:
            try:
                async with self._pool.session({}) as connection:
                    retry_seconds = _FIRST_RETRY_SECONDS
                    with translated():
                        await self._listen(connection)
            except ReapiError as error:
                logger.warning("cannot listen for notifications: %s", error.message)
            finally:
                self._is_listening.clear()
            # Nothing tells when the server is back.
            await asyncio.sleep(retry_seconds)
            retry_seconds = min(2 * retry_seconds, _LONGEST_RETRY_SECONDS)

    async def _listen(self, connection: Connection) -> None:
        closed = asyncio.Event()

        def lost(_: Connection) -> None:
            self._is_listening.clear()
            closed.set()

        connection.add_termination_listener(lost)
        asked = self._loop.time()
        await connection.add_listener(self._channel, self._notified)
        self._session += 1
        while not closed.is_set():
            self._trusted_until = asked + _TRUST_SECONDS
            self._is_listening.set()
            try:
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await closed.wait()
            except TimeoutError:
                asked = self._loop.time()
                await connection.execute("SELECT 1", timeout=_TRUST_SECONDS)

    def _notified(self, *_: Any) -> None:
        self._notifications += 1
