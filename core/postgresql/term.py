"""One of several processes does a task at a time: who holds its lock, in terms that are numbered.

The lock is advisory and belongs to a session, so the death of its holder frees it at once. A holder
that is frozen keeps its session, and so its lock; but it no longer renews its term, and one that
waits has the server end that session (docs/decisions/0009-standby.md).
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from reapi.core.errors import FailedPrecondition, ReapiError

from .errors import translated
from .migrations import migrate
from .pool import Connection, PostgresqlPool

logger = logging.getLogger(__name__)

COMPONENT = "term"
MIGRATIONS = (
    """
    CREATE TABLE reapi_term (
        task text COLLATE "C" PRIMARY KEY,
        epoch bigint NOT NULL,
        renewals bigint NOT NULL
    )
    """,
)

LOST_AFTER_SECONDS = 3.0
"""A term that was not renewed for so long has lost its holder."""

_RENEW_EVERY_SECONDS = 1.0
_WATCH_EVERY_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_STANDBY_RETRY_SECONDS = 3.0
"""Later than the holder, who is to have its lock again when the database comes back."""

_LOCK_TIMEOUT = "500ms"
_LONGEST_WAIT_SECONDS = 365 * 24 * 3600
_BEGIN = """
    WITH locked AS MATERIALIZED (SELECT task FROM reapi_term WHERE task = $1 FOR UPDATE)
    UPDATE reapi_term SET epoch = epoch + 1, renewals = renewals + 1 FROM locked
    WHERE reapi_term.task = locked.task RETURNING epoch
"""
"""Waits for the statements that rely on the epoch before (FOR KEY SHARE)."""

_RENEW = "UPDATE reapi_term SET renewals = renewals + 1 WHERE task = $1 AND epoch = $2 RETURNING 1"
_END_HOLDER = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND classid::bigint = $1::bigint >> 32 AND objid::bigint = $1::bigint & 4294967295
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Term(NamedTuple):
    """No two terms of a task have the same epoch, and later ones have higher ones."""

    task: str
    epoch: int


class Ousted(FailedPrecondition):
    """The term is over: another process does the task now."""

    def __init__(self) -> None:
        super().__init__("another process has taken over")


class Tenure:
    """A term while it lasts, as its holder sees it; made by `in_office`.

    What is written in its `session` is written while no other term has begun. A statement on
    another connection has to make sure of that itself: it locks the row of the term FOR KEY SHARE.
    """

    def __init__(
        self,
        pool: PostgresqlPool,
        lock: int,
        stack: AsyncExitStack,
        on_renewal: Callable[[bool], None],
    ) -> None:
        self._pool = pool
        self._lock = lock
        self._stack = stack
        self._on_renewal = on_renewal
        self._session: Connection | None = None
        self._replacing = asyncio.Lock()  # of the session, and of the stack that closes it
        self._over = asyncio.Event()
        self.term: Term

    async def over(self) -> None:
        """Returns when it is known that another process has taken over."""
        await self._over.wait()

    async def session(self) -> Connection:
        """The session that holds the lock, for one statement or transaction at a time.

        A lost one is replaced: its locks are free once the server has noticed, which another
        process may use to take over. Raises Ousted if it did, Unavailable while there is none.
        """
        async with self._replacing:
            if self._session is None or self._session.is_closed():
                await self._replace_session()
            return self._session

    async def close_session(self) -> None:
        """For when it is not known what became of a statement: it may still be under way."""
        async with self._replacing:
            self._session = None
            await self._stack.aclose()

    async def _replace_session(self) -> None:
        self._session = None
        await self._stack.aclose()
        session = await self._stack.enter_async_context(_open_session(self._pool))
        with translated():
            await self._check(session)
            await session.execute("SELECT pg_advisory_lock($1)", self._lock)
            await self._check(session)
        self._session = session

    async def _check(self, session: Connection) -> None:
        epoch = await session.fetchval(
            "SELECT epoch FROM reapi_term WHERE task = $1", self.term.task
        )
        if epoch != self.term.epoch:
            self._over.set()
            raise Ousted

    async def begin(self, session: Connection, task: str) -> None:
        """The first thing to do in a session that has just got the lock."""
        with translated():
            await session.execute(
                "INSERT INTO reapi_term VALUES ($1, 0, 0) ON CONFLICT (task) DO NOTHING", task
            )
            epoch = await session.fetchval(_BEGIN, task)
        self.term = Term(task, epoch)
        self._session = session

    async def renew_for_ever(self) -> None:
        """In a session of its own: that of the lock may be busy for longer, and the pool, too."""
        while not self._over.is_set():
            try:
                async with _open_session(self._pool) as session:
                    await self.session()  # the lock may be lost with the session before
                    with translated():
                        await self._renew(session)
            except Ousted:
                return
            except ReapiError as error:
                logger.warning("cannot renew the term: %s", error.message)
                self._on_renewal(False)
                # Nothing tells when the database is back.
                await asyncio.sleep(_RETRY_SECONDS)

    async def _renew(self, session: Connection) -> None:
        while not self._over.is_set():
            renewed = await session.fetchval(_RENEW, *self.term, timeout=LOST_AFTER_SECONDS)
            if renewed is None:
                self._over.set()
            self._on_renewal(True)
            await asyncio.sleep(_RENEW_EVERY_SECONDS)


@asynccontextmanager
async def in_office(
    pool: PostgresqlPool,
    task: str,
    standing_by: Callable[[], None],
    on_renewal: Callable[[bool], None] = lambda _: None,
) -> AsyncIterator[Tenure]:
    """Waits until no other process does `task`, and begins a term; leaving the context ends it.

    Calls `standing_by` once it turns out that another one does, and whenever the database is away;
    `on_renewal` in office, about every second, says whether the database is there.
    A holder that dies is followed at once, one that is frozen LOST_AFTER_SECONDS later.
    """
    await migrate(pool, COMPONENT, MIGRATIONS)
    lock = _lock_of(task)
    async with AsyncExitStack() as stack:
        tenure = Tenure(pool, lock, stack, on_renewal)
        while True:
            try:
                session = await stack.enter_async_context(_open_session(pool))
                with translated():
                    await _wait_for_lock(pool, session, task, lock, standing_by)
                await tenure.begin(session, task)
                break
            except ReapiError as error:
                logger.warning("cannot wait for the lock of %s: %s", task, error.message)
                standing_by()
                await stack.aclose()
                # Nothing tells when the database is back.
                await asyncio.sleep(_STANDBY_RETRY_SECONDS)
        renewing = asyncio.create_task(tenure.renew_for_ever())
        try:
            yield tenure
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])


@asynccontextmanager
async def _open_session(pool: PostgresqlPool) -> AsyncIterator[Connection]:
    """One whose statements do not wait long for locks."""
    async with pool.session({"lock_timeout": _LOCK_TIMEOUT}) as session:
        yield session


async def _wait_for_lock(
    pool: PostgresqlPool,
    session: Connection,
    task: str,
    lock: int,
    standing_by: Callable[[], None],
) -> None:
    locking = asyncio.create_task(_lock(session, lock))
    try:
        if not (await asyncio.wait([locking], timeout=_WATCH_EVERY_SECONDS))[0]:
            standing_by()
            async with _open_session(pool) as watching:
                await _watch(watching, task, lock, locking)
        locking.result()
    finally:
        locking.cancel()
        await asyncio.wait([locking])


async def _lock(session: Connection, lock: int) -> None:
    """Waits for as long as it takes."""
    await session.execute("SET statement_timeout = 0; SET lock_timeout = 0")
    await session.execute("SELECT pg_advisory_lock($1)", lock, timeout=_LONGEST_WAIT_SECONDS)
    await session.execute("RESET statement_timeout; RESET lock_timeout")


async def _watch(session: Connection, task: str, lock: int, locking: "asyncio.Task[None]") -> None:
    """Ends the session of a holder that does not renew its term, until `locking` is done.

    Time is that of this process, in which it sees renewals or sees none: the clocks of others, and
    steps of any, do not matter. Whoever was frozen itself looks again before it judges.
    """
    loop = asyncio.get_running_loop()
    seen, seen_at = None, loop.time()
    while not (await asyncio.wait([locking], timeout=_WATCH_EVERY_SECONDS))[0]:
        renewals = await session.fetchval("SELECT renewals FROM reapi_term WHERE task = $1", task)
        if renewals != seen:
            seen, seen_at = renewals, loop.time()
        elif loop.time() - seen_at >= LOST_AFTER_SECONDS:
            logger.warning("the holder of the lock of %s is silent: its session is ended", task)
            await session.execute(_END_HOLDER, lock)
            seen_at = loop.time()


def _lock_of(task: str) -> int:
    """A number for pg_advisory_lock: 63 bits, so that both halves are what pg_locks shows."""
    return int.from_bytes(hashlib.sha256(task.encode()).digest()[:8], "big") >> 1
