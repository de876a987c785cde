"""Retention is a promise; eviction takes the oldest of what is promised to nobody (design 6)."""

import asyncio
import random
import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import NotFound, ResourceExhausted
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.local_storage import ManualClock, local_storage

RETENTION_SECONDS = 24 * 3600
GRANULE_SECONDS = 3600
MAX_BYTES = 100_000
ACTION = digest_of(b"an action")


def blob(number: int, size: int = 10_000) -> bytes:
    return random.Random(number).randbytes(size)


async def write(storage: Storage, *contents: bytes) -> list[Digest]:
    blobs = {digest_of(data): data for data in contents}
    for failure in (await storage.blobs.write_many(blobs)).values():
        raise failure
    return list(blobs)


@pytest.mark.parametrize("size", [500, 10_000], ids=["inline", "files"])
class TestOfBothKinds:
    async def test_a_full_store_of_promised_blobs_refuses_writes(
        self, tmp_path: Path, size: int
    ) -> None:
        registry = CollectorRegistry()
        count = MAX_BYTES // size
        async with local_storage(
            tmp_path, registry=registry, clock=ManualClock(), max_size_bytes=MAX_BYTES
        ) as storage:
            digests = await write(storage, *(blob(number, size) for number in range(count)))
            with pytest.raises(ResourceExhausted) as caught:
                await write(storage, blob(count, size))
            assert 0 < (caught.value.retry_after_seconds or 0) <= 25 * 3600
            assert registry.get_sample_value("reapi_storage_refused_writes_total") == 1
            assert await storage.blobs.find_missing(digests) == []
            assert len(await storage.blobs.read_many(digests)) == count

    async def test_after_the_retention_time_old_blobs_make_room(
        self, tmp_path: Path, size: int
    ) -> None:
        clock = ManualClock()
        count = MAX_BYTES // size
        async with local_storage(tmp_path, clock=clock, max_size_bytes=MAX_BYTES) as storage:
            old = await write(storage, *(blob(number, size) for number in range(count)))
            clock.seconds += RETENTION_SECONDS - 1
            with pytest.raises(ResourceExhausted):
                await write(storage, blob(count, size))
            clock.seconds += 1 + GRANULE_SECONDS
            (new,) = await write(storage, blob(count, size))
            missing = await storage.blobs.find_missing([*old, new])
            assert 1 <= len(missing) <= count // 5
            assert new not in missing
            assert set(await storage.blobs.read_many(old)) == set(old) - set(missing)

    async def test_the_blobs_used_longest_ago_go_first(self, tmp_path: Path, size: int) -> None:
        clock = ManualClock()
        count = MAX_BYTES // size // 2
        async with local_storage(tmp_path, clock=clock, max_size_bytes=MAX_BYTES) as storage:
            first = await write(storage, *(blob(number, size) for number in range(count)))
            clock.seconds += 2 * GRANULE_SECONDS
            second = await write(storage, *(blob(count + number, size) for number in range(count)))
            clock.seconds += 2 * GRANULE_SECONDS
            assert await storage.blobs.find_missing(first) == []  # used last from now on
            clock.seconds += RETENTION_SECONDS + 2 * GRANULE_SECONDS
            await write(storage, blob(1000, size))
            missing = await storage.blobs.find_missing([*first, *second])
            assert missing
            assert set(missing) < set(second)

    async def test_CAS2_a_blob_found_present_stays_for_the_retention_time(
        self, tmp_path: Path, size: int
    ) -> None:
        clock = ManualClock()
        count = MAX_BYTES // size
        async with local_storage(tmp_path, clock=clock, max_size_bytes=MAX_BYTES) as storage:
            digests = await write(storage, *(blob(number, size) for number in range(count)))
            clock.seconds += RETENTION_SECONDS - 10
            assert await storage.blobs.find_missing(digests[:1]) == []
            clock.seconds += RETENTION_SECONDS - 10
            for number in range(count // 2):
                await write(storage, blob(1000 + number, size))
            assert await storage.blobs.read_many(digests[:1]) != {}

    async def test_an_evicted_blob_may_come_back(self, tmp_path: Path, size: int) -> None:
        clock = ManualClock()
        async with local_storage(tmp_path, clock=clock, max_size_bytes=size) as storage:
            for number in (1, 2, 1):
                (digest,) = await write(storage, blob(number, size))
                found = await storage.blobs.read_many([digest])
                assert found == {digest: blob(number, size)}
                clock.seconds += 2 * RETENTION_SECONDS


async def test_a_blob_larger_than_the_store_is_refused(tmp_path: Path) -> None:
    async with local_storage(tmp_path, max_size_bytes=MAX_BYTES) as storage:
        with pytest.raises(ResourceExhausted, match="never fit"):
            await write(storage, blob(1, MAX_BYTES + 1))


async def test_uploads_under_way_count_before_they_are_stored(tmp_path: Path) -> None:
    async with local_storage(tmp_path, max_size_bytes=MAX_BYTES) as storage:
        incoming = await storage.blobs.begin(digest_of(blob(1, 60_000)))
        with pytest.raises(ResourceExhausted):
            await storage.blobs.begin(digest_of(blob(2, 60_000)))
        await storage.blobs.abandon(incoming)
        await write(storage, blob(2, 60_000))


async def test_the_total_is_exact_over_rewrites_and_restarts(tmp_path: Path) -> None:
    for _ in range(2):
        async with local_storage(tmp_path, max_size_bytes=MAX_BYTES) as storage:
            await asyncio.gather(*(write(storage, blob(1, 20_000), blob(2, 900)) for _ in range(3)))
            await write(storage, blob(3, MAX_BYTES - 20_900))
            with pytest.raises(ResourceExhausted):
                await write(storage, b"!")


async def test_AC2_blobs_of_a_returned_result_stay(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock, max_size_bytes=MAX_BYTES) as storage:
        (digest,) = await write(storage, blob(1))
        result = re_pb2.ActionResult(
            output_files=[re_pb2.OutputFile(path="out", digest=digest.to_message())]
        )
        await storage.action_cache.put("", ACTION, result)
        clock.seconds += RETENTION_SECONDS - 10
        await storage.action_cache.get("", ACTION)
        clock.seconds += RETENTION_SECONDS - 10
        for number in range(12):
            try:
                await write(storage, blob(10 + number))
            except ResourceExhausted:
                break
        assert await storage.blobs.read_many([digest]) != {}


async def test_results_go_with_the_blobs_of_their_age(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock, max_size_bytes=MAX_BYTES) as storage:
        await storage.action_cache.put("", ACTION, re_pb2.ActionResult(exit_code=1))
        await write(storage, *(blob(number) for number in range(9)))
        clock.seconds += RETENTION_SECONDS + 2 * GRANULE_SECONDS
        await write(storage, blob(9), blob(10))
        with pytest.raises(NotFound):
            await storage.action_cache.get("", ACTION)


async def test_a_crash_between_mark_and_deletion_is_made_good(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path / "before", clock=clock) as storage:
        large, small = await write(storage, blob(1), blob(2, 10))
        # What eviction does first; then the process dies.
        last_stamp = clock.seconds + GRANULE_SECONDS
        batches = storage.blobs._index.evict(10**9, last_stamp)
        assert {entry.key for entry in await anext(batches)} == {large.key, small.key}
        shutil.copytree(tmp_path / "before", tmp_path / "after")
        await batches.aclose()
    async with local_storage(tmp_path / "after", clock=clock) as storage:
        assert await storage.blobs.find_missing([large, small]) == [large, small]
        assert storage.recovery is not None
        await storage.recovery
        assert not list((tmp_path / "after" / "blobs").glob("*/*"))
        assert await storage.blobs._index.leaving() == []
        await write(storage, blob(1))
        assert await storage.blobs.read_many([large]) == {large: blob(1)}


async def test_an_upload_during_the_eviction_of_the_same_blob_survives(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock, max_size_bytes=MAX_BYTES) as storage:
        digests = await write(storage, *(blob(number) for number in range(10)))
        for _ in range(5):
            clock.seconds += 2 * RETENTION_SECONDS
            uploads = [
                write(storage, blob(number)) for number in random.Random(1).choices(range(12), k=8)
            ]
            await asyncio.gather(*uploads, return_exceptions=True)
            present = set(digests) - set(await storage.blobs.find_missing(digests))
            assert set(await storage.blobs.read_many(digests)) == present
