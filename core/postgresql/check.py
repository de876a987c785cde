"""Says which part of the way to the database is broken, for a person who sets it up."""

import ssl
from collections.abc import Mapping

import asyncpg

from reapi.core.errors import FailedPrecondition, InvalidArgument, ReapiError

from .dsn import Dsn
from .migrations import check_schema, schema_version
from .pool import Connection, PostgresqlPool

_PARTS: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.InvalidAuthorizationSpecificationError, "credentials"),
    (asyncpg.InvalidCatalogNameError, "database"),
    (asyncpg.InsufficientPrivilegeError, "permission"),
    (asyncpg.TooManyConnectionsError, "connections"),
    (asyncpg.PostgresError, "server"),
    (ssl.SSLError, "TLS"),
    (OSError, "address"),
)
"""What a cause means; the first that fits."""

_FORBIDDEN_TABLES = """
    SELECT relname FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND NOT (
        has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')
    )
    ORDER BY relname
"""


async def check_postgresql(dsn: Dsn, components: Mapping[str, int]) -> str:
    """Connects and looks, changes nothing; says in one line what it found.

    `components` are those that will use the database, with the newest schema that each knows.
    Raises FailedPrecondition that begins with what is wrong: connection string, address, TLS,
    credentials, database, connections, version, permission or schema.
    """
    part = "version"
    try:
        async with PostgresqlPool(dsn, max_connections=1) as pool:
            part = "schema"
            found = await pool.run(lambda connection: _schemas(connection, components))
            part = "permission"
            await pool.run(lambda connection: _check_permissions(connection, found != components))
    except ReapiError as error:
        raise FailedPrecondition(f"{_part(error) or part}: {error.message}") from error
    schemas = ", ".join(
        f"{component} {version or 'absent'}" for component, version in found.items()
    )
    return f"PostgreSQL answers; schemas: {schemas}"


def _part(error: ReapiError) -> str | None:
    if isinstance(error, InvalidArgument):
        return "connection string"
    return next((part for kind, part in _PARTS if isinstance(error.__cause__, kind)), None)


async def _schemas(connection: Connection, components: Mapping[str, int]) -> dict[str, int]:
    found = {component: await schema_version(connection, component) for component in components}
    for component, known in components.items():
        check_schema(component, found[component], known)
    return found


async def _check_permissions(connection: Connection, must_create: bool) -> None:
    schema = await connection.fetchval("SELECT current_schema()")
    if schema is None:
        raise FailedPrecondition("there is no schema that this user may use")
    may_create = await connection.fetchval(
        "SELECT has_schema_privilege(current_schema(), 'CREATE')"
    )
    if must_create and not may_create:
        raise FailedPrecondition(f"this user may not create tables in the schema {schema}")
    tables = [row[0] for row in await connection.fetch(_FORBIDDEN_TABLES)]
    if tables:
        raise FailedPrecondition(f"this user may not read and write {', '.join(tables)}")
