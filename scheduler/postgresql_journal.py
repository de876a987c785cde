"""The journal in PostgreSQL: one writer at a time, who commits all that waits together.

The session that writes holds an advisory lock, so whoever loses the lock cannot write any more. A
number that rises with every scheduler tells one that comes back whether another was active.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import asyncpg

from reapi.core.errors import FailedPrecondition, ReapiError, Unavailable
from reapi.core.postgresql.errors import translated
from reapi.core.postgresql.migrations import migrate
from reapi.core.postgresql.pool import Connection, PostgresqlPool

from .journal_changes import Changes
from .journal_store import EventRow, FinishedRow, Journaled, Listener, SnapshotRow

logger = logging.getLogger(__name__)

COMPONENT = "journal"
MIGRATIONS = (
    """
    CREATE TABLE journal_event (sequence bigint PRIMARY KEY, record text NOT NULL);
    CREATE TABLE journal_snapshot (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        sequence bigint NOT NULL,
        now bigint NOT NULL,
        record text NOT NULL
    );
    CREATE TABLE journal_finished (
        number bigint PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE,
        instance_name text COLLATE "C" NOT NULL,
        finished_at bigint NOT NULL,
        operation bytea NOT NULL
    );
    CREATE INDEX journal_finished_by_time ON journal_finished (finished_at);
    CREATE TABLE journal_scheduler (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        number bigint NOT NULL
    );
    INSERT INTO journal_scheduler (number) VALUES (0);
    """,
)

_LOCK = 0x7265_6170_6902  # "reapi" and a number
_LOCK_WAIT = "5s"
_PATIENCE_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_ROWS = """
    WITH finished AS (
        INSERT INTO journal_finished
        SELECT * FROM unnest($3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bytea[])
        ON CONFLICT (number) DO NOTHING
    )
    INSERT INTO journal_event SELECT * FROM unnest($1::bigint[], $2::text[])
    ON CONFLICT (sequence) DO NOTHING
"""
"""Rows that are there were committed when the answer got lost, and are tried again."""

_SNAPSHOT = """
    INSERT INTO journal_snapshot (sequence, now, record) VALUES ($1, $2, $3)
    ON CONFLICT (only_row) DO UPDATE
    SET sequence = excluded.sequence, now = excluded.now, record = excluded.record
"""
_EXPIRE = "DELETE FROM journal_finished WHERE finished_at < $1 OR number <= $2"


class PostgresqlJournal:
    """A JournalStore. Use it as an async context manager.

    Entering it raises FailedPrecondition while another scheduler is active on the database. While
    the database is away, commits fail after a bounded time and `check` says so; rows are kept, and
    committed in their order once it is back. A snapshot takes the place of the events it holds, so
    what is kept in memory is bounded by what is live.
    """

    def __init__(self, pool: PostgresqlPool) -> None:
        self._pool = pool
        self._patience_seconds = _PATIENCE_SECONDS
        self._changes = Changes()
        self._commits: list[asyncio.Future[None]] = []
        self._is_wanted = asyncio.Event()
        self._stack = AsyncExitStack()
        self._session: Connection | None = None
        self._number = 0
        self._failing_since: float | None = None
        self._outage: ReapiError | None = None
        self._listeners: list[Listener] = []

    async def __aenter__(self) -> Self:
        await migrate(self._pool, COMPONENT, MIGRATIONS)
        await self._open_session()
        self._writer = asyncio.create_task(self._write_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._commits:
            await asyncio.wait([self._commits[-1], self._writer], timeout=self._patience_seconds)
        self._writer.cancel()
        await asyncio.wait([self._writer])
        self._fail(Unavailable("the scheduler has ended"))
        await self._stack.aclose()

    @property
    def place(self) -> str:
        return "in PostgreSQL: empty the tables journal_* to start with an empty queue"

    def check(self) -> None:
        if self._outage is not None:
            raise self._outage

    def add_listener(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def load(self) -> Journaled:
        assert self._session is not None, "load comes first"
        with translated():
            snapshot = await self._session.fetchrow(
                "SELECT sequence, now, record FROM journal_snapshot"
            )
            events = await self._session.fetch(
                "SELECT sequence, record FROM journal_event WHERE sequence > $1 ORDER BY sequence",
                snapshot["sequence"] if snapshot else 0,
            )
            finished = await self._session.fetchrow(
                "SELECT * FROM journal_finished ORDER BY number DESC LIMIT 1"
            )
        return Journaled(
            SnapshotRow(*snapshot) if snapshot else None,
            [EventRow(*row) for row in events],
            FinishedRow(*finished) if finished else None,
        )

    def append(self, row: EventRow) -> None:
        self._changes.events.append(row)

    def finish(self, row: FinishedRow) -> None:
        self._changes.finished.append(row)

    def expire(self, finished_before: int, last_number: int) -> None:
        self._changes.expired = finished_before, last_number

    def fold(self, row: SnapshotRow) -> None:
        self._changes.fold(row)

    def commit(self) -> "asyncio.Future[None]":
        if not self._commits:
            future = asyncio.get_running_loop().create_future()
            # Not all callers wait for it.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            if self._writer.done():
                future.set_exception(self._outage or Unavailable("the scheduler has ended"))
                return future
            self._commits.append(future)
        self._is_wanted.set()
        return self._commits[-1]

    async def finished(self, name: str, after: int) -> bytes | None:
        if "\0" in name:  # which text cannot hold, and so no name does
            return None
        rows = await self._pool.fetch(
            "SELECT operation FROM journal_finished WHERE name = $1 AND finished_at > $2",
            name,
            after,
        )
        return rows[0][0] if rows else None

    async def list_finished(
        self, instance_name: str | None, name: str, after: int, limit: int
    ) -> list[tuple[str, bytes]]:
        if instance_name is not None and "\0" in instance_name:
            return []
        rows = await self._pool.fetch(
            "SELECT name, operation FROM journal_finished WHERE name > $1 AND finished_at > $2"
            " AND ($3::text IS NULL OR instance_name = $3) ORDER BY name LIMIT $4",
            name,
            after,
            instance_name,
            limit,
        )
        return [(row[0], row[1]) for row in rows]

    async def _write_for_ever(self) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            changes, self._changes = self._changes, Changes()
            commits, self._commits = self._commits, []
            started = asyncio.get_running_loop().time()
            try:
                with translated():
                    async with asyncio.timeout(self._patience_seconds):
                        await self._write(changes)
            except Exception as error:
                self._changes = changes.followed_by(self._changes)
                self._commits = commits + self._commits
                self._failed(error, started)
                if isinstance(error, FailedPrecondition):
                    self._tell(error)
                    return
                # Nothing tells when the database is back.
                await asyncio.sleep(_RETRY_SECONDS)
                self._is_wanted.set()
            else:
                self._failing_since = None
                if self._outage is not None:
                    self._outage = None
                    self._tell(None)
                for commit in commits:
                    if not commit.done():
                        commit.set_result(None)

    async def _write(self, changes: Changes) -> None:
        if self._session is None or self._session.is_closed():
            await self._open_session()
        assert self._session is not None
        try:
            await _commit(self._session, changes)
        except BaseException:
            # It may or may not have happened, and may still be under way: the session is given up,
            # and the lock is had again only once the server has given it up too.
            await self._close_session()
            raise

    async def _open_session(self) -> None:
        await self._close_session()
        settings = {"lock_timeout": _LOCK_WAIT}
        session = await self._stack.enter_async_context(self._pool.session(settings))
        with translated():
            await self._become_the_only_one(session)
        # A scheduler that is idle notices as well, and is the only one again as soon as can be.
        session.add_termination_listener(lambda _: self._is_wanted.set())
        self._session = session

    async def _become_the_only_one(self, session: Connection) -> None:
        if self._number:
            await self._check_number(session)
        try:
            await session.execute("SELECT pg_advisory_lock($1)", _LOCK)
        except asyncpg.LockNotAvailableError as error:
            if self._number:
                raise
            raise FailedPrecondition(
                "another scheduler is active on this database: stop it first"
            ) from error
        if self._number:
            await self._check_number(session)
        else:
            self._number = await session.fetchval(
                "UPDATE journal_scheduler SET number = number + 1 RETURNING number"
            )

    async def _check_number(self, session: Connection) -> None:
        number = await session.fetchval("SELECT number FROM journal_scheduler")
        if number != self._number:
            raise FailedPrecondition("another scheduler has taken over; this one must end")

    async def _close_session(self) -> None:
        self._session = None
        await self._stack.aclose()

    def _failed(self, error: Exception, started: float) -> None:
        """Keeps those who wait in hope for a while, then tells them."""
        if self._failing_since is None:
            self._failing_since = started
            logger.warning("cannot write the journal: %s", error)
        if not isinstance(error, ReapiError):
            logger.error("cannot write the journal", exc_info=error)
        failing_seconds = asyncio.get_running_loop().time() - self._failing_since
        if isinstance(error, FailedPrecondition) or failing_seconds >= self._patience_seconds:
            is_news = self._outage is None
            self._outage = Unavailable(
                f"the scheduler's journal cannot be written: {error}", retry_after_seconds=5
            )
            self._outage.__cause__ = error
            self._fail(self._outage)
            if is_news:
                self._tell(self._outage)

    def _tell(self, problem: ReapiError | None) -> None:
        for listener in self._listeners:
            listener(problem)

    def _fail(self, error: ReapiError) -> None:
        commits, self._commits = self._commits, []
        for commit in commits:
            if not commit.done():
                commit.set_exception(error)


async def _commit(session: Connection, changes: Changes) -> None:
    rows = (*_columns(changes.events, 2), *_columns(changes.finished, 5))
    snapshot, expired = changes.snapshot, changes.expired
    if snapshot is None and expired is None:
        await session.execute(_ROWS, *rows)
        return
    async with session.transaction():
        await session.execute(_ROWS, *rows)
        if snapshot is not None:
            await session.execute(_SNAPSHOT, *snapshot)
            await session.execute("DELETE FROM journal_event WHERE sequence <= $1", snapshot[0])
        if expired is not None:
            await session.execute(_EXPIRE, *expired)


def _columns(rows: Sequence[tuple[Any, ...]], number: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) or [()] * number
