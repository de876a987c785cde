"""Invocations on SQLite, in a file of their own: their commits hold up nobody else's."""

import sqlite3
from collections.abc import Mapping, Sequence

from reapi.core.database import Database

from .interface import MOST_INVOCATIONS, Invocation

MIGRATIONS = (
    """
    CREATE TABLE invocation (
        id TEXT PRIMARY KEY,
        began INTEGER NOT NULL,
        seen INTEGER NOT NULL,
        is_pinned INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX invocation_by_seen ON invocation (seen);
    """,
)

_NOTE = """
    INSERT INTO invocation VALUES (?1, ?2, ?2, 1) ON CONFLICT (id) DO UPDATE SET
        is_pinned = is_pinned OR began <= ?2 - ?3,
        began = CASE WHEN began <= ?2 - ?3 THEN ?2 ELSE min(began, ?2) END,
        seen = max(seen, ?2)
"""
_DROP = """
    DELETE FROM invocation WHERE id IN (
        SELECT id FROM invocation ORDER BY seen
        LIMIT max(0, (SELECT count(*) FROM invocation) - ?)
    )
"""


class SqliteInvocations:
    """See InvocationTable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, seen: Mapping[str, int], longest_seconds: int) -> None:
        """See InvocationTable."""
        rows = [(name, now, longest_seconds) for name, now in seen.items()]

        def operation(connection: sqlite3.Connection) -> None:
            connection.executemany(_NOTE, rows)
            connection.execute(_DROP, (MOST_INVOCATIONS,))

        await self._database.write(operation)

    async def live(self, seen_since: int, began_since: int) -> Sequence[Invocation]:
        """See InvocationTable."""
        rows = self._database.read(
            "SELECT id, began FROM invocation"
            " WHERE seen >= ? AND began >= ? AND is_pinned ORDER BY began, id",
            (seen_since, began_since),
        )
        return [Invocation(*row) for row in rows]

    async def unpin(self, invocation_ids: Sequence[str]) -> Sequence[str]:
        """See InvocationTable."""

        def operation(connection: sqlite3.Connection) -> list[str]:
            sql = "UPDATE invocation SET is_pinned = 0 WHERE id = ? AND is_pinned"
            return [name for name in invocation_ids if connection.execute(sql, (name,)).rowcount]

        return await self._database.write(operation)
