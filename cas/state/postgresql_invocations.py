"""Invocations in PostgreSQL, noted by any number of processes."""

from collections.abc import Mapping, Sequence
from typing import Self

from reapi.core.postgresql.migrations import migrate
from reapi.core.postgresql.pool import PostgresqlPool

from .interface import MOST_INVOCATIONS, Invocation

COMPONENT = "invocations"
MIGRATIONS = (
    """
    -- Names may hold any character, also the one that `text` cannot.
    CREATE TABLE invocation (
        id bytea PRIMARY KEY,
        began bigint NOT NULL,
        seen bigint NOT NULL,
        is_pinned boolean NOT NULL
    );
    CREATE INDEX invocation_by_seen ON invocation (seen);
    """,
)

_NOTE = """
    INSERT INTO invocation AS known
    SELECT id, seen, seen, true FROM unnest($1::bytea[], $2::bigint[]) AS new (id, seen)
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        is_pinned = known.is_pinned OR known.began <= excluded.seen - $3,
        began = CASE WHEN known.began <= excluded.seen - $3 THEN excluded.seen
            ELSE least(known.began, excluded.seen) END,
        seen = greatest(known.seen, excluded.seen)
"""
_DROP = """
    DELETE FROM invocation WHERE id IN (
        SELECT id FROM invocation ORDER BY seen
        LIMIT greatest(0, (SELECT count(*) FROM invocation) - $1)
    )
"""
_LIVE = """
    SELECT id, began FROM invocation WHERE seen >= $1 AND began >= $2 AND is_pinned
    ORDER BY began, id
"""
_UNPIN = """
    WITH pinned AS MATERIALIZED (
        SELECT id FROM invocation WHERE id = ANY($1::bytea[]) AND is_pinned ORDER BY id FOR UPDATE
    )
    UPDATE invocation SET is_pinned = false FROM pinned WHERE invocation.id = pinned.id
    RETURNING invocation.id
"""


class PostgresqlInvocations:
    """An InvocationTable. Use it as an async context manager; entering it makes the table."""

    def __init__(self, pool: PostgresqlPool) -> None:
        self._pool = pool

    async def __aenter__(self) -> Self:
        await migrate(self._pool, COMPONENT, MIGRATIONS)
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def note(self, seen: Mapping[str, int], longest_seconds: int) -> None:
        names = [name.encode() for name in seen]
        await self._pool.fetch(_NOTE, names, list(seen.values()), longest_seconds)
        await self._pool.fetch(_DROP, MOST_INVOCATIONS)

    async def live(self, seen_since: int, began_since: int) -> Sequence[Invocation]:
        rows = await self._pool.fetch(_LIVE, seen_since, began_since)
        return [Invocation(name.decode(), began) for name, began in rows]

    async def unpin(self, invocation_ids: Sequence[str]) -> Sequence[str]:
        rows = await self._pool.fetch(_UNPIN, [name.encode() for name in invocation_ids])
        unpinned = {row[0].decode() for row in rows}
        return [name for name in invocation_ids if name in unpinned]
