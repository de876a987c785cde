"""The rows of the action cache: serialized result and closure by instance and action."""

import sqlite3
from asyncio import Future
from typing import NamedTuple

from reapi.core.database import Database
from reapi.core.digest import Digest

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
)

_ROWS_PER_STEP = 200


class Row(NamedTuple):
    """One result. `used` is the stamp of the last touch of its closure."""

    action_result: bytes
    closure: bytes
    used: int


def result_key(instance_name: str, action_digest: Digest) -> bytes:
    """Function, hash, size and instance (D11): instances do not see each other's results."""
    return action_digest.key + action_digest.size_bytes.to_bytes(8, "big") + instance_name.encode()


class ResultTable:
    """Queries and changes. A change is durable when its future is done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def total_bytes(self) -> int:
        """Of all results and closures."""
        ((total,),) = self._database.read("SELECT bytes FROM total")
        return int(total)

    def find(self, key: bytes) -> Row | None:
        """The row of that key."""
        rows = self._database.read(
            "SELECT action_result, closure, used FROM result WHERE key = ?", (key,)
        )
        return Row(*rows[0]) if rows else None

    def put(self, key: bytes, row: Row) -> "Future[None]":
        """Stores a row in place of an earlier one."""

        def operation(connection: sqlite3.Connection) -> None:
            _delete(connection, key)
            connection.execute("INSERT INTO result VALUES (?, ?, ?, ?)", (key, *row))
            _add_to_total(connection, len(row.action_result) + len(row.closure))

        return self._database.write(operation)

    def touch(self, key: bytes, used: int) -> "Future[None]":
        """Says that the row was used."""

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE result SET used = ? WHERE key = ?", (used, key))

        return self._database.write(operation)

    def remove(self, key: bytes, row: Row) -> "Future[None]":
        """Takes out a row, unless it holds another result by now."""

        def operation(connection: sqlite3.Connection) -> None:
            current = connection.execute(
                "SELECT 1 FROM result WHERE key = ? AND action_result = ? AND closure = ?",
                (key, row.action_result, row.closure),
            ).fetchone()
            if current:
                _delete(connection, key)

        return self._database.write(operation)

    async def remove_unused(self, last_stamp: int) -> None:
        """Takes out all rows that were used no later."""

        def operation(connection: sqlite3.Connection) -> int:
            keys = connection.execute(
                "SELECT key FROM result WHERE used <= ? LIMIT ?", (last_stamp, _ROWS_PER_STEP)
            ).fetchall()
            for (key,) in keys:
                _delete(connection, key)
            return len(keys)

        while await self._database.write(operation) == _ROWS_PER_STEP:
            continue


def _delete(connection: sqlite3.Connection, key: bytes) -> None:
    deleted = connection.execute(
        "DELETE FROM result WHERE key = ? RETURNING length(action_result) + length(closure)", (key,)
    ).fetchone()
    if deleted is not None:
        _add_to_total(connection, -deleted[0])


def _add_to_total(connection: sqlite3.Connection, size: int) -> None:
    connection.execute("UPDATE total SET bytes = bytes + ?", (size,))
