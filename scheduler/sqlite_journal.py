"""The journal in SQLite: all changes of one turn of the event loop, or more, are one commit."""

import asyncio
import sqlite3
from functools import partial
from typing import Any

from reapi.core.database import Database

from .journal_store import EventRow, FinishedRow, Journaled, SnapshotRow

MIGRATIONS = (
    """
    CREATE TABLE events (sequence INTEGER PRIMARY KEY, record TEXT NOT NULL);
    CREATE TABLE snapshot (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        sequence INTEGER NOT NULL,
        now INTEGER NOT NULL,
        record TEXT NOT NULL
    );
    CREATE TABLE finished (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        instance_name TEXT NOT NULL,
        finished_at INTEGER NOT NULL,
        operation BLOB NOT NULL
    );
    CREATE INDEX finished_by_time ON finished (finished_at);
    """,
)


_MOST_DROPPED = 2_000
"""Events in one turn of the event loop: some milliseconds."""


class SqliteJournal:
    """A JournalStore; the database belongs to it alone.

    Events that a snapshot holds may stay for some turns after it, but count no more.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._events: list[EventRow] = []
        self._finished: list[FinishedRow] = []
        self._amended: list[tuple[bytes, str]] = []
        self._expired: tuple[int, int] | None = None
        self._commit: asyncio.Future[None] | None = None

    @property
    def place(self) -> str:
        return f"{self._database.path}: move the file away to start with an empty queue"

    def check(self) -> None:
        """A disk that was full a moment ago may have room again: only a commit can tell."""

    async def load(self) -> Journaled:
        read = self._database.read
        snapshots = read("SELECT sequence, now, record FROM snapshot")
        events = read(
            "SELECT sequence, record FROM events WHERE sequence > ? ORDER BY sequence",
            (snapshots[0][0] if snapshots else 0,),
        )
        finished = read("SELECT * FROM finished ORDER BY number DESC LIMIT 1")
        return Journaled(
            SnapshotRow(*snapshots[0]) if snapshots else None,
            [EventRow(*row) for row in events],
            FinishedRow(*finished[0]) if finished else None,
        )

    def append(self, row: EventRow) -> None:
        self._events.append(row)

    def finish(self, row: FinishedRow) -> None:
        self._finished.append(row)

    def amend(self, name: str, operation: bytes) -> None:
        self._amended.append((operation, name))

    def expire(self, finished_before: int, last_number: int) -> None:
        self._expired = finished_before, last_number

    def fold(self, row: SnapshotRow) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?)", row)

        # If it fails, the events are still there and the next fold comes in its turn.
        self._database.write(write).add_done_callback(partial(self._drop_events, row.sequence))

    def commit(self) -> "asyncio.Future[None]":
        if self._commit is None or self._commit.done():
            self._commit = self._database.write(self._write)
            self._commit.add_done_callback(self._forget_written)
        return self._commit

    async def finished(self, name: str, after: int) -> bytes | None:
        rows = self._database.read(
            "SELECT operation FROM finished WHERE name = ? AND finished_at > ?", (name, after)
        )
        return rows[0][0] if rows else None

    async def list_finished(
        self, instance_name: str | None, name: str, after: int, limit: int
    ) -> list[tuple[str, bytes]]:
        return self._database.read(
            "SELECT name, operation FROM finished WHERE name > ? AND finished_at > ?"
            " AND (? IS NULL OR instance_name = ?) ORDER BY name LIMIT ?",
            (name, after, instance_name, instance_name, limit),
        )

    def _write(self, connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT OR REPLACE INTO events VALUES (?, ?)", self._events)
        if self._finished:
            connection.executemany(
                "INSERT OR REPLACE INTO finished VALUES (?, ?, ?, ?, ?)", self._finished
            )
        if self._amended:
            connection.executemany(
                "UPDATE finished SET operation = ? WHERE name = ?", self._amended
            )
        if self._expired is not None:
            connection.execute(
                "DELETE FROM finished WHERE finished_at < ? OR number <= ?", self._expired
            )

    def _drop_events(self, last: int, done: "asyncio.Future[Any]") -> None:
        """Deletes what a snapshot holds in steps: what is live sets how many events that are."""
        if done.cancelled() or done.exception() is not None or done.result() == 0:
            return

        def write(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "DELETE FROM events WHERE sequence <= min(?,"
                " (SELECT min(sequence) FROM events) + ?)",
                (last, _MOST_DROPPED - 1),
            ).rowcount

        self._database.write(write).add_done_callback(partial(self._drop_events, last))

    def _forget_written(self, commit: "asyncio.Future[None]") -> None:
        if commit is not self._commit or commit.cancelled() or commit.exception() is not None:
            return
        self._events.clear()
        self._finished.clear()
        self._amended.clear()
        self._expired = None
