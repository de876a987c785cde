"""The history in SQLite, in a file of its own: its commits hold up nobody else's."""

import asyncio
import sqlite3
from collections.abc import Sequence

from reapi.core.database import Database

from .history import EXPIRY_BATCH, HistoryQuery, HistoryRow, ObservedDuration
from .history_records import COLUMNS, conditions_of, row_of, values_of

MIGRATIONS = (
    """
    CREATE TABLE history (
        number INTEGER PRIMARY KEY,
        operation_name TEXT NOT NULL UNIQUE,
        instance_name TEXT NOT NULL,
        action_key BLOB NOT NULL,
        action_size INTEGER NOT NULL,
        tenant TEXT NOT NULL,
        invocation TEXT NOT NULL,
        target TEXT NOT NULL,
        mnemonic TEXT NOT NULL,
        target_key BLOB,
        program_key BLOB,
        cache_state TEXT NOT NULL,
        cache_reason TEXT NOT NULL,
        queued_at INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        finished_at INTEGER NOT NULL,
        duration INTEGER NOT NULL,
        exit_code INTEGER NOT NULL,
        status_code INTEGER NOT NULL,
        message TEXT NOT NULL,
        attempts TEXT NOT NULL
    );
    CREATE INDEX history_by_action ON history (action_key);
    CREATE INDEX history_by_target ON history (target_key) WHERE target_key IS NOT NULL;
    CREATE INDEX history_by_program ON history (program_key) WHERE program_key IS NOT NULL;
    """,
    """
    ALTER TABLE history ADD COLUMN user_time INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN system_time INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN peak_memory_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN read_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN written_bytes INTEGER NOT NULL DEFAULT 0;
    """,
)

_ROWS_PER_LOOK = 2000
_ROWS_OF_DURATIONS = 500_000
_INDEXED = ("operation_name", "action", "target_key", "program_key")


class SqliteHistory:
    """A HistoryStore; the database belongs to it alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rows: Sequence[HistoryRow]) -> None:
        records = [values_of(row) for row in rows]
        marks = ", ".join("?" * len(records[0]))
        sql = f"INSERT OR IGNORE INTO history ({COLUMNS}) VALUES ({marks})"

        def operation(connection: sqlite3.Connection) -> None:
            connection.executemany(sql, records)

        await self._database.write(operation)

    async def select(self, query: HistoryQuery, limit: int) -> list[HistoryRow]:
        last = self._last_number()
        is_indexed = any(getattr(query, name) is not None for name in _INDEXED)
        step = last if is_indexed else _ROWS_PER_LOOK
        found: list[HistoryRow] = []
        while last > 0 and len(found) < limit:
            found += self._look(query, last - step, last, limit - len(found))
            last -= step
            await asyncio.sleep(0)
        return found

    def _look(self, query: HistoryQuery, after: int, last: int, limit: int) -> list[HistoryRow]:
        conditions = [("number > {}", after), ("number <= {}", last)]
        conditions += conditions_of(query, "instr")
        where = " AND ".join(sql.format("?") for sql, _ in conditions)
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM history WHERE {where} ORDER BY number DESC LIMIT ?",
            (*(value for _, value in conditions), limit),
        )
        return [row_of(row) for row in rows]

    async def expire(self, finished_before: int, max_rows: int) -> int:
        last_number = self._last_number() - max_rows

        def operation(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "DELETE FROM history WHERE (finished_at < ? OR number <= ?) AND number IN"
                " (SELECT number FROM history ORDER BY number LIMIT ?)",
                (finished_before, last_number, EXPIRY_BATCH),
            ).rowcount

        return await self._database.write(operation)

    async def durations(self, limit: int) -> list[ObservedDuration]:
        rows = self._database.read(
            "SELECT instance_name, target, mnemonic, duration FROM history"
            " WHERE number > ? AND duration > 0 AND status_code = 0 AND exit_code = 0"
            " ORDER BY number DESC LIMIT ?",
            (self._last_number() - _ROWS_OF_DURATIONS, limit),
        )
        return [ObservedDuration(*row) for row in reversed(rows)]

    def _last_number(self) -> int:
        ((number,),) = self._database.read("SELECT max(number) FROM history")
        return number or 0
