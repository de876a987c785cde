"""Which blobs were acknowledged and are in the fast tier only: in memory, and on record."""

import asyncio
import itertools
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from reapi.core.database import Database
from reapi.core.digest import Digest, make_digest, parse_function
from reapi.core.uninterrupted import uninterrupted

from .metrics import TierMetrics

MIGRATIONS = (
    "CREATE TABLE owed (function INTEGER, hash TEXT, size INTEGER,"
    " PRIMARY KEY (function, hash, size)) WITHOUT ROWID",
)

_MOST_BLOBS = 200_000
"""Owed at once: their digests are in memory, however small they are."""


async def has_debts(record: Path) -> bool:
    """Whether anything is owed as of that record, which nobody else has open."""
    async with Database(record, MIGRATIONS) as database:
        return bool(database.read("SELECT 1 FROM owed LIMIT 1"))


class Debts:
    """The blobs that the slow tier is owed; iterates over a copy, in no particular order.

    A change of memory is made at once, and is on record when its method returns.
    """

    def __init__(self, database: Database, metrics: TierMetrics, *, max_bytes: int) -> None:
        self._database = database
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._owed_bytes = 0
        self._expected_bytes = 0
        self._expected_blobs = 0
        self._serials = itertools.count()
        self._owed: dict[Digest, int] = {}
        rows = database.read("SELECT function, hash, size FROM owed")
        self._add(
            [make_digest(hash_, size, parse_function(number)) for number, hash_, size in rows]
        )

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._owed

    def __iter__(self) -> Iterator[Digest]:
        return iter(tuple(self._owed))

    def serial(self, digest: Digest) -> int | None:
        """Differs after each `add`: what was found out before that is outdated."""
        return self._owed.get(digest)

    @contextmanager
    def room(self, digests: Collection[Digest]) -> Iterator[bool]:
        """Whether these may be added within the context, for which their bytes are set aside."""
        size = sum(digest.size_bytes for digest in digests)
        total_bytes = self._owed_bytes + self._expected_bytes + size
        total_blobs = len(self._owed) + self._expected_blobs + len(digests)
        if total_bytes > self._max_bytes or total_blobs > _MOST_BLOBS:
            yield False
            return
        self._expected_bytes += size
        self._expected_blobs += len(digests)
        try:
            yield True
        finally:
            self._expected_bytes -= size
            self._expected_blobs -= len(digests)

    async def add(self, digests: Collection[Digest]) -> None:
        """Records debts; they count once that has happened, even if the caller is cancelled, which
        takes effect only then.

        Raises ResourceExhausted or Unavailable when it cannot.
        """
        await uninterrupted(self._record(digests))

    async def _record(self, digests: Collection[Digest]) -> None:
        rows = [(digest.function.number, digest.hash, digest.size_bytes) for digest in digests]

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR IGNORE INTO owed VALUES (?, ?, ?)", rows)

        await self._database.write(insert)
        self._add(digests)

    async def settle(self, digests: Collection[Digest]) -> None:
        """Strikes out debts: the slow tier has these blobs, or nobody has."""
        for digest in digests:
            if self._owed.pop(digest, None) is not None:
                self._owed_bytes -= digest.size_bytes
        self._metrics.owed_bytes.set(self._owed_bytes)
        rows = [(digest.function.number, digest.hash, digest.size_bytes) for digest in digests]

        def delete(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "DELETE FROM owed WHERE function = ? AND hash = ? AND size = ?", rows
            )

        await asyncio.shield(self._database.write(delete))

    def _add(self, digests: Collection[Digest]) -> None:
        for digest in digests:
            if digest not in self._owed:
                self._owed_bytes += digest.size_bytes
            self._owed[digest] = next(self._serials)
        self._metrics.owed_bytes.set(self._owed_bytes)
