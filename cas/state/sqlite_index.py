"""The index on SQLite: one row per blob. Bytes are written before their row and deleted after it.

Reads and commits do not suspend (core/database.py); the hash filter saves most queries for what is
absent. All processes of a data directory share its file and the shared memory.
"""

import asyncio
import fcntl
import os
import sqlite3
from asyncio import Future
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from reapi.cas.shared_memory import SharedMemory
from reapi.core.database import Database
from reapi.core.uninterrupted import uninterrupted

from .interface import Entry, InlineBlob, NewObject
from .sqlite_eviction import VictimFinder
from .sqlite_inline import InlineTable

MIGRATIONS = (
    """
    CREATE TABLE blob (
        key BLOB PRIMARY KEY,
        size INTEGER NOT NULL,
        inline_id INTEGER,
        used INTEGER NOT NULL,
        stored INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE deleting (
        key BLOB PRIMARY KEY,
        size INTEGER NOT NULL,
        inline_id INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE total (bytes INTEGER NOT NULL);
    INSERT INTO total VALUES (0);
    CREATE TABLE run (closed_cleanly INTEGER NOT NULL);
    INSERT INTO run VALUES (1);
    """,
    """
    ALTER TABLE blob ADD COLUMN suffix TEXT NOT NULL DEFAULT '';
    ALTER TABLE blob ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE leaving (
        key BLOB NOT NULL,
        size INTEGER NOT NULL,
        used INTEGER NOT NULL,
        inline_id INTEGER,
        suffix TEXT NOT NULL
    );
    INSERT INTO leaving SELECT key, size, 0, inline_id, '' FROM deleting;
    DROP TABLE deleting;
    CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    INSERT INTO owner VALUES (0, '');
    ALTER TABLE total ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
    CREATE UNIQUE INDEX total_by_owner ON total (owner);
    """,
    "ALTER TABLE run ADD COLUMN checks INTEGER NOT NULL DEFAULT 0",
)
PAGE_SIZE_BYTES = 1024
"""Keys are random, so a commit writes one page per new row: small pages make short commits."""

_COLUMNS = "key, size, used, inline_id, suffix"
_KEYS_PER_QUERY = 100
_ROWS_PER_STEP = 1000

Read = Callable[[str, Sequence[Any]], list[Any]]


class SqliteIndex:
    """See BlobIndex."""

    def __init__(
        self, database: Database, inline: InlineTable, shared: SharedMemory, lock_path: Path
    ) -> None:
        self._database = database
        self.path = database.path
        self._inline = inline
        self._shared = shared
        self._lock_path = lock_path
        self._evicting = asyncio.Lock()

    async def find(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """See BlobIndex. Takes about 3 us a key that may be stored."""
        return _find(self._database.read, self._shared.filter.possible_keys(list(keys)))

    async def touch(self, keys: Sequence[bytes], used: int) -> bool:
        """See BlobIndex."""

        def operation(connection: sqlite3.Connection) -> bool:
            return _touch(connection, keys, used) == len(keys)

        return await self._database.write(operation)

    async def add_objects(
        self, objects: Sequence[NewObject], used: int, stored: int, owner: str
    ) -> list[bytes]:
        """See BlobIndex."""
        entries = [Entry(one.key, one.size, used, None, one.suffix) for one in objects]
        return [entry.key for entry in await uninterrupted(self._add(entries, stored, owner))]

    async def add_inline(
        self, blobs: Mapping[bytes, bytes], used: int, stored: int, owner: str
    ) -> None:
        """See BlobIndex. The bytes are committed before the rows."""
        await uninterrupted(self._add_inline(blobs, used, stored, owner))

    async def _add_inline(
        self, blobs: Mapping[bytes, bytes], used: int, stored: int, owner: str
    ) -> None:
        ids = await self._inline.add(blobs)
        entries = [
            Entry(key, len(data), used, inline_id, "")
            for (key, data), inline_id in zip(blobs.items(), ids, strict=True)
        ]
        redundant = await self._add(entries, stored, owner)
        if redundant:
            await self._inline.delete([entry.inline_id or 0 for entry in redundant])

    def _add(self, entries: Sequence[Entry], stored: int, owner: str) -> "Future[list[Entry]]":
        """Adds rows; those whose key is there already are touched, and returned."""
        keys = [entry.key for entry in entries]

        def operation(connection: sqlite3.Connection) -> list[Entry]:
            possible = self._shared.filter.possible_keys(keys)
            present = _find(_reader(connection), possible)
            self._shared.filter.add_keys(keys)
            owner_id = _owner_id(connection, owner)
            fresh = [entry for entry in entries if entry.key not in present]
            connection.executemany(
                f"INSERT INTO blob ({_COLUMNS}, stored, owner) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*entry, stored, owner_id) for entry in fresh],
            )
            _add_to_total(connection, owner_id, sum(entry.size for entry in fresh))
            if not present:
                return []
            _touch(connection, list(present), max(entry.used for entry in entries))
            return [entry for entry in entries if entry.key in present]

        return self._database.write(operation)

    async def read_inline(self, inline_ids: Sequence[int]) -> dict[int, bytes]:
        """See BlobIndex."""
        return self._inline.read(inline_ids)

    async def remove(self, entry: Entry) -> bool:
        """See BlobIndex."""
        return await uninterrupted(self._remove(entry))

    async def _remove(self, entry: Entry) -> bool:
        def operation(connection: sqlite3.Connection) -> bool:
            rows = connection.execute(
                "DELETE FROM blob WHERE key = ? AND inline_id IS ? AND suffix = ?"
                " RETURNING owner, size",
                (entry.key, entry.inline_id, entry.suffix),
            ).fetchall()
            for owner_id, size in rows:
                _add_to_total(connection, owner_id, -size)
            return bool(rows)

        removed = await self._database.write(operation)
        if removed:
            self._shared.lost()
            if entry.inline_id is not None:
                await self._inline.delete([entry.inline_id])
        return removed

    async def evict(
        self, wanted_bytes: int, last_stamp: int, owner: str | None = None
    ) -> AsyncGenerator[Sequence[Entry], None]:
        """See BlobIndex. Victims are looked for by scans in a thread: `used` has no index, which
        would double the cost of a write."""
        finder = VictimFinder(self.path, last_stamp, self._known_owner(owner))
        async for keys in finder.batches(wanted_bytes):
            taken = await self._take(keys, last_stamp)
            finder.freed(sum(entry.size for entry in taken))
            if taken:
                yield taken

    def _known_owner(self, owner: str | None) -> int | None:
        if owner is None:
            return None
        rows = self._database.read("SELECT id FROM owner WHERE name = ?", (owner,))
        return int(rows[0][0]) if rows else -1

    def _take(self, keys: Sequence[bytes], last_stamp: int) -> "Future[list[Entry]]":
        """Takes rows out, but for those that were touched since they were chosen."""

        def operation(connection: sqlite3.Connection) -> list[Entry]:
            taken = []
            for key in keys:
                row = connection.execute(
                    f"DELETE FROM blob WHERE key = ? AND used <= ? RETURNING {_COLUMNS}, owner",
                    (key, last_stamp),
                ).fetchone()
                if row is not None:
                    entry = Entry(*row[:5])
                    _add_to_total(connection, row[5], -entry.size)
                    taken.append(entry)
            connection.executemany("INSERT INTO leaving VALUES (?, ?, ?, ?, ?)", taken)
            return taken

        return self._database.write(operation)

    async def leaving(self) -> Sequence[Entry]:
        """See BlobIndex: at most one batch for each process."""
        return [Entry(*row) for row in self._database.read(f"SELECT {_COLUMNS} FROM leaving")]

    async def forget(self, entries: Sequence[Entry]) -> None:
        """See BlobIndex."""
        await self._inline.delete(
            [entry.inline_id for entry in entries if entry.inline_id is not None]
        )

        def operation(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "DELETE FROM leaving WHERE key = ? AND suffix = ? AND inline_id IS ?",
                [(entry.key, entry.suffix, entry.inline_id) for entry in entries],
            )

        await self._database.write(operation)

    @asynccontextmanager
    async def evicting(self) -> AsyncIterator[None]:
        """See BlobIndex. A lock on a file: the kernel lets go of it for a killed process."""
        async with self._evicting:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
            try:
                await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    async def oldest_used(self, owner: str | None = None) -> int | None:
        """See BlobIndex."""
        finder = VictimFinder(self.path, 0, self._known_owner(owner))
        return await asyncio.to_thread(finder.oldest_used)

    async def sizes_by_use(self, after: int, last_stamp: int) -> Sequence[tuple[int, int]]:
        """See BlobIndex."""
        finder = VictimFinder(self.path, last_stamp, None)
        return await asyncio.to_thread(finder.sizes_by_use, after)

    async def total_bytes(self) -> Mapping[str, int]:
        """See BlobIndex. Exact."""
        return dict(
            self._database.read(
                "SELECT name, bytes FROM total JOIN owner ON owner.id = total.owner WHERE bytes > 0"
            )
        )

    async def check(self) -> None:
        """See BlobIndex."""
        await self._database.write(
            lambda connection: connection.execute("UPDATE run SET checks = checks + 1").rowcount
        )

    async def rows(self, after: bytes = b"") -> AsyncIterator[Sequence[Entry]]:
        """See BlobIndex."""
        sql = f"SELECT {_COLUMNS} FROM blob WHERE key > ? ORDER BY key LIMIT ?"
        while batch := [Entry(*row) for row in self._database.read(sql, (after, _ROWS_PER_STEP))]:
            yield batch
            after = batch[-1].key
            await asyncio.sleep(0)

    async def clear(self) -> None:
        """See BlobIndex."""

        def operation(connection: sqlite3.Connection) -> None:
            for table in ("blob", "leaving", "total"):
                connection.execute(f"DELETE FROM {table}")

        await self._database.write(operation)

    async def inline_blobs(self) -> AsyncIterator[Sequence[InlineBlob]]:
        """See BlobIndex."""
        after = 0
        while batch := self._inline.batch(after):
            yield batch
            after = batch[-1].inline_id
            await asyncio.sleep(0)

    async def adopt_inline(self, entries: Sequence[Entry], stored: int, owner: str) -> list[bytes]:
        """See BlobIndex."""
        return [entry.key for entry in await uninterrupted(self._add(entries, stored, owner))]

    def losses(self) -> int:
        """See BlobIndex."""
        return self._shared.losses

    async def fill_filter(self) -> None:
        """Adds all rows to the hash filter, which then saves queries in every process."""
        async for batch in self.rows():
            await self._add_to_filter([entry.key for entry in batch])
        self._shared.filter.complete()

    def _add_to_filter(self, keys: list[bytes]) -> "Future[None]":
        """Under the write lock, which this needs."""
        return self._database.write(lambda _: self._shared.filter.add_keys(keys))

    async def begin_run(self) -> bool:
        """Says whether the last run ended by `end_run`; this one has not, from now on."""

        def operation(connection: sqlite3.Connection) -> bool:
            ((clean,),) = connection.execute("SELECT closed_cleanly FROM run").fetchall()
            connection.execute("UPDATE run SET closed_cleanly = 0")
            return bool(clean)

        return await self._database.write(operation)

    async def end_run(self) -> None:
        """Nothing is half-done: the next start need not look for leftovers."""

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE run SET closed_cleanly = 1")

        await self._database.write(operation)


def _reader(connection: sqlite3.Connection) -> Read:
    return lambda sql, parameters: connection.execute(sql, parameters).fetchall()


def _find(read: Read, keys: Sequence[bytes]) -> dict[bytes, Entry]:
    found = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        some = keys[start : start + _KEYS_PER_QUERY]
        places = ",".join("?" * len(some))
        for row in read(f"SELECT {_COLUMNS} FROM blob WHERE key IN ({places})", some):
            found[row[0]] = Entry(*row)
    return found


def _touch(connection: sqlite3.Connection, keys: Sequence[bytes], used: int) -> int:
    return connection.executemany(
        "UPDATE blob SET used = max(used, ?) WHERE key = ?", [(used, key) for key in keys]
    ).rowcount


def _owner_id(connection: sqlite3.Connection, owner: str) -> int:
    if not owner:
        return 0
    row = connection.execute("SELECT id FROM owner WHERE name = ?", (owner,)).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO owner (name) VALUES (?) RETURNING id", (owner,)
        ).fetchone()
    return int(row[0])


def _add_to_total(connection: sqlite3.Connection, owner_id: int, size: int) -> None:
    if size:
        connection.execute(
            "INSERT INTO total (owner, bytes) VALUES (?1, ?2)"
            " ON CONFLICT (owner) DO UPDATE SET bytes = bytes + ?2",
            (owner_id, size),
        )
