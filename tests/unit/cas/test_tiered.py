"""A fast tier that is full, down, slow or damaged never shows, and the slow one is read once."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.stores import fills
from reapi.cas.stores.metrics import TierMetrics
from reapi.cas.stores.shared_fetch import READ_AHEAD_BYTES, WINDOW_BYTES
from reapi.cas.stores.tiered import TieredStore
from reapi.core.digest import Digest
from reapi.core.errors import DataLoss, NotFound, ReapiError, ResourceExhausted, Unavailable
from reapi.core.interfaces import BlobStore
from tests.fakes.memory_store import MemoryBlobStore

LARGE = random.Random(1).randbytes(2 * WINDOW_BYTES)
DOWN = Unavailable("down")
FULL = ResourceExhausted("full")


class CountingStore(MemoryBlobStore):
    """Counts the bytes that were read out of it, and may change its mind at the end of a write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes_read = 0
        self.late_write_error: ReapiError | None = None

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        if digest in self.blobs:
            await anext(chunks)
            return  # as stores may, of a blob that is present
        await super().write(digest, chunks)
        if self.late_write_error is not None:
            del self.blobs[digest]
            raise self.late_write_error

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        async for chunk in super().read(digest, offset=offset, limit=limit):
            self.bytes_read += len(chunk)
            yield chunk


class HangingStore(MemoryBlobStore):
    """Takes no chunk and never says why, until `may_go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = asyncio.Event()

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        await self.may_go_on.wait()
        await super().write(digest, chunks)


class Tiers:
    """A tiered store and what it is made of."""

    def __init__(self, fast: MemoryBlobStore) -> None:
        self.fast = fast
        self.slow = CountingStore()
        self.registry = CollectorRegistry()
        self.store = TieredStore(fast, self.slow, TierMetrics(self.registry))

    def count(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"reapi_tier_{name}", labels)


async def _tiers(fast: MemoryBlobStore) -> AsyncIterator[Tiers]:
    made = Tiers(fast)
    async with made.store:
        yield made
    assert not made.store._fetches


@pytest.fixture
async def tiers() -> AsyncIterator[Tiers]:
    async for made in _tiers(MemoryBlobStore()):
        yield made


@pytest.fixture
async def hanging(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tiers]:
    monkeypatch.setattr(fills, "PATIENCE_SECONDS", 0.01)
    async for made in _tiers(HangingStore()):
        yield made


async def read_all(store: BlobStore, digest: Digest, **options: int) -> bytes:
    return b"".join([chunk async for chunk in store.read(digest, **options)])


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1 << 16):
        yield data[start : start + (1 << 16)]


async def filled(tiers: Tiers) -> float | None:
    """How many blobs were copied, once the copies are over that are under way."""
    await asyncio.gather(*tiers.store._fills._tasks)
    return tiers.count("fills_total")


class TestReads:
    async def test_the_slow_tier_alone_says_what_is_missing(self, tiers: Tiers) -> None:
        only_fast, only_slow = tiers.fast.add(b"fast"), tiers.slow.add(b"slow")
        assert await tiers.store.find_missing([only_fast, only_slow]) == [only_fast]

    async def test_what_was_read_whole_is_read_from_the_fast_tier_next_time(
        self, tiers: Tiers
    ) -> None:
        digest = tiers.slow.add(LARGE)
        for _ in range(3):
            assert await read_all(tiers.store, digest) == LARGE
            assert await filled(tiers) == 1
        assert tiers.slow.bytes_read == len(LARGE)
        assert tiers.count("hits_total", tier="slow") == 1
        assert tiers.count("hits_total", tier="fast") == 2

    async def test_what_was_read_in_bulk_is_read_from_the_fast_tier_next_time(
        self, tiers: Tiers
    ) -> None:
        blobs = {tiers.slow.add(b"%d" % n): b"%d" % n for n in range(5)}
        for _ in range(2):
            assert await tiers.store.read_many(list(blobs)) == blobs
            assert await filled(tiers) == 5
        assert tiers.slow.call_counts["read_many"] == 1
        assert tiers.fast.blobs == blobs

    async def test_a_part_that_is_read_is_not_kept(self, tiers: Tiers) -> None:
        digest = tiers.slow.add(LARGE)
        assert await read_all(tiers.store, digest, offset=1) == LARGE[1:]
        assert await read_all(tiers.store, digest, limit=5) == LARGE[:5]
        assert tiers.fast.call_counts["write"] == 0

    async def test_what_the_slow_tier_has_not_is_not_found(self, tiers: Tiers) -> None:
        digest = Digest("0" * 64, 5)
        with pytest.raises(NotFound):
            await read_all(tiers.store, digest)
        assert await tiers.store.read_many([digest]) == {}
        tiers.slow.error = DOWN
        with pytest.raises(Unavailable):
            await read_all(tiers.store, digest)
        assert tiers.count("fill_failures_total") == 0


class TestFailingFastTier:
    async def test_one_that_is_full_fails_nothing_and_is_logged_once(
        self, tiers: Tiers, caplog: pytest.LogCaptureFixture
    ) -> None:
        tiers.fast.write_error = FULL
        written, read = (b"written", b"read")
        digest = tiers.slow.add(read)
        with caplog.at_level(logging.WARNING):
            assert await read_all(tiers.store, digest) == read
            assert await tiers.store.read_many([digest]) == {digest: read}
            other = MemoryBlobStore().add(written)
            await tiers.store.write(other, chunks(written))
            assert await tiers.store.write_many({other: written}) == {}
        assert await tiers.store.find_missing([other]) == []
        assert [record.message for record in caplog.records] == [
            "the fast tier takes no copies for now: full"
        ]
        assert tiers.count("fill_failures_total") == 4

    async def test_one_that_is_down_fails_nothing(self, tiers: Tiers) -> None:
        tiers.fast.error = DOWN
        digest = MemoryBlobStore().add(LARGE)
        await tiers.store.write(digest, chunks(LARGE))
        assert await read_all(tiers.store, digest) == LARGE
        assert await read_all(tiers.store, digest, offset=7, limit=9) == LARGE[7:16]
        assert await tiers.store.read_many([digest]) == {digest: LARGE}
        assert tiers.count("fast_read_failures_total") == 3

    async def test_one_that_hangs_is_given_up(self, hanging: Tiers) -> None:
        digest = hanging.slow.add(LARGE)
        assert await read_all(hanging.store, digest) == LARGE
        other = MemoryBlobStore().add(LARGE[1:])
        await hanging.store.write(other, chunks(LARGE[1:]))
        assert await hanging.store.find_missing([other]) == []
        assert hanging.fast.blobs == {}
        assert hanging.count("fill_failures_total") == 2

    @pytest.mark.parametrize("size", [100, len(LARGE)])
    async def test_reliability_F8_damage_at_the_end_is_made_good_from_the_slow_tier(
        self, tiers: Tiers, size: int
    ) -> None:
        digest = tiers.slow.add(LARGE[:size])
        tiers.fast.add(LARGE[:size])
        tiers.fast.damage(digest)
        assert await read_all(tiers.store, digest) == LARGE[:size]
        assert await read_all(tiers.store, digest) == LARGE[:size]

    async def test_reliability_F8_damage_that_was_given_out_is_never_completed(
        self, tiers: Tiers
    ) -> None:
        digest = tiers.slow.add(LARGE)
        tiers.fast.add(LARGE)
        tiers.fast.damage(digest, 0)
        with pytest.raises(DataLoss):
            await read_all(tiers.store, digest)
        assert await read_all(tiers.store, digest) == LARGE

    async def test_reliability_F8_a_damaged_copy_is_replaced(self, tiers: Tiers) -> None:
        digest = tiers.slow.add(LARGE)
        tiers.fast.add(LARGE)
        tiers.fast.damage(digest)
        await read_all(tiers.store, digest)
        assert await filled(tiers) == 1
        assert tiers.fast.blobs == {digest: LARGE}


class TestSharedReads:
    async def test_many_readers_of_one_absent_blob_are_one_read(self, tiers: Tiers) -> None:
        digest = tiers.slow.add(LARGE)
        read = await asyncio.gather(*(read_all(tiers.store, digest) for _ in range(20)))
        assert read == [LARGE] * 20
        assert tiers.slow.call_counts["read"] == 1

    async def test_a_reader_that_leaves_spoils_nothing_for_the_others(self, tiers: Tiers) -> None:
        digest = tiers.slow.add(LARGE)
        async with aclosing(tiers.store.read(digest)) as leaving:
            await anext(leaving)
            staying = asyncio.create_task(read_all(tiers.store, digest))
            await asyncio.sleep(0)
        cancelled = asyncio.create_task(read_all(tiers.store, digest))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await staying == LARGE
        assert tiers.slow.call_counts["read"] == 1

    async def test_the_last_reader_that_leaves_early_ends_the_fetch(self, tiers: Tiers) -> None:
        digest = tiers.slow.add(LARGE)
        async with aclosing(tiers.store.read(digest)) as reader:
            await anext(reader)
        assert await read_all(tiers.store, digest) == LARGE
        assert tiers.slow.call_counts["read"] == 2
        assert tiers.fast.call_counts["write"] == 2

    async def test_the_fetch_keeps_the_pace_of_its_reader(self, tiers: Tiers) -> None:
        digest = tiers.slow.add(LARGE)
        async with aclosing(tiers.store.read(digest)) as reader:
            await anext(reader)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert tiers.slow.bytes_read <= READ_AHEAD_BYTES + 3 * (64 << 10)
            assert b"".join([chunk async for chunk in reader]) == LARGE[64 << 10 :]

    async def test_a_reader_that_stalls_stalls_no_other_and_reads_on_in_the_fast_tier(
        self, tiers: Tiers
    ) -> None:
        digest = tiers.slow.add(LARGE)
        async with (
            aclosing(tiers.store.read(digest)) as stalled,
            aclosing(tiers.store.read(digest)) as other,
        ):
            first, begun = await asyncio.gather(anext(stalled), anext(other))
            assert begun + await _rest(other) == LARGE
            assert first + await _rest(stalled) == LARGE
        assert tiers.slow.call_counts["read"] == 1
        assert tiers.fast.call_counts["read"] == 3  # twice in vain

    async def test_one_that_comes_too_late_for_the_fetch_does_not_wait_for_one_that_stalls(
        self, tiers: Tiers
    ) -> None:
        digest = tiers.slow.add(LARGE)
        async with aclosing(tiers.store.read(digest)) as stalled:
            begun = b"".join([await anext(stalled) for _ in range(40)])
            assert len(begun) > WINDOW_BYTES
            assert await read_all(tiers.store, digest) == LARGE
            assert begun + await _rest(stalled) == LARGE
        assert tiers.slow.call_counts["read"] == 1

    async def test_a_reader_that_fell_behind_does_without_a_fast_tier_that_is_full(
        self, tiers: Tiers
    ) -> None:
        tiers.fast.write_error = FULL
        digest = tiers.slow.add(LARGE)
        async with aclosing(tiers.store.read(digest)) as stalled:
            first = await anext(stalled)
            assert await read_all(tiers.store, digest) == LARGE
            assert first + b"".join([chunk async for chunk in stalled]) == LARGE

    async def test_one_that_fell_behind_is_not_waited_for_when_the_others_leave(
        self, tiers: Tiers
    ) -> None:
        digest = tiers.slow.add(LARGE)
        async with aclosing(tiers.store.read(digest)) as behind:
            first = await anext(behind)
            async with aclosing(tiers.store.read(digest)) as ahead:
                for _ in range(len(LARGE) // (64 << 10) - 5):
                    await anext(ahead)
                rest = asyncio.create_task(_rest(behind))
                await asyncio.sleep(0)
            assert first + await rest == LARGE

    async def test_all_readers_hear_that_the_slow_tier_failed(self, tiers: Tiers) -> None:
        digest = tiers.slow.add(LARGE)
        tiers.slow.damage(digest)
        read = (read_all(tiers.store, digest) for _ in range(3))
        outcomes = await asyncio.gather(*read, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DataLoss] * 3
        assert tiers.fast.blobs == {}

    async def test_closing_the_store_ends_what_is_read(self) -> None:
        tiers = Tiers(MemoryBlobStore())
        digest = tiers.slow.add(LARGE)
        async with aclosing(tiers.store.read(digest)) as reader:
            async with tiers.store:
                await anext(reader)
            with pytest.raises(Unavailable):
                await _rest(reader)
        assert tiers.fast.blobs == {}


class TestWrites:
    async def test_a_write_is_in_both_tiers(self, tiers: Tiers) -> None:
        digest, small = MemoryBlobStore().add(LARGE), MemoryBlobStore().add(b"small")
        await tiers.store.write(digest, chunks(LARGE))
        assert await tiers.store.write_many({small: b"small"}) == {}
        assert tiers.fast.blobs == tiers.slow.blobs == {digest: LARGE, small: b"small"}

    async def test_a_write_that_needs_no_bytes_is_no_failed_copy(self, tiers: Tiers) -> None:
        digest = tiers.slow.add(LARGE)
        await tiers.store.write(digest, chunks(LARGE))
        await tiers.store._fills.close()
        assert tiers.fast.blobs == {}
        assert tiers.count("fill_failures_total") == 0

    async def test_what_the_slow_tier_refuses_at_the_end_is_in_neither(self, tiers: Tiers) -> None:
        tiers.slow.late_write_error = DOWN
        with pytest.raises(Unavailable):
            await tiers.store.write(MemoryBlobStore().add(LARGE), chunks(LARGE))
        await tiers.store._fills.close()
        assert tiers.fast.blobs == tiers.slow.blobs == {}

    async def test_what_the_slow_tier_refuses_is_in_neither(self, tiers: Tiers) -> None:
        digest = MemoryBlobStore().add(b"data")
        tiers.slow.error = DOWN
        with pytest.raises(Unavailable):
            await tiers.store.write(digest, chunks(b"data"))
        with pytest.raises(Unavailable):
            await tiers.store.write_many({digest: b"data"})
        await tiers.store._fills.close()
        assert tiers.fast.blobs == {}

    async def test_a_cancelled_write_is_in_neither(self, tiers: Tiers) -> None:
        digest = MemoryBlobStore().add(LARGE)
        stalled = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            yield LARGE[:100_000]
            stalled.set()
            await asyncio.get_running_loop().create_future()

        writing = asyncio.create_task(tiers.store.write(digest, stalling()))
        await stalled.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await tiers.store._fills.close()
        assert tiers.fast.blobs == tiers.slow.blobs == {}


async def _rest(reader: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in reader])
