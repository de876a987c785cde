"""Finds the rows that were used longest ago, by scans of the index in a thread."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from .interface import EVICTION_BATCH


class VictimFinder:
    """Keys of rows used no later than `last_stamp`, oldest first; of one owner if it is given.

    One scan sums up what there is by time of use, which gives the time `cut` up to which rows have
    to go; a second one, in the order of the keys, gives the rows before the cut, a third as many at
    the cut as are still wanted.
    """

    def __init__(self, path: Path, last_stamp: int, owner_id: int | None) -> None:
        self._path = path
        self._last_stamp = last_stamp
        self._owned = "" if owner_id is None else f"AND owner = {owner_id:d} "
        self._missing_bytes = 0

    def freed(self, size_bytes: int) -> None:
        """So much of what is wanted is done."""
        self._missing_bytes -= size_bytes

    async def batches(self, wanted_bytes: int) -> AsyncIterator[Sequence[bytes]]:
        """Keys, until `freed` has been told of all that is wanted or there are no more."""
        self._missing_bytes = wanted_bytes
        cut = await asyncio.to_thread(self._cut)
        if cut is None:
            return
        for comparison in ("<", "="):
            after = b""
            while self._missing_bytes > 0:
                keys = await asyncio.to_thread(self._choose, comparison, cut, after)
                if not keys:
                    break
                after = keys[-1]
                yield keys

    def oldest_used(self) -> int | None:
        """The lowest time of use, before or after `last_stamp`. Blocks, and scans."""
        with closing(self._open()) as connection:
            ((oldest,),) = connection.execute(
                f"SELECT min(used) FROM blob WHERE 1 {self._owned}"
            ).fetchall()
        return None if oldest is None else int(oldest)

    def sizes_by_use(self, after: int = -1) -> list[tuple[int, int]]:
        """Times of use above `after`, rising, with the bytes used last then. Blocks, and scans."""
        sql = (
            "SELECT used, sum(size) FROM blob WHERE used > ? AND used <= ? "
            f"{self._owned}GROUP BY used ORDER BY used"
        )
        with closing(self._open()) as connection:
            return connection.execute(sql, (after, self._last_stamp)).fetchall()

    def _cut(self) -> int | None:
        """Blocks. None when no row may go."""
        cut = None
        total = 0
        for used, size in self.sizes_by_use():
            cut = used
            total += size
            if total >= self._missing_bytes:
                break
        return cut

    def _choose(self, comparison: str, cut: int, after: bytes) -> list[bytes]:
        """Blocks. The next keys, no more than are wanted."""
        sql = (
            f"SELECT key, size FROM blob WHERE key > ? AND used {comparison} ? "
            f"{self._owned}ORDER BY key LIMIT ?"
        )
        with closing(self._open()) as connection:
            rows = connection.execute(sql, (after, cut, EVICTION_BATCH)).fetchall()
        return list(_enough(rows, self._missing_bytes))

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)


def _enough(rows: Sequence[tuple[bytes, int]], wanted_bytes: int) -> Iterator[bytes]:
    for key, size in rows:
        if wanted_bytes <= 0:
            return
        wanted_bytes -= size
        yield key
