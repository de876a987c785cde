"""The action results in PostgreSQL, shared by any number of processes."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from reapi.core.cache_state import CacheState
from reapi.core.errors import Aborted
from reapi.core.gathering import Gatherer
from reapi.core.postgresql.migrations import migrate
from reapi.core.postgresql.pool import PostgresqlPool
from reapi.core.postgresql.term import Term
from reapi.core.uninterrupted import uninterrupted

from .interface import MOST_REMOVALS, Removal, ResultQuery, ResultRow
from .postgresql_schema import RESULT_COMPONENT, RESULT_MIGRATIONS, SHARD

_KEYS_PER_STATEMENT = 1000
_ROWS_PER_STATEMENT = 32
_BYTES_PER_STATEMENT = 4 << 20
_ROWS_PER_STEP = 200
_ROWS_PER_SCAN = 5000
_COLUMNS = "action_result, closure, used, stored, instance_name, worker, writer"

_COUNT = f"""
    INSERT INTO result_total AS total
    SELECT {SHARD}, sum(bytes) FROM changed HAVING count(*) > 0
    ON CONFLICT (shard) DO UPDATE SET bytes = total.bytes + excluded.bytes
"""
_VERSIONS = "SELECT key, version FROM result WHERE key = ANY($1::bytea[])"
_FIND = f"SELECT key, {_COLUMNS} FROM result WHERE key = ANY($1::bytea[])"
_PUT = f"""
    WITH {{term}} changed AS (
        INSERT INTO result
        SELECT *, nextval('result_version'), octet_length(action_result) + octet_length(closure), 0
        FROM unnest(
            $1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[],
            $5::bigint[], $6::bytea[], $7::bytea[], $8::bytea[]
        ) AS new (key, {_COLUMNS})
        {{condition}}
        ORDER BY key
        ON CONFLICT (key) DO UPDATE SET
            (action_result, closure, used, stored, instance_name, worker, writer, version, bytes)
            = (excluded.action_result, excluded.closure, excluded.used, excluded.stored,
               excluded.instance_name, excluded.worker, excluded.writer, excluded.version,
               excluded.bytes),
            replaced_bytes = result.bytes
        RETURNING bytes - replaced_bytes AS bytes
    ), counted AS (
        {_COUNT}
    )
    SELECT FROM changed
"""
_PUT_ALWAYS = _PUT.format(term="", condition="")
_PUT_IN_TERM = _PUT.format(
    term="""term AS MATERIALIZED (
        SELECT FROM reapi_term WHERE task = $9 AND epoch = $10 FOR KEY SHARE
    ),""",
    condition="WHERE EXISTS (SELECT FROM term)",
)
"""The lock on the row of the term makes the next term wait for this statement, or this for that."""

_TOUCH = """
    WITH wanted AS (
        SELECT key, max(used) AS used
        FROM unnest($1::bytea[], $2::bigint[]) AS wanted (key, used) GROUP BY key
    ), present AS MATERIALIZED (
        SELECT key FROM result WHERE key = ANY($1) ORDER BY key FOR NO KEY UPDATE
    )
    UPDATE result SET used = wanted.used FROM present JOIN wanted USING (key)
    WHERE result.key = present.key AND result.used < wanted.used
"""
_REMOVE = f"""
    WITH changed AS (
        DELETE FROM result
        WHERE key = $1 AND (action_result, closure, stored, instance_name, worker, writer)
            = ($2, $3, $4, $5, $6, $7)
        RETURNING -bytes AS bytes
    ), counted AS (
        {_COUNT}
    ), remembered AS (
        INSERT INTO result_removal (number, key, at, why, detail)
        SELECT nextval('result_removal_number'), $1, $8, $9, $10 FROM changed
        WHERE $9::text IS NOT NULL
        ON CONFLICT (key) DO UPDATE SET (number, at, why, detail)
            = (excluded.number, excluded.at, excluded.why, excluded.detail)
    ), forgotten AS (
        DELETE FROM result_removal WHERE $9::text IS NOT NULL AND key <> $1
            AND number <= (SELECT last_value FROM result_removal_number) - $11
    )
    SELECT FROM changed
"""
_LAST_REMOVAL = "SELECT at, why, detail FROM result_removal WHERE key = $1"
_REMOVE_UNUSED = f"""
    WITH oldest AS (
        SELECT key FROM result WHERE used <= $1 ORDER BY used LIMIT $2
    ), locked AS MATERIALIZED (
        SELECT key FROM result WHERE key = ANY(ARRAY(SELECT key FROM oldest)) AND used <= $1
        ORDER BY key FOR UPDATE
    ), changed AS (
        DELETE FROM result USING locked WHERE result.key = locked.key RETURNING -bytes AS bytes
    ), counted AS (
        {_COUNT}
    )
    SELECT count(*) FROM oldest
"""
_SELECT = f"""
    SELECT key, {_COLUMNS} FROM result
    WHERE key > $1 AND ($2::bytea IS NULL OR key <= $2)
        AND ($4::bytea IS NULL OR instance_name = $4)
        AND ($5::bytea IS NULL OR worker = $5)
        AND ($6::bytea IS NULL OR writer = $6)
        AND ($7::bigint IS NULL OR stored >= $7)
        AND ($8::bigint IS NULL OR stored <= $8)
    ORDER BY key LIMIT $3
"""
_END_OF_SCAN = "SELECT key FROM result WHERE key > $1 ORDER BY key OFFSET $2 LIMIT 1"


class _Touch(NamedTuple):
    key: bytes
    used: int


class _Put(NamedTuple):
    key: bytes
    row: ResultRow


class PostgresqlResults:
    """A ResultTable. Use it as an async context manager; entering it brings tables up to date.

    With a `term` it is for one who may write only in office: `put` raises Aborted afterwards.
    """

    def __init__(self, pool: PostgresqlPool, term: Term | None = None) -> None:
        self._pool = pool
        self._term = term
        self._versions = Gatherer(
            self._find_versions, max_weight=_KEYS_PER_STATEMENT, max_running=2
        )
        self._finds = Gatherer(self._find_rows, max_weight=_ROWS_PER_STATEMENT, max_running=2)
        self._touches = Gatherer(self._touch_rows, max_weight=_KEYS_PER_STATEMENT, max_running=1)
        self._puts = Gatherer(
            self._put_rows,
            max_weight=_BYTES_PER_STATEMENT,
            max_running=2,
            weigh=lambda put: len(put.row.action_result) + len(put.row.closure),
        )

    async def __aenter__(self) -> Self:
        await migrate(self._pool, RESULT_COMPONENT, RESULT_MIGRATIONS)
        return self

    async def __aexit__(self, *_: object) -> None:
        for gatherer in (self._versions, self._finds, self._touches, self._puts):
            await gatherer.close()

    async def version(self, key: bytes) -> int:
        return await self._versions.call(key)

    async def find(self, key: bytes) -> ResultRow | None:
        return await self._finds.call(key)

    async def put(self, key: bytes, row: ResultRow) -> None:
        await uninterrupted(self._puts.call(_Put(key, row)))

    async def touch(self, key: bytes, used: int) -> None:
        await self._touches.call(_Touch(key, used))

    async def remove(self, key: bytes, row: ResultRow, removal: Removal | None = None) -> bool:
        action_result, closure, _, *rest = _values(row)
        trace = (*(removal or (None, None, None)), MOST_REMOVALS)
        removing = self._pool.fetch(_REMOVE, key, action_result, closure, *rest, *trace)
        return bool(await uninterrupted(removing))

    async def last_removal(self, key: bytes) -> Removal | None:
        rows = await self._pool.fetch(_LAST_REMOVAL, key)
        return Removal(rows[0][0], CacheState(rows[0][1]), rows[0][2]) if rows else None

    async def remove_unused(self, last_stamp: int) -> None:
        while True:
            ((found,),) = await self._pool.fetch(_REMOVE_UNUSED, last_stamp, _ROWS_PER_STEP)
            if found == 0:
                return

    async def select(
        self, query: ResultQuery, after: bytes, limit: int
    ) -> list[tuple[bytes, ResultRow]]:
        conditions = (*map(_bytes, query[:3]), *query[3:])
        selected: list[tuple[bytes, ResultRow]] = []
        end: bytes | None = after
        while end is not None and len(selected) < limit:
            # However few rows match, no statement looks at more than some of the table.
            start = end
            ends = await self._pool.fetch(_END_OF_SCAN, start, _ROWS_PER_SCAN)
            end = ends[0][0] if ends else None
            rows = await self._pool.fetch(_SELECT, start, end, limit - len(selected), *conditions)
            selected += [(key, _row(values)) for key, *values in rows]
        return selected

    async def total_bytes(self) -> int:
        ((total,),) = await self._pool.fetch(
            "SELECT coalesce(sum(bytes), 0)::bigint FROM result_total"
        )
        return int(total)

    async def _find_versions(self, keys: Sequence[bytes]) -> list[int]:
        found = dict(await self._pool.fetch(_VERSIONS, list(set(keys))))
        return [found.get(key, 0) for key in keys]

    async def _find_rows(self, keys: Sequence[bytes]) -> list[ResultRow | None]:
        rows = await self._pool.fetch(_FIND, list(set(keys)))
        found = {key: _row(values) for key, *values in rows}
        return [found.get(key) for key in keys]

    async def _touch_rows(self, touches: Sequence[_Touch]) -> list[None]:
        await self._pool.fetch(_TOUCH, *map(list, zip(*touches, strict=True)))
        return [None] * len(touches)

    async def _put_rows(self, puts: Sequence[_Put]) -> list[None]:
        # Of several rows for one key the last one stays.
        rows = {key: (key, *_values(row)) for key, row in puts}
        columns = map(list, zip(*rows.values(), strict=True))
        if self._term is None:
            await self._pool.fetch(_PUT_ALWAYS, *columns)
        elif not await self._pool.fetch(_PUT_IN_TERM, *columns, *self._term):
            raise Aborted("not stored: the term of the writer is over")
        return [None] * len(puts)


def _values(row: ResultRow) -> tuple[Any, ...]:
    """The columns of a row; names as bytes, since text cannot hold all of them."""
    return (*row[:4], *map(str.encode, row[4:]))


def _row(values: Sequence[Any]) -> ResultRow:
    return ResultRow(*values[:4], *map(bytes.decode, values[4:]))


def _bytes(name: str | None) -> bytes | None:
    return None if name is None else name.encode()
