"""The rows of the action cache on SQLite: result and closure by instance and action."""

import asyncio
import sqlite3

from reapi.cas.shared_memory import SharedMemory
from reapi.core.cache_state import CacheState
from reapi.core.database import Database
from reapi.core.uninterrupted import uninterrupted

from .interface import MOST_REMOVALS, Removal, ResultQuery, ResultRow

MIGRATIONS = (
    """
    CREATE TABLE result (
        key BLOB PRIMARY KEY,
        action_result BLOB NOT NULL,
        closure BLOB NOT NULL,
        used INTEGER NOT NULL
    );
    CREATE INDEX result_by_use ON result (used);
    CREATE TABLE total (bytes INTEGER NOT NULL);
    INSERT INTO total VALUES (0);
    """,
    """
    ALTER TABLE result ADD COLUMN stored INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE result ADD COLUMN instance_name TEXT NOT NULL DEFAULT '';
    ALTER TABLE result ADD COLUMN worker TEXT NOT NULL DEFAULT '';
    ALTER TABLE result ADD COLUMN writer TEXT NOT NULL DEFAULT '';
    UPDATE result SET stored = used, instance_name = CAST(substr(key, 42) AS TEXT);
    """,
    """
    CREATE TABLE removal (
        number INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        at INTEGER NOT NULL,
        why TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    """,
)

_COLUMNS = "action_result, closure, used, stored, instance_name, worker, writer"
_ROWS_PER_STEP = 200
_ROWS_PER_LOOK = 2000
_CONDITIONS = {
    "instance_name": "instance_name = ?",
    "worker": "worker = ?",
    "writer": "writer = ?",
    "since": "stored >= ?",
    "until": "stored <= ?",
}


class SqliteResults:
    """See ResultTable."""

    def __init__(self, database: Database, shared: SharedMemory) -> None:
        self._database = database
        self._shared = shared

    async def version(self, key: bytes) -> int:
        """See ResultTable. Does not suspend."""
        return self._shared.version(key)

    async def find(self, key: bytes) -> ResultRow | None:
        """See ResultTable. Does not suspend."""
        rows = self._database.read(f"SELECT {_COLUMNS} FROM result WHERE key = ?", (key,))
        return ResultRow(*rows[0]) if rows else None

    async def put(self, key: bytes, row: ResultRow) -> None:
        """See ResultTable."""

        def operation(connection: sqlite3.Connection) -> None:
            _delete(connection, key)
            connection.execute(
                f"INSERT INTO result (key, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (key, *row),
            )
            _add_to_total(connection, len(row.action_result) + len(row.closure))

        try:
            await uninterrupted(self._database.write(operation))
        finally:
            self._shared.changed(key)

    async def touch(self, key: bytes, used: int) -> None:
        """See ResultTable."""

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE result SET used = max(used, ?) WHERE key = ?", (used, key))

        await self._database.write(operation)

    async def remove(self, key: bytes, row: ResultRow, removal: Removal | None = None) -> bool:
        """See ResultTable."""

        def operation(connection: sqlite3.Connection) -> bool:
            current = connection.execute(
                "SELECT 1 FROM result WHERE key = ? AND action_result = ? AND closure = ?"
                " AND stored = ?",
                (key, row.action_result, row.closure, row.stored),
            ).fetchone()
            if current:
                _delete(connection, key)
                if removal is not None:
                    _remember(connection, key, removal)
            return bool(current)

        try:
            return await uninterrupted(self._database.write(operation))
        finally:
            self._shared.changed(key)

    async def last_removal(self, key: bytes) -> Removal | None:
        """See ResultTable. Does not suspend."""
        rows = self._database.read("SELECT at, why, detail FROM removal WHERE key = ?", (key,))
        return Removal(rows[0][0], CacheState(rows[0][1]), rows[0][2]) if rows else None

    async def remove_unused(self, last_stamp: int) -> None:
        """See ResultTable. In steps, so that others have their turn."""

        def operation(connection: sqlite3.Connection) -> list[bytes]:
            rows = connection.execute(
                "SELECT key FROM result WHERE used <= ? LIMIT ?", (last_stamp, _ROWS_PER_STEP)
            ).fetchall()
            for (key,) in rows:
                _delete(connection, key)
            return [key for (key,) in rows]

        while True:
            removed = await self._database.write(operation)
            for key in removed:
                self._shared.changed(key)
            if len(removed) < _ROWS_PER_STEP:
                return

    async def select(
        self, query: ResultQuery, after: bytes, limit: int
    ) -> list[tuple[bytes, ResultRow]]:
        """See ResultTable. Looks at all rows, some at a time."""
        meant = {name: value for name, value in query._asdict().items() if value is not None}
        condition = " AND ".join(_CONDITIONS[name] for name in meant) or "1"
        found: list[tuple[bytes, ResultRow]] = []
        while len(found) < limit:
            bounds = self._database.read(
                "SELECT max(key) FROM (SELECT key FROM result WHERE key > ? ORDER BY key LIMIT ?)",
                (after, _ROWS_PER_LOOK),
            )
            last = bounds[0][0]
            if last is None:
                break
            rows = self._database.read(
                f"SELECT key, {_COLUMNS} FROM result WHERE key > ? AND key <= ? AND {condition}"
                " ORDER BY key LIMIT ?",
                (after, last, *meant.values(), limit - len(found)),
            )
            found += [(row[0], ResultRow(*row[1:])) for row in rows]
            after = last
            await asyncio.sleep(0)
        return found

    async def total_bytes(self) -> int:
        """See ResultTable. Exact."""
        ((total,),) = self._database.read("SELECT bytes FROM total")
        return int(total)


def _remember(connection: sqlite3.Connection, key: bytes, removal: Removal) -> None:
    ((number,),) = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM removal")
    connection.execute(
        "INSERT OR REPLACE INTO removal VALUES (?, ?, ?, ?, ?)", (number, key, *removal)
    )
    connection.execute("DELETE FROM removal WHERE number <= ?", (number - MOST_REMOVALS,))


def _delete(connection: sqlite3.Connection, key: bytes) -> None:
    deleted = connection.execute(
        "DELETE FROM result WHERE key = ? RETURNING length(action_result) + length(closure)", (key,)
    ).fetchone()
    if deleted is not None:
        _add_to_total(connection, -deleted[0])


def _add_to_total(connection: sqlite3.Connection, size: int) -> None:
    connection.execute("UPDATE total SET bytes = bytes + ?", (size,))
