"""The scheduler's memory on disk: events, a snapshot now and then, and what has finished.

All that happens in one turn of the event loop is one commit. Recovery is the snapshot and the
events after it, replayed; finished operations are kept for a while so that WaitExecution finds them
after a restart too.
"""

import asyncio
import sqlite3
from dataclasses import dataclass

from reapi.core.database import Database
from reapi.core.errors import FailedPrecondition

from .codec import decode, encode, revive
from .events import Event
from .queue import Queue
from .snapshot import restore, take_snapshot
from .state import Limits

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

_EXPIRE_EVERY = 256


@dataclass(frozen=True)
class Recovered:
    """The core as it was, and the time of its last event."""

    queue: Queue
    now: int


class Journal:
    """Appends in order; a commit that fails keeps its rows, and the next one carries them too.

    Times are in microseconds. `finished_retention` and `max_finished` bound the finished
    operations; the number of kept events is bounded by `snapshot_interval` and by what is live.
    """

    def __init__(
        self,
        database: Database,
        *,
        finished_retention: int,
        max_finished: int,
        snapshot_interval: int,
    ) -> None:
        self._database = database
        self._finished_retention = finished_retention
        self._max_finished = max_finished
        self._snapshot_interval = snapshot_interval
        self._sequence = 0
        self._snapshot_sequence = 0
        self._finished_number = 0
        self._events: list[tuple[int, str]] = []
        self._finished: list[tuple[int, str, str, int, bytes]] = []
        self._commit: asyncio.Future[None] | None = None

    def recover(self, limits: Limits) -> Recovered:
        """Loads what was journaled; raises FailedPrecondition if it cannot be read."""
        queue, now = Queue(limits), 0
        try:
            for row in self._database.read("SELECT sequence, now, record FROM snapshot"):
                self._sequence, now, record = row
                self._snapshot_sequence = self._sequence
                queue = restore(record, limits)
            for sequence, record in self._database.read(
                "SELECT sequence, record FROM events WHERE sequence > ? ORDER BY sequence",
                (self._sequence,),
            ):
                now, event = decode(record)
                queue.handle(revive(event), now)
                self._sequence = sequence
        except (ValueError, KeyError, TypeError) as error:
            raise FailedPrecondition(
                f"cannot read the journal {self._database.path} after event {self._sequence}: "
                f"{error}. Move the file away to start with an empty queue."
            ) from error
        for number, finished_at in self._database.read(
            "SELECT number, finished_at FROM finished ORDER BY number DESC LIMIT 1"
        ):
            self._finished_number, now = number, max(now, finished_at)
        return Recovered(queue, now)

    def append(self, event: Event, now: int) -> "asyncio.Future[None]":
        """Journals an event in the coming commit; the future says when that is done."""
        self._sequence += 1
        self._events.append((self._sequence, encode(now, event)))
        if self._commit is None or self._commit.done():
            self._commit = self._database.write(self._write)
            self._commit.add_done_callback(self._forget_written)
        return self._commit

    def finish(self, name: str, instance_name: str, now: int, operation: bytes) -> None:
        """Keeps the last word about an operation; goes with the events of this turn."""
        self._finished_number += 1
        self._finished.append((self._finished_number, name, instance_name, now, operation))

    def fold(self, queue: Queue, now: int) -> None:
        """Replaces the journal by a snapshot if that is due.

        The more is live, the rarer: a snapshot costs in proportion to it. Call it right after the
        last `append`, with the state that this led to.
        """
        live = len(queue.executions) + len(queue.fleet.workers)
        since = self._sequence - self._snapshot_sequence
        if since < self._snapshot_interval + 4 * live:
            return
        sequence, record = self._sequence, take_snapshot(queue)
        self._snapshot_sequence = sequence

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?)", (sequence, now, record)
            )
            connection.execute("DELETE FROM events WHERE sequence <= ?", (sequence,))

        # If it fails, the events are still there and the next fold comes in its turn.
        self._database.write(write).add_done_callback(_ignore_failure)

    def finished(self, name: str, now: int) -> bytes | None:
        """The serialized Operation of that name, if it finished and is not forgotten."""
        rows = self._database.read(
            "SELECT operation FROM finished WHERE name = ? AND finished_at > ?",
            (name, now - self._finished_retention),
        )
        return rows[0][0] if rows else None

    def list_finished(
        self, instance_name: str | None, after: str, limit: int, now: int
    ) -> list[tuple[str, bytes]]:
        """Up to `limit` finished operations in the order of their names, of one instance or all."""
        return self._database.read(
            "SELECT name, operation FROM finished WHERE name > ? AND finished_at > ?"
            " AND (? IS NULL OR instance_name = ?) ORDER BY name LIMIT ?",
            (after, now - self._finished_retention, instance_name, instance_name, limit),
        )

    def _write(self, connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT OR REPLACE INTO events VALUES (?, ?)", self._events)
        if not self._finished:
            return
        connection.executemany(
            "INSERT OR REPLACE INTO finished VALUES (?, ?, ?, ?, ?)", self._finished
        )
        first, last = self._finished[0], self._finished[-1]
        if first[0] // _EXPIRE_EVERY != (last[0] + 1) // _EXPIRE_EVERY:
            connection.execute(
                "DELETE FROM finished WHERE finished_at < ? OR number <= ?",
                (last[3] - self._finished_retention, last[0] - self._max_finished),
            )

    def _forget_written(self, commit: "asyncio.Future[None]") -> None:
        if commit is not self._commit or commit.cancelled() or commit.exception() is not None:
            return
        self._events.clear()
        self._finished.clear()


def _ignore_failure(future: "asyncio.Future[None]") -> None:
    if not future.cancelled():
        future.exception()
