"""The parts of history, open: what records, what keeps and what guesses."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .config import SchedulerConfig
from .expected_durations import ExpectedDurations
from .history import HistoryStore
from .history_writer import HistoryWriter
from .recorder import Recorder

_ROWS_AT_START = 100_000
_MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class History:
    """`store` lacks what `writer` has not written yet."""

    store: HistoryStore
    writer: HistoryWriter
    recorder: Recorder


@asynccontextmanager
async def open_history(config: SchedulerConfig, store: HistoryStore) -> AsyncIterator[History]:
    """Expected durations are those of the runs that the store knows."""
    durations = ExpectedDurations()
    for observed in await store.durations(_ROWS_AT_START):
        durations.observe(observed)
    writer = HistoryWriter(
        store,
        retention=round(config.history_days * _MICROSECONDS_PER_DAY),
        max_rows=config.history_max_rows,
        now=_now,
    )
    async with writer:
        yield History(store, writer, Recorder(writer, durations, _now))


def _now() -> int:
    return time.time_ns() // 1000
