"""How long a reader waits for its turn while 100,000 blobs are evicted beside it."""

import asyncio
import os
import random
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from reapi.cas.config import StorageConfig
from reapi.cas.factory import Storage, open_storage
from reapi.core.digest import Digest, digest_of

from .comparison import ROUNDS, Comparison, compare

_BLOBS = 100_000
_BLOB_BYTES = 100
_BATCH = 1000
_SECONDS_LATER = 3 * 86_400


@dataclass(frozen=True)
class _Round:
    """Longest turns in milliseconds, and seconds for all blobs."""

    evicting: float
    idle: float
    seconds: float


async def measure_eviction(folder: Path) -> list[Comparison]:
    """The longest turns with an eviction, and as long without."""
    rounds = [await _measure_round(folder / str(number)) for number in range(ROUNDS)]
    return [
        compare(
            f"eviction of {_BLOBS:,}: longest turn of a reader",
            "ms",
            [each.evicting for each in rounds],
            [each.idle for each in rounds],
            "with nothing to evict",
            aim=100,
            is_ratio=False,
            is_ceiling=True,
        ),
        compare(f"eviction of {_BLOBS:,}", "/s", [_BLOBS / each.seconds for each in rounds]),
    ]


async def _measure_round(data_dir: Path) -> _Round:
    now = int(time.time())
    config = StorageConfig(data_dir)
    async with open_storage(config, CollectorRegistry(), now=lambda: now) as storage:
        await _write(storage, _BLOBS)
        now += _SECONDS_LATER
        kept = await _write(storage, _BATCH)
        started = time.perf_counter()
        evicting = await _longest_turn(storage, kept, _evict(storage))
        seconds = time.perf_counter() - started
        idle = await _longest_turn(storage, kept, asyncio.sleep(seconds))
    return _Round(evicting, idle, seconds)


async def _write(storage: Storage, count: int) -> list[Digest]:
    written: list[Digest] = []
    for _ in range(0, count, _BATCH):
        blobs = [os.urandom(_BLOB_BYTES) for _ in range(_BATCH)]
        batch = {digest_of(data): data for data in blobs}
        failures = await storage.blobs.write_many(batch)
        if failures:
            raise SystemExit(f"blobs were refused: {next(iter(failures.values()))}")
        written += batch
    return written


async def _evict(storage: Storage) -> None:
    async with storage.parts.index.evicting():
        await storage.parts.evictor.evict(_BLOBS * _BLOB_BYTES)


async def _longest_turn(
    storage: Storage, kept: Sequence[Digest], beside: Coroutine[None, None, None]
) -> float:
    """In milliseconds, of a reader that asks and reads until `beside` is done."""
    longest = 0.0
    task = asyncio.create_task(beside)
    while not task.done():
        started = time.perf_counter()
        await storage.blobs.find_missing(random.sample(kept, 10))
        await storage.blobs.read_many([random.choice(kept)])
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - started)
    await task
    return 1000 * longest
