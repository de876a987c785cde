"""The storages of production, for the contract suites: over a real database, a real bucket, both.

A suite adds PARAMS to the parameters of its fixture, and gets an opener with `opener`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reapi.cas.storage import Storage
from tests.fakes.local_storage import local_storage
from tests.minio import S3Server, new_bucket
from tests.postgresql import PostgresqlServer

Open = Callable[..., AbstractAsyncContextManager[Storage]]
"""Opens a new storage in a directory, with settings as `local_storage` takes them."""


class _Servers(NamedTuple):
    """What a storage needs beside its directory, by the names of the fixtures."""

    state: str | None
    objects: str | None


_SERVERS = {
    "postgresql and s3": _Servers("postgresql_server", "s3_server"),
    "sqlite and s3": _Servers(None, "s3_server"),
    "postgresql and disk": _Servers("postgresql_server", None),
}

PARAMS = [
    pytest.param(name, marks=[pytest.mark.s3] if servers.objects else [])
    for name, servers in _SERVERS.items()
]


def opener(request: pytest.FixtureRequest, name: str) -> Open:
    """How to open the storages of that name; starts the servers that they need."""
    servers = _SERVERS[name]
    postgresql: PostgresqlServer | None = (
        request.getfixturevalue(servers.state) if servers.state else None
    )
    s3: S3Server | None = request.getfixturevalue(servers.objects) if servers.objects else None

    @asynccontextmanager
    async def opened(data_dir: Path, **settings: Any) -> AsyncIterator[Storage]:
        async with AsyncExitStack() as stack:
            if postgresql is not None:
                dsn = await postgresql.create_database()
                stack.push_async_callback(postgresql.drop_database, dsn)
                settings["dsn_file"] = data_dir / "dsn"
                (data_dir / "dsn").write_text(dsn.url)
            if s3 is not None:
                settings["s3"] = new_bucket(s3, data_dir)
            yield await stack.enter_async_context(local_storage(data_dir, **settings))

    return opened
