"""Writes that are acknowledged before the slow tier has them keep their promise all the same."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.stores import debts, repayment
from reapi.cas.stores.metrics import TierMetrics
from reapi.cas.stores.write_back import WriteBackStore
from reapi.core.database import Database
from reapi.core.digest import Digest
from reapi.core.errors import (
    InvalidArgument,
    NotFound,
    ReapiError,
    ResourceExhausted,
    Unavailable,
)
from tests.fakes.memory_store import MemoryBlobStore

LARGE = random.Random(3).randbytes(1_500_000)
DOWN = Unavailable("down")
MAX_OWED_BYTES = 2_000_000


class GatedStore(MemoryBlobStore):
    """Answers `write_many` only while `gate` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.attempts: asyncio.Queue[None] = asyncio.Queue()

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        self.attempts.put_nowait(None)
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return await super().write_many(blobs)


class Tiers:
    """Both tiers, which outlive the store in front of them, and its record."""

    def __init__(self, directory: Path) -> None:
        self.fast = MemoryBlobStore()
        self.slow = GatedStore()
        self.record = directory / "owed.db"
        self.registry: CollectorRegistry
        self.store: WriteBackStore
        self.stack: AsyncExitStack

    async def open(self, *, renew_seconds: float = 1000) -> WriteBackStore:
        self.registry = CollectorRegistry()
        self.stack = AsyncExitStack()
        store = WriteBackStore(
            self.fast,
            self.slow,
            self.record,
            TierMetrics(self.registry),
            max_owed_bytes=MAX_OWED_BYTES,
            renew_seconds=renew_seconds,
        )
        self.store = await self.stack.enter_async_context(store)
        return self.store

    async def close(self) -> None:
        await self.stack.aclose()

    async def kill(self) -> None:
        """Goes on with what is on record at this moment."""
        killed = self.record.parent / "killed"  # the copy is what a crash at this moment leaves
        killed.mkdir()
        for path in self.record.parent.glob("owed.db*"):
            shutil.copy(path, killed)
        await self.close()
        self.record = killed / "owed.db"

    async def copied(self) -> None:
        """Waits for the copies that are under way, and those that follow on them."""
        while tasks := [*self.store._repayment._copies, self.store._repayment._renewal]:
            await asyncio.gather(*filter(None, tasks))
            if not self.store._repayment._copies:
                return

    def count(self, name: str) -> float:
        return self.registry.get_sample_value(f"reapi_tier_{name}") or 0


@pytest.fixture
async def tiers(tmp_path: Path) -> AsyncIterator[Tiers]:
    made = Tiers(tmp_path)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repayment, "FIRST_DELAY_SECONDS", 0)


def digest_of(data: bytes) -> Digest:
    return MemoryBlobStore().add(data)


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


async def read(store: WriteBackStore, digest: Digest) -> bytes:
    return b"".join([chunk async for chunk in store.read(digest)])


class TestWrites:
    async def test_a_write_does_not_wait_for_the_slow_tier(self, tiers: Tiers) -> None:
        tiers.slow.gate.clear()
        small, large = digest_of(b"small"), digest_of(LARGE)
        assert await tiers.store.write_many({small: b"small"}) == {}
        tiers.slow.error = DOWN
        await tiers.store.write(large, chunks(LARGE))
        assert await tiers.store.find_missing([small, large]) == []
        assert await read(tiers.store, large) == LARGE
        assert tiers.slow.blobs == {}
        assert tiers.count("owed_bytes") == len(b"small") + len(LARGE)

    async def test_what_is_owed_is_copied_soon(self, tiers: Tiers) -> None:
        small, large = digest_of(b"small"), digest_of(LARGE)
        await tiers.store.write_many({small: b"small"})
        await tiers.store.write(large, chunks(LARGE))
        await tiers.copied()
        assert tiers.slow.blobs == {small: b"small", large: LARGE}
        assert tiers.count("owed_bytes") == 0

    async def test_a_write_cancelled_while_it_is_put_on_record_is_there_and_is_copied(
        self, tiers: Tiers
    ) -> None:
        large = digest_of(LARGE)
        writing = asyncio.create_task(tiers.store.write(large, chunks(LARGE)))
        for _ in range(1000):
            if large in tiers.fast.blobs:
                break
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await tiers.store.find_missing([large]) == []
        await tiers.copied()
        assert tiers.slow.blobs == {large: LARGE}

    async def test_small_blobs_are_copied_together(self, tiers: Tiers) -> None:
        blobs = {digest_of(b"%d" % number): b"%d" % number for number in range(500)}
        await tiers.store.write_many(blobs)
        await tiers.copied()
        assert tiers.slow.blobs == blobs
        assert tiers.slow.call_counts["write_many"] == 1

    async def test_copies_at_once_are_bounded(self, tiers: Tiers) -> None:
        tiers.slow.gate.clear()
        for number in range(20):
            data = bytes([number]) * 60_000
            await tiers.store.write_many({digest_of(data): data})
        for _ in range(100):
            await asyncio.sleep(0)
        assert tiers.slow.waiting == 8
        tiers.slow.gate.set()
        await tiers.copied()
        assert len(tiers.slow.blobs) == 20

    async def test_beyond_the_bound_writes_go_through(self, tiers: Tiers) -> None:
        tiers.slow.gate.clear()
        large, small = digest_of(LARGE), digest_of(b"small")
        much = {digest_of(LARGE[:999_999]): LARGE[:999_999]}
        await tiers.store.write_many(much)
        await tiers.store.write_many({small: b"small"})
        await tiers.store.write(large, chunks(LARGE))
        assert large in tiers.slow.blobs
        tiers.slow.error = DOWN
        with pytest.raises(Unavailable):
            await tiers.store.write(digest_of(LARGE[1:]), chunks(LARGE[1:]))
        assert tiers.count("owed_bytes") == 999_999 + len(b"small")

    async def test_bytes_on_their_way_count_for_the_bound(self, tiers: Tiers) -> None:
        tiers.slow.error = DOWN
        halves = [LARGE[:1_100_000], LARGE[1:1_100_001]]
        writes = (tiers.store.write(digest_of(half), chunks(half)) for half in halves)
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), Unavailable]

    async def test_a_full_fast_tier_is_passed_by(self, tiers: Tiers) -> None:
        tiers.fast.write_error = ResourceExhausted("full")
        small, large = digest_of(b"small"), digest_of(LARGE)
        assert await tiers.store.write_many({small: b"small"}) == {}
        await tiers.store.write(large, chunks(LARGE))
        assert tiers.slow.blobs == {small: b"small", large: LARGE}
        assert tiers.count("owed_bytes") == 0

    async def test_without_a_record_nothing_is_owed(
        self, tiers: Tiers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def full(_: object, __: Collection[Digest]) -> None:
            raise ResourceExhausted("no space left on the disk")

        monkeypatch.setattr(debts.Debts, "add", full)
        small, large = digest_of(b"small"), digest_of(LARGE)
        assert await tiers.store.write_many({small: b"small"}) == {}
        await tiers.store.write(large, chunks(LARGE))
        assert tiers.slow.blobs == {small: b"small", large: LARGE}
        tiers.slow.error = DOWN
        with pytest.raises(Unavailable):
            await tiers.store.write_many({small: b"small"})

    async def test_bad_bytes_are_never_owed(self, tiers: Tiers) -> None:
        good, bad = digest_of(b"good"), digest_of(b"other")
        failures = await tiers.store.write_many({good: b"good", bad: b"bad"})
        assert list(failures) == [bad]
        assert isinstance(failures[bad], InvalidArgument)
        with pytest.raises(InvalidArgument):
            await tiers.store.write(bad, chunks(b"bad"))
        assert list(tiers.store._debts) == [good]


class TestRestart:
    async def test_a_killed_process_goes_on_with_what_it_owes(self, tiers: Tiers) -> None:
        tiers.slow.error = DOWN
        small, large = digest_of(b"small"), digest_of(LARGE)
        await tiers.store.write_many({small: b"small"})
        await tiers.store.write(large, chunks(LARGE))
        await tiers.kill()
        await tiers.open()
        assert await tiers.store.find_missing([small, large]) == []
        assert tiers.count("owed_bytes") == len(b"small") + len(LARGE)
        await tiers.kill()
        tiers.slow.error = None
        await tiers.open()
        await tiers.copied()
        assert tiers.slow.blobs == {small: b"small", large: LARGE}

    async def test_what_was_paid_is_not_owed_after_a_restart(self, tiers: Tiers) -> None:
        await tiers.store.write_many({digest_of(b"small"): b"small"})
        await tiers.copied()
        await tiers.close()
        tiers.slow.call_counts.clear()
        await tiers.open()
        await tiers.copied()
        assert tiers.slow.call_counts["write_many"] == 0

    async def test_a_clean_stop_interrupts_copies_and_keeps_the_debt(self, tiers: Tiers) -> None:
        tiers.slow.gate.clear()
        small = digest_of(b"small")
        await tiers.store.write_many({small: b"small"})
        await asyncio.sleep(0)
        await tiers.close()
        assert not tiers.store._repayment._copies
        tiers.slow.gate.set()
        await tiers.open()
        await tiers.copied()
        assert tiers.slow.blobs == {small: b"small"}


class TestSlowTierDown:
    @pytest.mark.usefixtures("_no_delay")
    async def test_copies_are_tried_again_until_they_succeed(self, tmp_path: Path) -> None:
        tiers = Tiers(tmp_path)
        await tiers.open()
        tiers.slow.error = DOWN
        small = digest_of(b"small")
        await tiers.store.write_many({small: b"small"})
        for _ in range(4):
            await tiers.slow.attempts.get()
        tiers.slow.error = None
        await tiers.slow.attempts.get()
        await tiers.copied()
        assert tiers.slow.blobs == {small: b"small"}
        assert tiers.count("owed_bytes") == 0
        assert tiers.count("copy_failures_total") >= 3
        await tiers.close()

    async def test_each_failure_doubles_the_wait_up_to_a_minute(
        self, tiers: Tiers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop = asyncio.get_running_loop()
        delays: asyncio.Queue[float] = asyncio.Queue()

        def call_later(delay: float, ring: Callable[[], None]) -> asyncio.TimerHandle:
            delays.put_nowait(delay)
            return loop.call_at(loop.time(), ring)

        monkeypatch.setattr(loop, "call_later", call_later)
        tiers.slow.error = DOWN
        await tiers.store.write_many({digest_of(b"small"): b"small"})
        assert [await delays.get() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]

    async def test_what_is_not_owed_is_not_answered_for(self, tiers: Tiers) -> None:
        tiers.slow.error = DOWN
        with pytest.raises(Unavailable):
            await tiers.store.find_missing([digest_of(b"other")])


class TestPay:
    async def test_what_is_paid_is_in_the_slow_tier(self, tiers: Tiers) -> None:
        small, large = digest_of(b"small"), digest_of(LARGE)
        await tiers.store.write_many({small: b"small"})
        await tiers.store.write(large, chunks(LARGE))
        await tiers.store.pay([small, large, digest_of(b"never owed")])
        assert tiers.slow.blobs == {small: b"small", large: LARGE}
        assert tiers.count("owed_bytes") == 0

    async def test_all_that_is_owed_can_be_paid(self, tiers: Tiers) -> None:
        digests = [digest_of(b"%d" % number) for number in range(50)]
        for number, digest in enumerate(digests):
            await tiers.store.write_many({digest: b"%d" % number})
        await tiers.store.pay()
        assert await tiers.slow.find_missing(digests) == []

    async def test_a_copy_under_way_is_waited_for_and_not_begun_again(self, tiers: Tiers) -> None:
        tiers.slow.gate.clear()
        small = digest_of(b"small")
        await tiers.store.write_many({small: b"small"})
        await tiers.slow.attempts.get()
        paying = asyncio.create_task(tiers.store.pay([small]))
        await asyncio.wait((paying,), timeout=0)
        assert not paying.done()
        tiers.slow.gate.set()
        await paying
        assert tiers.slow.attempts.empty()

    async def test_it_does_not_wait_until_copies_are_tried_again(self, tiers: Tiers) -> None:
        tiers.slow.error = DOWN
        small = digest_of(b"small")
        await tiers.store.write_many({small: b"small"})
        await tiers.copied()
        with pytest.raises(Unavailable):
            await tiers.store.pay([small])
        tiers.slow.error = None
        await tiers.store.pay([small])
        assert tiers.slow.blobs == {small: b"small"}

    async def test_one_who_stops_waiting_stops_no_copy(self, tiers: Tiers) -> None:
        tiers.slow.gate.clear()
        small = digest_of(b"small")
        await tiers.store.write_many({small: b"small"})
        paying = asyncio.create_task(tiers.store.pay([small]))
        await tiers.slow.attempts.get()
        paying.cancel()
        await asyncio.wait((paying,))
        tiers.slow.gate.set()
        await tiers.copied()
        assert tiers.slow.blobs == {small: b"small"}

    async def test_a_record_says_whether_anything_is_owed(self, tmp_path: Path) -> None:
        tiers = Tiers(tmp_path)
        await tiers.open()
        tiers.slow.error = DOWN
        await tiers.store.write_many({digest_of(b"small"): b"small"})
        await tiers.close()
        assert await debts.has_debts(tiers.record)
        tiers.slow.error = None
        await tiers.open()
        await tiers.store.pay()
        await tiers.close()
        assert not await debts.has_debts(tiers.record)


class TestLosses:
    async def test_what_the_fast_tier_lost_is_missing(self, tiers: Tiers) -> None:
        tiers.slow.gate.clear()
        tiers.slow.write_error = DOWN
        small = digest_of(b"small")
        await tiers.store.write_many({small: b"small"})
        del tiers.fast.blobs[small]
        assert await tiers.store.find_missing([small]) == [small]
        with pytest.raises(NotFound):
            await read(tiers.store, small)

    async def test_a_loss_is_counted_and_no_longer_owed(self, tiers: Tiers) -> None:
        tiers.slow.error = DOWN
        small, large = digest_of(b"small"), digest_of(LARGE)
        await tiers.store.write_many({small: b"small"})
        await tiers.store.write(large, chunks(LARGE))
        await tiers.close()
        tiers.slow.error = None
        tiers.fast.damage(large)
        del tiers.fast.blobs[small]
        await tiers.open()
        await tiers.copied()
        assert tiers.count("lost_blobs_total") == 2
        assert tiers.count("owed_bytes") == 0
        assert await tiers.store.find_missing([small, large]) == [small, large]

    async def test_what_the_slow_tier_got_otherwise_is_no_loss(self, tiers: Tiers) -> None:
        tiers.slow.error = DOWN
        small = digest_of(b"small")
        await tiers.store.write_many({small: b"small"})
        await tiers.close()
        tiers.slow.error = None
        tiers.slow.blobs[small] = tiers.fast.blobs.pop(small)
        await tiers.open()
        await tiers.copied()
        assert tiers.count("lost_blobs_total") == tiers.count("owed_bytes") == 0

    async def test_what_is_written_anew_while_its_loss_is_found_stays_owed(
        self, tiers: Tiers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tiers.slow.error = DOWN
        small = digest_of(b"small")
        await tiers.store.write_many({small: b"small"})
        await tiers.copied()
        del tiers.fast.blobs[small]
        find_missing = tiers.fast.find_missing

        async def slow_to_answer(digests: Collection[Digest]) -> list[Digest]:
            missing = await find_missing(digests)
            monkeypatch.undo()
            await tiers.store.write_many({small: b"small"})
            return missing

        tiers.slow.error = None
        tiers.slow.write_error = DOWN
        monkeypatch.setattr(tiers.fast, "find_missing", slow_to_answer)
        await tiers.store._repayment._renew_all()
        assert await tiers.store.find_missing([small]) == []
        assert tiers.count("lost_blobs_total") == 0

    async def test_what_is_owed_is_renewed_in_the_fast_tier(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tiers = Tiers(tmp_path)
        renewed: asyncio.Queue[list[Digest]] = asyncio.Queue()

        async def find_missing(digests: Collection[Digest]) -> list[Digest]:
            renewed.put_nowait(list(digests))
            return []

        monkeypatch.setattr(tiers.fast, "find_missing", find_missing)
        tiers.slow.error = DOWN
        await tiers.open(renew_seconds=0)
        small = digest_of(b"small")
        await tiers.store.write_many({small: b"small"})
        assert [await renewed.get() for _ in range(2)] == [[small]] * 2
        await tiers.close()


async def test_F11_a_record_of_a_newer_version_is_refused_and_nothing_stays_open(
    tmp_path: Path,
) -> None:
    async with Database(tmp_path / "owed.db", (*debts.MIGRATIONS, "CREATE TABLE other (id)")):
        pass
    with pytest.raises(Exception, match="newer version"):
        await Tiers(tmp_path).open()
