"""The embedded state: four SQLite files and the shared memory of one data directory."""

import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from reapi.cas.hash_filter import HashFilter
from reapi.cas.shared_memory import SharedMemory
from reapi.core.database import Database
from reapi.core.errors import FailedPrecondition

from . import sqlite_index, sqlite_inline, sqlite_invocations, sqlite_results
from .sqlite_index import SqliteIndex
from .sqlite_inline import InlineTable
from .sqlite_invocations import SqliteInvocations
from .sqlite_results import SqliteResults


@dataclass(frozen=True, slots=True)
class SqliteState:
    """What a process needs of it."""

    index: SqliteIndex
    inline: InlineTable
    results: SqliteResults
    invocations: SqliteInvocations
    shared: SharedMemory

    @property
    def filter(self) -> HashFilter:
        """What surely is not there."""
        return self.shared.filter

    def orphaned_inline_ids(self, before: int) -> list[int]:
        """Numbers of inline bytes that no row of the index names. Blocks, and scans both."""
        with closing(_open_to_read(self.inline.path)) as connection:
            connection.execute("ATTACH ? AS other", (f"{self.index.path.as_uri()}?mode=ro",))
            rows = connection.execute(
                "SELECT id FROM inline WHERE id < ? AND id NOT IN "
                "(SELECT inline_id FROM other.blob WHERE inline_id IS NOT NULL)",
                (before,),
            ).fetchall()
        return [row[0] for row in rows]


@asynccontextmanager
async def open_sqlite(
    data_dir: Path, *, member: int = 0, members: int = 1, survives_power_loss: bool = False
) -> AsyncIterator[SqliteState]:
    """The state of `data_dir`, for the process `member` of `members`.

    Member 0 comes first and goes last. It raises FailedPrecondition when somebody else uses the
    directory, or a newer version wrote it.
    """
    async with AsyncExitStack() as stack:
        if member == 0:
            _lock(data_dir, stack)
        shared = stack.enter_context(SharedMemory(data_dir / "shared.mem", member, members))
        databases = [
            await stack.enter_async_context(
                Database(
                    data_dir / f"{name}.db",
                    migrations,
                    page_size_bytes=page_size_bytes,
                    survives_power_loss=is_promised and survives_power_loss,
                    is_mapped=name == "index",
                )
            )
            for name, migrations, page_size_bytes, is_promised in (
                ("index", sqlite_index.MIGRATIONS, sqlite_index.PAGE_SIZE_BYTES, True),
                ("inline", sqlite_inline.MIGRATIONS, sqlite_inline.PAGE_SIZE_BYTES, True),
                ("results", sqlite_results.MIGRATIONS, 4096, True),
                ("invocations", sqlite_invocations.MIGRATIONS, 4096, False),
            )
        ]
        index_database, inline_database, result_database, invocation_database = databases
        inline = InlineTable(inline_database)
        eviction_lock = data_dir / "evicting.lock"
        eviction_lock.touch(0o600)  # now: a full disk may have no inode for it
        yield SqliteState(
            SqliteIndex(index_database, inline, shared, eviction_lock),
            inline,
            SqliteResults(result_database, shared),
            SqliteInvocations(invocation_database),
            shared,
        )


def _lock(data_dir: Path, stack: AsyncExitStack) -> None:
    """Held until the stack is left; the kernel lets go of it when the process ends."""
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise FailedPrecondition(
            f"another process uses {data_dir}: stop it, or choose another data_dir"
        ) from error


def _open_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
