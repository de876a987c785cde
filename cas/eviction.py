"""Makes room: deletes the blobs that were used longest ago and are promised to nobody any more.

A row leaves the index first and is remembered as being deleted, then the bytes go, then the memory
of it. A crash between two of these steps is made good at the next start.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .blob_memory import BlobMemory
from .index import BlobIndex, Marked, digest_of_key
from .inline import InlineStore
from .metrics import StorageMetrics
from .presence import Presence
from .publishing import Publishing
from .stores.disk import DiskStore

_KEYS_PER_BATCH = 200


class _Plan(NamedTuple):
    """All rows up to `cut` hold the wanted bytes, those before `cut` do not."""

    cut: int | None
    oldest: int | None


class Evictor:
    """One call of `evict` at a time; concurrent uploads of what it deletes are safe."""

    def __init__(
        self,
        *,
        index: BlobIndex,
        index_path: Path,
        inline: InlineStore,
        disk: DiskStore,
        memory: BlobMemory,
        presence: Presence,
        threads: Executor,
        metrics: StorageMetrics,
        publishing: Publishing,
        forget_results: Callable[[int], Awaitable[None]],
    ) -> None:
        self._index = index
        self._index_path = index_path
        self._inline = inline
        self._disk = disk
        self._memory = memory
        self._presence = presence
        self._threads = threads
        self._metrics = metrics
        self._publishing = publishing
        self._forget_results = forget_results
        self._nothing_before = 0

    async def evict(self, wanted_bytes: int) -> float | None:
        """Frees that many bytes, or all it may; then the seconds until more may go.

        Results that were used no later than the last blob deleted go as well: their blobs have.
        """
        now = self._presence.now()
        if now < self._nothing_before:
            return self._nothing_before - now
        last_stamp = self._presence.last_expired_stamp()
        loop = asyncio.get_running_loop()
        plan = await loop.run_in_executor(self._threads, self._plan, wanted_bytes, last_stamp)
        if plan.cut is not None:
            before_cut = await self._evict_rows("used < ?", plan.cut, wanted_bytes)
            await self._evict_rows("used = ?", plan.cut, wanted_bytes - before_cut)
            await self._forget_results(plan.cut)
            return None
        if plan.oldest is not None:
            self._nothing_before = plan.oldest + self._presence.retention_seconds
        return max(1, self._nothing_before - now)

    async def delete(self, marked: Sequence[Marked]) -> None:
        """Deletes the bytes of rows that have left the index."""
        digests = [digest_of_key(one.key, one.size) for one in marked]
        self._memory.drop(digests)
        inline_ids = [one.inline_id for one in marked if one.inline_id is not None]
        withdrawn = []
        for one, digest in zip(marked, digests, strict=True):
            # Somebody may have uploaded it again since the row went: then the file is theirs.
            if one.inline_id is None and not self._is_wanted(one.key):
                withdrawn.append(self._disk.withdraw(digest))
        await self._inline.delete(inline_ids)
        paths = [path for path in withdrawn if path is not None]
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, unlink_all, paths)
        await self._index.unmark(marked)

    def _is_wanted(self, key: bytes) -> bool:
        return key in self._publishing or bool(self._index.find([key]))

    async def _evict_rows(self, condition: str, cut: int, wanted_bytes: int) -> int:
        freed = 0
        last_key = b""
        loop = asyncio.get_running_loop()
        while freed < wanted_bytes:
            keys = await loop.run_in_executor(
                self._threads, self._choose, condition, cut, last_key, wanted_bytes - freed
            )
            if not keys:
                break
            last_key = keys[-1]
            marked = await self._index.mark(keys, cut)
            await self.delete(marked)
            batch_bytes = sum(one.size for one in marked)
            self._metrics.evicted_bytes.inc(batch_bytes)
            freed += batch_bytes
        return freed

    def _plan(self, wanted_bytes: int, last_stamp: int) -> _Plan:
        """Runs in a thread: one scan of the index."""
        sql = "SELECT used, sum(size) FROM blob GROUP BY used ORDER BY used"
        with closing(self._open()) as connection:
            rows = connection.execute(sql).fetchall()
        cut = None
        total = 0
        for used, size in rows:
            if used > last_stamp or total >= wanted_bytes:
                break
            cut = used
            total += size
        return _Plan(cut, rows[0][0] if rows else None)

    def _choose(self, condition: str, cut: int, after: bytes, wanted_bytes: int) -> list[bytes]:
        """Runs in a thread: the next keys to delete, no more than are wanted."""
        sql = f"SELECT key, size FROM blob WHERE key > ? AND {condition} ORDER BY key LIMIT ?"
        with closing(self._open()) as connection:
            rows = connection.execute(sql, (after, cut, _KEYS_PER_BATCH)).fetchall()
        return list(_enough(rows, wanted_bytes))

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._index_path.as_uri()}?mode=ro", uri=True)


def _enough(rows: Sequence[tuple[bytes, int]], wanted_bytes: int) -> Iterator[bytes]:
    for key, size in rows:
        if wanted_bytes <= 0:
            return
        wanted_bytes -= size
        yield key


def unlink_all(paths: Sequence[Path]) -> None:
    """Frees the room of withdrawn files. Blocks."""
    for path in paths:
        path.unlink(missing_ok=True)
