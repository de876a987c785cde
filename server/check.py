"""`reapi-server check`: everything that the configuration names is there and works.

Each part of the configuration has a function that gives findings; a new part adds one to _CHECKS.
"""

import asyncio
import fcntl
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from reapi.core.errors import ReapiError
from reapi.core.finding import Finding

from .check_auth import check_auth
from .check_sandbox import check_sandbox
from .check_transport import check_transport
from .check_upstream import check_upstream
from .config import ServerConfig

_LITTLE_SPACE_BYTES = 1 << 30


async def check(config: ServerConfig) -> AsyncIterator[Finding]:
    """All findings, one after the other. Changes nothing that lasts."""
    for part in _CHECKS:
        async for finding in _in_thread(part(config)):
            yield finding


async def init_storage(config: ServerConfig) -> AsyncIterator[Finding]:
    """Makes what the server expects to be there: the bucket, if blobs are in one."""
    if config.storage.blobs.kind == "s3":
        from reapi.cas.objects.bucket import make_bucket  # as below

        async for finding in _in_thread(make_bucket(config.storage.blobs.s3())):
            yield finding
    else:
        yield Finding("data_dir", "ok", "nothing to make: the server makes its data_dir itself")


async def _in_thread(findings: Iterator[Finding]) -> AsyncIterator[Finding]:
    while (finding := await asyncio.to_thread(next, findings, None)) is not None:
        yield finding


def _check_data_dir(config: ServerConfig) -> Iterator[Finding]:
    data_dir = config.data_dir.resolve()
    try:
        with tempfile.TemporaryFile(dir=_nearest_existing(data_dir)) as probe:
            probe.write(b"probe")
    except OSError as error:
        yield Finding(
            "data_dir",
            "failed",
            f"{data_dir} cannot be written: {error.strerror}",
            "correct data_dir, or give the user of the server the right to write there",
        )
        return
    can = "can be written" if data_dir.exists() else "can be made"
    yield Finding("data_dir", "ok", f"{data_dir} {can}")
    yield _free_space(data_dir)
    storage_dir = config.storage_dir.resolve()
    yield _lock(storage_dir)
    for database in sorted(storage_dir.glob("*.db")):
        yield _readable(database)


def _free_space(data_dir: Path) -> Finding:
    status = os.statvfs(_nearest_existing(data_dir))
    free = status.f_bavail * status.f_frsize
    text = f"{free / (1 << 30):.1f} GiB free"
    if free < _LITTLE_SPACE_BYTES:
        return Finding("disk space", "warning", text, "make room, or choose another data_dir")
    return Finding("disk space", "ok", text)


def _lock(data_dir: Path) -> Finding:
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDWR)
    except FileNotFoundError:
        return Finding("lock", "ok", "no server has run here yet")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Finding(
            "lock", "warning", "a server runs on it now", "stop it before you start another"
        )
    finally:
        os.close(descriptor)
    return Finding("lock", "ok", "free")


def _readable(file: Path) -> Finding:
    name = f"database {file.name}"
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Finding(
            name, "failed", f"cannot be read: {error}", f"restore {file}, or move it out of the way"
        )
    return Finding(name, "ok", "can be read")


def _nearest_existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def _check_blobs(config: ServerConfig) -> Iterator[Finding]:
    if config.storage.blobs.kind == "s3":
        # Only here: its client takes longer to import than a server to start.
        from reapi.cas.objects.bucket import inspect_bucket

        yield from inspect_bucket(config.storage.blobs.s3())


def _check_state(config: ServerConfig) -> Iterator[Finding]:
    dsn_file = config.storage.state.dsn_file
    if dsn_file is None:
        return
    from reapi.cas.state.postgresql_schema import (
        BLOB_COMPONENT,
        BLOB_MIGRATIONS,
        RESULT_COMPONENT,
        RESULT_MIGRATIONS,
    )
    from reapi.core.postgresql.check import check_postgresql
    from reapi.core.postgresql.dsn import read_dsn
    from reapi.core.postgresql.term import COMPONENT as TERM_COMPONENT
    from reapi.core.postgresql.term import MIGRATIONS as TERM_MIGRATIONS
    from reapi.scheduler.postgresql_history import COMPONENT as HISTORY_COMPONENT
    from reapi.scheduler.postgresql_history import MIGRATIONS as HISTORY_MIGRATIONS
    from reapi.scheduler.postgresql_journal import COMPONENT, MIGRATIONS

    components = {
        BLOB_COMPONENT: len(BLOB_MIGRATIONS),
        RESULT_COMPONENT: len(RESULT_MIGRATIONS),
        HISTORY_COMPONENT: len(HISTORY_MIGRATIONS),
        COMPONENT: len(MIGRATIONS),
        TERM_COMPONENT: len(TERM_MIGRATIONS),
    }
    try:
        text = asyncio.run(check_postgresql(read_dsn(dsn_file), components))
    except ReapiError as error:
        part, _, reason = error.message.partition(": ")
        advice = f"correct what {dsn_file} says, or the database; see docs/configuration.md"
        yield Finding(f"postgresql {part}"[:40], "failed", reason or error.message, advice)
    else:
        yield Finding("postgresql", "ok", text)


_CHECKS: tuple[Callable[[ServerConfig], Iterator[Finding]], ...] = (
    check_transport,
    check_auth,
    _check_data_dir,
    _check_state,
    _check_blobs,
    check_upstream,
    check_sandbox,
)
