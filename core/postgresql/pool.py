"""A bounded number of connections to one PostgreSQL database, made anew whenever they break."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self, TypeAlias, TypeVar

import asyncpg

from reapi.core.at_once import in_task
from reapi.core.errors import FailedPrecondition, InvalidArgument

from .dsn import Dsn
from .errors import may_be_tried_again, translated

T = TypeVar("T")
Connection: TypeAlias = Any
"""An asyncpg.Connection; the driver has no types."""

OLDEST_VERSION = 13
_MOST_ATTEMPTS = 5
_CONNECT_SECONDS = 5.0
_ACQUIRE_SECONDS = 10.0
_STATEMENT_SECONDS = 20
_CLOSE_SECONDS = 5.0
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 25_000,
}
"""A peer that vanished without a word is noticed after 25 s, on this side and, by the settings
below, on the server's: it is what gives up the locks of a machine that lost its power."""
_SETTINGS = {
    "application_name": "reapi",
    # What was acknowledged survives a crash of the server, whatever its own default is.
    "synchronous_commit": "on",
    "statement_timeout": f"{_STATEMENT_SECONDS}s",
    "lock_timeout": f"{_STATEMENT_SECONDS // 2}s",
    "idle_in_transaction_session_timeout": "60s",
    # All statements find their rows by index. A table that was filled a moment ago has no
    # statistics yet, and the planner would take it for a small one.
    "enable_seqscan": "off",
    # The arrays of a statement are as long as those who ask at the same time make them. A plan for
    # arrays of some rows joins long ones by comparing each with each.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


class PostgresqlPool:
    """Use it as an async context manager; entering it connects once, which must succeed.

    A server that goes away costs the calls that meet its absence an Unavailable each; once it is
    back, all goes on. The database must be reached directly or through a pooler that keeps
    sessions: statements are prepared, and locks and notifications belong to sessions.
    """

    def __init__(self, dsn: Dsn, *, max_connections: int = 8) -> None:
        self._dsn = dsn
        self._max_connections = max_connections

    async def __aenter__(self) -> Self:
        try:
            with translated():
                self._pool = await asyncpg.create_pool(
                    **self._arguments({}),
                    min_size=1,
                    max_size=self._max_connections,
                    max_queries=1 << 40,
                    init=_keep_alive,
                    reset=_leave_as_it_is,
                )
        except (ValueError, asyncpg.InterfaceError):
            # The cause would quote the connection string.
            raise InvalidArgument(f"{self._dsn.file} is not a valid connection string") from None
        try:
            await self.run(_check_version)
        except BaseException:
            self._pool.terminate()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def run(self, operation: Callable[[Connection], Awaitable[T]]) -> T:
        """Runs `operation` with a connection that is its own until it returns.

        It is run again, a few times at most, when PostgreSQL undid it in favour of another one, or
        when the connection ended before a statement was sent: if several of its statements write,
        they belong into one transaction. After an Unavailable it is not known whether it happened.
        """
        with translated():
            for _ in range(_MOST_ATTEMPTS - 1):
                try:
                    return await self._attempt(operation)
                except Exception as error:
                    if not may_be_tried_again(error):
                        raise
            return await self._attempt(operation)

    async def _attempt(self, operation: Callable[[Connection], Awaitable[T]]) -> T:
        await in_task()  # the driver's timeouts need one
        connection = await self._pool.acquire(timeout=_ACQUIRE_SECONDS)
        try:
            return await operation(connection)
        except asyncpg.InternalClientError:
            connection.terminate()  # or the next one to have it would fare no better
            raise
        finally:
            await self._pool.release(connection)

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """All rows of one statement, which is a transaction of its own."""
        return await self.run(lambda connection: connection.fetch(sql, *arguments))

    @asynccontextmanager
    async def session(self, settings: Mapping[str, str]) -> AsyncIterator[Connection]:
        """A connection beside the bounded ones, for what lives as long as a session does.

        `settings` are parameters of the server. What the body raises is not translated.
        """
        with translated():
            connection = await asyncpg.connect(**self._arguments(settings))
        try:
            await _keep_alive(connection)
            yield connection
        finally:
            # The server ends the session, and with it its locks, when the socket closes.
            connection.terminate()

    def _arguments(self, settings: Mapping[str, str]) -> dict[str, Any]:
        return {
            "dsn": self._dsn.url,
            "timeout": _CONNECT_SECONDS,
            "command_timeout": 1.5 * _STATEMENT_SECONDS,
            "max_cached_statement_lifetime": 0,
            "server_settings": {**_SETTINGS, **settings},
        }


async def _keep_alive(connection: Connection) -> None:
    # The driver has no public way to its socket.
    connected: socket.socket = connection._transport.get_extra_info("socket")
    if connected.family in (socket.AF_INET, socket.AF_INET6):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


async def _leave_as_it_is(_: Connection) -> None:
    """No operation changes its session, so there is nothing to reset, and no round trip for it."""


async def _check_version(connection: Connection) -> None:
    version = connection.get_server_version()
    if version.major < OLDEST_VERSION:
        raise FailedPrecondition(
            f"the database is PostgreSQL {version.major}.{version.minor}; "
            f"{OLDEST_VERSION} or newer is needed"
        )
