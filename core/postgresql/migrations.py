"""Numbered schema changes: each applied once, whole, by one process, and never by an older one."""

from collections.abc import Sequence

from reapi.core.errors import FailedPrecondition

from .pool import Connection, PostgresqlPool

_LOCK = 0x7265_6170_6900  # "reapi" and a number
_LONGEST_SECONDS = 24 * 3600
_SCHEMA_TABLE = """
    CREATE TABLE IF NOT EXISTS reapi_schema (component text PRIMARY KEY, version integer NOT NULL)
"""


async def migrate(pool: PostgresqlPool, component: str, migrations: Sequence[str]) -> None:
    """Brings the tables of `component` to the last of `migrations`, scripts, oldest first.

    Each is a transaction of its own; one that fails leaves nothing. Several processes may do this
    at once. Raises FailedPrecondition if the tables were made by a newer version.
    """

    async def step(connection: Connection) -> int:
        async with connection.transaction():
            # Changing a large table takes its time, and others wait for it.
            await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
            await connection.execute(
                "SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=_LONGEST_SECONDS
            )
            version = await schema_version(connection, component)
            check_schema(component, version, len(migrations))
            if version < len(migrations):
                if version == 0:
                    await connection.execute(_SCHEMA_TABLE)
                await connection.execute(migrations[version], timeout=_LONGEST_SECONDS)
                version += 1
                await connection.execute(
                    "INSERT INTO reapi_schema VALUES ($1, $2)"
                    " ON CONFLICT (component) DO UPDATE SET version = excluded.version",
                    component,
                    version,
                )
            return version

    while await pool.run(step) < len(migrations):
        continue


async def schema_version(connection: Connection, component: str) -> int:
    """How many migrations of `component` were applied."""
    if await connection.fetchval("SELECT to_regclass('reapi_schema')") is None:
        return 0
    version: int | None = await connection.fetchval(
        "SELECT version FROM reapi_schema WHERE component = $1", component
    )
    return version or 0


def check_schema(component: str, version: int, known: int) -> None:
    """Raises FailedPrecondition for a version that this program does not know (F11)."""
    if version > known:
        raise FailedPrecondition(
            f"the tables of {component} in PostgreSQL were made by a newer version of this program "
            f"(schema {version}; this one knows up to {known}): use that one, or another database"
        )
