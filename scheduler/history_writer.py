"""Writes history beside the work: in batches, bounded, and without ever failing anything."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Self

from reapi.core.errors import ReapiError

from .history import EXPIRY_BATCH, HistoryRow, HistoryStore

logger = logging.getLogger(__name__)

MOST_WAITING = 20_000
"""Rows in memory; while the store cannot keep up, or is away, the oldest of more are lost."""

_PAUSE_SECONDS = 0.2
_ROWS_PER_COMMIT = 250
_RETRY_SECONDS = 2.0
_EXPIRY_SECONDS = 60.0
_LAST_SECONDS = 5.0


class HistoryWriter:
    """Use it as an async context manager; leaving it writes what waits, unless that takes too long.

    Rows are written some tenths of a second after they came. `retention` is in microseconds.
    """

    def __init__(
        self, store: HistoryStore, *, retention: int, max_rows: int, now: Callable[[], int]
    ) -> None:
        self._store = store
        self._retention = retention
        self._max_rows = max_rows
        self._now = now
        self._waiting: deque[HistoryRow] = deque(maxlen=MOST_WAITING)
        self._is_wanted = asyncio.Event()
        self._commit = asyncio.Lock()  # of `_waiting` to the store: rows keep their order
        self._is_failing = False
        self._expire_at = 0.0

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.cancel()
        await asyncio.wait([self._writer])
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self.flush()
        except TimeoutError:
            logger.warning("the history lacks the last %d operations", len(self._waiting))

    def add(self, row: HistoryRow) -> None:
        """Takes a row without waiting."""
        self._waiting.append(row)
        self._is_wanted.set()

    async def flush(self) -> None:
        """Returns when the rows that came before are in the store, unless that fails."""
        async with self._commit:
            commits = -(-len(self._waiting) // _ROWS_PER_COMMIT)
            while commits and self._waiting and await self._write():
                commits -= 1

    async def _write_for_ever(self) -> None:
        while True:
            await self._is_wanted.wait()
            await asyncio.sleep(_PAUSE_SECONDS)
            self._is_wanted.clear()
            await self.flush()
            await self._expire()
            if self._is_failing:
                # Nothing tells when the store is back.
                await asyncio.sleep(_RETRY_SECONDS)
                self._is_wanted.set()

    async def _write(self) -> bool:
        """One commit. While the store is away its rows are kept, as far as there is room."""
        rows = list(islice(self._waiting, _ROWS_PER_COMMIT))
        try:
            await self._store.add(rows)
            self._is_failing = False
        except ReapiError as error:
            self._failed(error)
            return False
        except Exception:
            # A bug, and no better the next time.
            logger.exception("cannot write %d operations into the history", len(rows))
        written = set(map(id, rows))
        while self._waiting and id(self._waiting[0]) in written:
            self._waiting.popleft()
        return True

    async def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._expire_at or self._is_failing:
            return
        self._expire_at = loop.time() + _EXPIRY_SECONDS
        try:
            gone = EXPIRY_BATCH
            while gone == EXPIRY_BATCH:
                gone = await self._store.expire(self._now() - self._retention, self._max_rows)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if not self._is_failing:
            logger.warning("cannot write the history of finished operations", exc_info=error)
        self._is_failing = True
