"""Eviction of many blobs goes in steps, and several processes may do it at once."""

import asyncio
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from reapi.cas.eviction import Evictor
from reapi.cas.state.interface import EVICTION_BATCH, Entry
from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import ResourceExhausted
from tests.fakes.local_storage import ManualClock, local_storage

RETENTION_SECONDS = 24 * 3600
COUNT = 20_000


async def add_many(storage: Storage, count: int) -> None:
    """Tiny blobs in few commits."""
    for start in range(0, count, 2000):
        blobs = {}
        for number in range(start, start + 2000):
            data = b"%d" % number
            blobs[digest_of(data)] = data
        assert await storage.blobs.write_many(blobs) == {}


async def test_readers_go_on_between_the_steps_of_a_large_eviction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    reads = 0
    reads_at_steps: list[int] = []
    sizes: list[int] = []
    delete = Evictor.delete

    async def watched_delete(evictor: Evictor, entries: Sequence[Entry]) -> None:
        reads_at_steps.append(reads)
        sizes.append(len(entries))
        await delete(evictor, entries)

    async with local_storage(tmp_path, clock=clock) as storage:
        await add_many(storage, COUNT)
        clock.seconds += 2 * RETENTION_SECONDS
        (kept,) = [digest_of(b"0")]
        assert await storage.blobs.find_missing([kept]) == []
        monkeypatch.setattr(Evictor, "delete", watched_delete)

        async def read() -> None:
            nonlocal reads
            while True:
                assert await storage.blobs.read_many([kept]) == {kept: b"0"}
                assert await storage.blobs.find_missing([kept]) == []
                reads += 1
                await asyncio.sleep(0)

        reader = asyncio.create_task(read())
        async with storage.blobs._index.evicting():
            await storage.blobs._capacity._evictor.evict(1 << 40)
        assert not reader.done()
        reader.cancel()
        assert await storage.blobs._index.total_bytes() == {"": 1}
    assert sum(sizes) == COUNT - 1
    assert max(sizes) <= EVICTION_BATCH
    turns = [after - before for before, after in pairwise(reads_at_steps)]
    assert min(turns[1:]) >= 1


async def test_two_processes_that_evict_at_once_keep_bound_and_promises(tmp_path: Path) -> None:
    clock = ManualClock()
    bound, size = 200_000, 4000
    settings = {"clock": clock, "max_size_bytes": bound, "memory_bytes": 0, "processes": 2}
    async with (
        local_storage(tmp_path, **settings) as first,
        local_storage(tmp_path, member=1, **settings) as second,
    ):
        chosen = random.Random(3)
        for _ in range(4):
            clock.seconds += 2 * RETENTION_SECONDS
            promised: set[Digest] = set()

            async def write(storage: Storage, seed: int) -> None:
                data = random.Random(seed).randbytes(size if seed % 2 else 900)
                try:
                    failures = await storage.blobs.write_many({digest_of(data): data})
                except ResourceExhausted:
                    return
                if not failures:
                    promised.add(digest_of(data))  # noqa: B023  # awaited below

            seeds = [chosen.randrange(200) for _ in range(120)]
            await asyncio.gather(
                *(write((first, second)[number % 2], seed) for number, seed in enumerate(seeds))
            )
            assert promised
            for storage in (first, second):
                assert await storage.blobs.find_missing(promised) == []
                assert set(await storage.blobs.read_many(list(promised))) == promised
            rows = [entry async for batch in first.blobs._index.rows() for entry in batch]
            total = sum((await second.blobs._index.total_bytes()).values())
            assert sum(entry.size for entry in rows) == total <= bound
            assert await first.blobs._index.leaving() == []
            files = {path.name for path in (tmp_path / "blobs").glob("*/*")}
            assert len(files) == sum(entry.inline_id is None for entry in rows)
            assert first.blobs._capacity._reservations.reserved_bytes == 0
