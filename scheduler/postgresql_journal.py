"""The journal in PostgreSQL: one writer at a time, who commits all that waits together.

It is written in the session of the scheduler's term, so whoever is out of office cannot write.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Self

from reapi.core.errors import ReapiError, Unavailable
from reapi.core.postgresql.errors import translated
from reapi.core.postgresql.migrations import migrate
from reapi.core.postgresql.pool import Connection, PostgresqlPool
from reapi.core.postgresql.term import Ousted, Tenure

from .journal_changes import Changes
from .journal_store import EventRow, FinishedRow, Journaled, SnapshotRow

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
    """
    ALTER TABLE journal_event ADD COLUMN shard text COLLATE "C" NOT NULL DEFAULT '';
    ALTER TABLE journal_event ALTER COLUMN shard DROP DEFAULT;
    ALTER TABLE journal_event
        DROP CONSTRAINT journal_event_pkey, ADD PRIMARY KEY (shard, sequence);
    ALTER TABLE journal_snapshot ADD COLUMN shard text COLLATE "C" NOT NULL DEFAULT '';
    ALTER TABLE journal_snapshot ALTER COLUMN shard DROP DEFAULT;
    ALTER TABLE journal_snapshot DROP COLUMN only_row, ADD PRIMARY KEY (shard);
    ALTER TABLE journal_finished ADD COLUMN shard text COLLATE "C" NOT NULL DEFAULT '';
    ALTER TABLE journal_finished ALTER COLUMN shard DROP DEFAULT;
    ALTER TABLE journal_finished
        DROP CONSTRAINT journal_finished_pkey, ADD PRIMARY KEY (shard, number);
    DROP INDEX journal_finished_by_time;
    CREATE INDEX journal_finished_by_time ON journal_finished (shard, finished_at);
    DROP TABLE journal_scheduler;
    """,
)

_PATIENCE_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_ROWS = """
    WITH finished AS (
        INSERT INTO journal_finished
            (number, name, instance_name, finished_at, operation, shard)
        SELECT *, $8 FROM unnest($3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bytea[])
        ON CONFLICT (shard, number) DO NOTHING
    )
    INSERT INTO journal_event (sequence, record, shard)
    SELECT *, $8 FROM unnest($1::bigint[], $2::text[])
    ON CONFLICT (shard, sequence) DO NOTHING
"""
"""Rows that are there were committed when the answer got lost, and are tried again."""

_SNAPSHOT = """
    INSERT INTO journal_snapshot (sequence, now, record, shard) VALUES ($1, $2, $3, $4)
    ON CONFLICT (shard) DO UPDATE
    SET sequence = excluded.sequence, now = excluded.now, record = excluded.record
"""
_FOLD = "DELETE FROM journal_event WHERE sequence <= $1 AND shard = $2"
_EXPIRE = """
    DELETE FROM journal_finished WHERE shard = $3 AND (finished_at < $1 OR number <= $2)
"""
_AMEND = """
    UPDATE journal_finished SET operation = amended.operation
    FROM unnest($1::text[], $2::bytea[]) AS amended (name, operation)
    WHERE journal_finished.name = amended.name AND shard = $3
"""


class PostgresqlJournal:
    """A JournalStore for one term of office. Use it as an async context manager.

    While the database is away, commits fail after a bounded time and `check` says so; rows are
    kept, and committed in their order once it is back. A snapshot takes the place of the events it
    holds, so what is kept in memory is bounded by what is live. After the term nothing is committed
    any more. Each `shard` has a journal of its own.
    """

    def __init__(self, pool: PostgresqlPool, tenure: Tenure, shard: str) -> None:
        self._pool = pool
        self._tenure = tenure
        self._shard = shard
        self._patience_seconds = _PATIENCE_SECONDS
        self._changes = Changes()
        self._commits: list[asyncio.Future[None]] = []
        self._under_way: list[asyncio.Future[None]] = []
        self._is_wanted = asyncio.Event()
        self._failing_since: float | None = None
        self._outage: ReapiError | None = None

    async def __aenter__(self) -> Self:
        await migrate(self._pool, COMPONENT, MIGRATIONS)
        self._writer = asyncio.create_task(self._write_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if last := (self._under_way + self._commits)[-1:]:
            await asyncio.wait(
                [*last, self._writer],
                timeout=self._patience_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        self._writer.cancel()
        await asyncio.wait([self._writer])
        self._fail(Unavailable("the scheduler has ended"))

    @property
    def place(self) -> str:
        return "in PostgreSQL: empty the tables journal_* to start with an empty queue"

    def check(self) -> None:
        if self._outage is not None:
            raise self._outage

    async def load(self) -> Journaled:
        session = await self._tenure.session()
        with translated():
            return await _load(session, self._shard)

    def append(self, row: EventRow) -> None:
        self._changes.events.append(row)

    def finish(self, row: FinishedRow) -> None:
        self._changes.finished.append(row)

    def amend(self, name: str, operation: bytes) -> None:
        self._changes.amended[name] = operation

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
            "SELECT operation FROM journal_finished"
            " WHERE name = $1 AND finished_at > $2 AND shard = $3",
            name,
            after,
            self._shard,
        )
        return rows[0][0] if rows else None

    async def list_finished(
        self, instance_name: str | None, name: str, after: int, limit: int
    ) -> list[tuple[str, bytes]]:
        if instance_name is not None and "\0" in instance_name:
            return []
        rows = await self._pool.fetch(
            "SELECT name, operation FROM journal_finished WHERE name > $1 AND finished_at > $2"
            " AND ($3::text IS NULL OR instance_name = $3) AND shard = $5 ORDER BY name LIMIT $4",
            name,
            after,
            instance_name,
            limit,
            self._shard,
        )
        return [(row[0], row[1]) for row in rows]

    async def _write_for_ever(self) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            changes, self._changes = self._changes, Changes()
            self._under_way, self._commits = self._commits, []
            started = asyncio.get_running_loop().time()
            try:
                with translated():
                    async with asyncio.timeout(self._patience_seconds):
                        await self._write(changes)
            except Exception as error:
                self._changes = changes.followed_by(self._changes)
                self._commits, self._under_way = self._under_way + self._commits, []
                self._failed(error, started)
                if isinstance(error, Ousted):
                    return
                # Nothing tells when the database is back.
                await asyncio.sleep(_RETRY_SECONDS)
                self._is_wanted.set()
            else:
                self._failing_since = self._outage = None
                commits, self._under_way = self._under_way, []
                for commit in commits:
                    if not commit.done():
                        commit.set_result(None)

    async def _write(self, changes: Changes) -> None:
        session = await self._tenure.session()
        try:
            await _commit(session, self._shard, changes)
        except BaseException:
            # It may or may not have happened, and may still be under way: the session is given up,
            # and the lock is had again only once the server has given it up too.
            await self._tenure.close_session()
            raise

    def _failed(self, error: Exception, started: float) -> None:
        """Keeps those who wait in hope for a while, then tells them."""
        if self._failing_since is None:
            self._failing_since = started
            logger.warning("cannot write the journal: %s", error)
        if not isinstance(error, ReapiError):
            logger.error("cannot write the journal", exc_info=error)
        failing_seconds = asyncio.get_running_loop().time() - self._failing_since
        if isinstance(error, Ousted) or failing_seconds >= self._patience_seconds:
            self._outage = Unavailable(
                f"the scheduler's journal cannot be written: {error}", retry_after_seconds=5
            )
            self._outage.__cause__ = error
            self._fail(self._outage)

    def _fail(self, error: ReapiError) -> None:
        commits = self._under_way + self._commits
        self._under_way, self._commits = [], []
        for commit in commits:
            if not commit.done():
                commit.set_exception(error)


async def export_journal(pool: PostgresqlPool, shard: str) -> Journaled:
    """What `load` gives, beside a scheduler that is writing it."""

    async def read(session: Connection) -> Journaled:
        async with session.transaction(isolation="repeatable_read", readonly=True):
            return await _load(session, shard)

    return await pool.run(read)


async def _load(session: Connection, shard: str) -> Journaled:
    snapshot = await session.fetchrow(
        "SELECT sequence, now, record FROM journal_snapshot WHERE shard = $1", shard
    )
    events = await session.fetch(
        "SELECT sequence, record FROM journal_event"
        " WHERE shard = $1 AND sequence > $2 ORDER BY sequence",
        shard,
        snapshot["sequence"] if snapshot else 0,
    )
    finished = await session.fetchrow(
        "SELECT number, name, instance_name, finished_at, operation FROM journal_finished"
        " WHERE shard = $1 ORDER BY number DESC LIMIT 1",
        shard,
    )
    return Journaled(
        SnapshotRow(*snapshot) if snapshot else None,
        [EventRow(*row) for row in events],
        FinishedRow(*finished) if finished else None,
    )


async def _commit(session: Connection, shard: str, changes: Changes) -> None:
    rows = (*_columns(changes.events, 2), *_columns(changes.finished, 5), shard)
    snapshot, expired = changes.snapshot, changes.expired
    if snapshot is None and expired is None and not changes.amended:
        await session.execute(_ROWS, *rows)
        return
    async with session.transaction():
        await session.execute(_ROWS, *rows)
        if changes.amended:
            amended = changes.amended
            await session.execute(_AMEND, list(amended), list(amended.values()), shard)
        if snapshot is not None:
            await session.execute(_SNAPSHOT, *snapshot, shard)
            await session.execute(_FOLD, snapshot[0], shard)
        if expired is not None:
            await session.execute(_EXPIRE, *expired, shard)


def _columns(rows: Sequence[tuple[Any, ...]], number: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) or [()] * number
