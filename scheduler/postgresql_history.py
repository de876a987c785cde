"""The history in PostgreSQL: of all schedulers that used the database."""

from collections.abc import Sequence
from typing import Self

from reapi.core.postgresql.migrations import migrate
from reapi.core.postgresql.pool import PostgresqlPool

from .history import EXPIRY_BATCH, HistoryQuery, HistoryRow, ObservedDuration
from .history_records import COLUMNS, conditions_of, row_of, values_of

COMPONENT = "history"
MIGRATIONS = (
    """
    CREATE TABLE history (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        operation_name text COLLATE "C" NOT NULL UNIQUE,
        instance_name text COLLATE "C" NOT NULL,
        action_key bytea NOT NULL,
        action_size bigint NOT NULL,
        tenant text COLLATE "C" NOT NULL,
        invocation text COLLATE "C" NOT NULL,
        target text COLLATE "C" NOT NULL,
        mnemonic text COLLATE "C" NOT NULL,
        target_key bytea,
        program_key bytea,
        cache_state text NOT NULL,
        cache_reason text NOT NULL,
        queued_at bigint NOT NULL,
        started_at bigint NOT NULL,
        finished_at bigint NOT NULL,
        duration bigint NOT NULL,
        exit_code integer NOT NULL,
        status_code integer NOT NULL,
        message text NOT NULL,
        attempts text NOT NULL
    );
    CREATE INDEX history_by_action ON history (action_key, number);
    CREATE INDEX history_by_target ON history (target_key, number) WHERE target_key IS NOT NULL;
    CREATE INDEX history_by_program ON history (program_key, number) WHERE program_key IS NOT NULL;
    """,
    """
    ALTER TABLE history ADD COLUMN user_time bigint NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN system_time bigint NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN peak_memory_bytes bigint NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN read_bytes bigint NOT NULL DEFAULT 0;
    ALTER TABLE history ADD COLUMN written_bytes bigint NOT NULL DEFAULT 0;
    """,
)

_ROWS_OF_DURATIONS = 500_000
_LAST_NUMBER = "(SELECT coalesce(max(number), 0) FROM history)"
_ADD = f"""
    INSERT INTO history ({COLUMNS})
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::bytea[], $10::bytea[], $11::text[], $12::text[], $13::bigint[],
        $14::bigint[], $15::bigint[], $16::bigint[], $17::integer[], $18::integer[], $19::text[],
        $20::text[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[]
    )
    ON CONFLICT (operation_name) DO NOTHING
"""
_EXPIRE = f"""
    DELETE FROM history
    WHERE (finished_at < $1 OR number <= {_LAST_NUMBER} - $2)
        AND number = ANY(ARRAY(SELECT number FROM history ORDER BY number LIMIT $3))
    RETURNING number
"""
_DURATIONS = f"""
    SELECT instance_name, target, mnemonic, duration FROM history
    WHERE number > {_LAST_NUMBER} - {_ROWS_OF_DURATIONS}
        AND duration > 0 AND status_code = 0 AND exit_code = 0
    ORDER BY number DESC LIMIT $1
"""


class PostgresqlHistory:
    """A HistoryStore. Use it as an async context manager; entering it brings tables up to date."""

    def __init__(self, pool: PostgresqlPool) -> None:
        self._pool = pool

    async def __aenter__(self) -> Self:
        await migrate(self._pool, COMPONENT, MIGRATIONS)
        return self

    async def __aexit__(self, *_: object) -> None:
        """The pool is not its own."""

    async def add(self, rows: Sequence[HistoryRow]) -> None:
        await self._pool.fetch(_ADD, *zip(*map(values_of, rows), strict=True))

    async def select(self, query: HistoryQuery, limit: int) -> list[HistoryRow]:
        conditions = list(conditions_of(query, "strpos"))
        where = " AND ".join(
            sql.format(f"${number}") for number, (sql, _) in enumerate(conditions, start=2)
        )
        rows = await self._pool.fetch(
            f"SELECT {COLUMNS} FROM history WHERE {where or 'true'} ORDER BY number DESC LIMIT $1",
            limit,
            *(value for _, value in conditions),
        )
        return [row_of(row) for row in rows]

    async def expire(self, finished_before: int, max_rows: int) -> int:
        return len(await self._pool.fetch(_EXPIRE, finished_before, max_rows, EXPIRY_BATCH))

    async def durations(self, limit: int) -> list[ObservedDuration]:
        rows = await self._pool.fetch(_DURATIONS, limit)
        return [ObservedDuration(*row) for row in reversed(rows)]
