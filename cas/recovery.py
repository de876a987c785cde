"""What a start does beside serving: finishes deletions, fills the filter, sweeps up after a crash.

Nothing here delays readiness but the deletions, of which there is one batch at most.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import closing
from itertools import islice
from pathlib import Path
from threading import Event

from reapi.core.digest import Digest

from .eviction import unlink_all
from .index import BlobIndex
from .inline import InlineStore
from .presence import HashFilter
from .publishing import Publishing
from .stores.disk import DiskStore

logger = logging.getLogger(__name__)

_ROWS_PER_STEP = 2000


class Recovery:
    """The background work of one start. Cancelling `run` ends it within a step."""

    def __init__(
        self,
        *,
        index: BlobIndex,
        index_path: Path,
        inline: InlineStore,
        inline_path: Path,
        disk: DiskStore,
        hash_filter: HashFilter,
        publishing: Publishing,
        threads: Executor,
        is_sweep_due: bool,
    ) -> None:
        self._index = index
        self._index_path = index_path
        self._inline = inline
        self._inline_path = inline_path
        self._disk = disk
        self._filter = hash_filter
        self._publishing = publishing
        self._threads = threads
        self._stopping = Event()
        # Later rows belong to writes under way.
        self._last_inline_id = inline.last_id
        self.is_sweep_due = is_sweep_due

    async def run(self) -> None:
        """Fills the filter, and deletes bytes that a crash left without a row."""
        loop = asyncio.get_running_loop()
        try:
            self._filter.is_complete = await loop.run_in_executor(self._threads, self._fill_filter)
            if self.is_sweep_due:
                await self._sweep_files()
                await self._sweep_inline()
                self.is_sweep_due = False
        except Exception:
            logger.exception("the work after a start failed; blobs are served without it")
        finally:
            self._stopping.set()

    def _fill_filter(self) -> bool:
        """Runs in a thread. Rows that are added meanwhile are added to the filter as well."""
        with closing(_open(self._index_path)) as connection:
            cursor = connection.execute("SELECT key FROM blob")
            while rows := cursor.fetchmany(_ROWS_PER_STEP):
                if self._stopping.is_set():
                    return False
                self._filter.add_keys(row[0] for row in rows)
        return True

    async def _sweep_files(self) -> None:
        loop = asyncio.get_running_loop()
        digests = self._disk.digests()
        while some := await loop.run_in_executor(self._threads, _take, digests):
            found = self._index.find([digest.key for digest in some])
            withdrawn = [
                self._disk.withdraw(digest)
                for digest in some
                if digest.key not in found and digest.key not in self._publishing
            ]
            paths = [path for path in withdrawn if path is not None]
            await loop.run_in_executor(self._threads, unlink_all, paths)

    async def _sweep_inline(self) -> None:
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self._threads, self._orphans)
        for start in range(0, len(ids), _ROWS_PER_STEP):
            await self._inline.delete(ids[start : start + _ROWS_PER_STEP])

    def _orphans(self) -> list[int]:
        """Runs in a thread: numbers of inline blobs that no row of the index names."""
        with closing(_open(self._inline_path)) as connection:
            connection.execute("ATTACH ? AS other", (f"{self._index_path.as_uri()}?mode=ro",))
            rows = connection.execute(
                "SELECT id FROM inline WHERE id <= ? AND id NOT IN "
                "(SELECT inline_id FROM other.blob WHERE inline_id IS NOT NULL)",
                (self._last_inline_id,),
            ).fetchall()
        return [row[0] for row in rows]


def _take(digests: Iterator[Digest]) -> list[Digest]:
    return list(islice(digests, _ROWS_PER_STEP))


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
