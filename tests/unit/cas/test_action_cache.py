"""What the action cache remembers, and when it looks again."""

import asyncio
from pathlib import Path

import pytest

from reapi.cas.action_cache import IndexedActionCache
from reapi.cas.result_admin_service import ResultAdminService
from reapi.cas.state.interface import ResultQuery, ResultTable
from reapi.core.cache_state import CacheFinding, CacheState, ResultAbsent
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import NotFound
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.admin.v1.admin_pb2 import ResultQuery as ResultQueryMessage
from reapi.protos.reapi.admin.v1.admin_pb2 import RevokeResultsRequest
from tests.fakes.call import FakeCall
from tests.fakes.local_storage import ManualClock, local_storage

ACTION = digest_of(b"an action")
RETENTION_SECONDS = 24 * 3600


def result_of(digest: Digest) -> re_pb2.ActionResult:
    return re_pb2.ActionResult(
        output_files=[re_pb2.OutputFile(path="out", digest=digest.to_message())]
    )


async def test_a_result_is_the_same_object_within_an_hour(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock) as storage:
        await storage.action_cache.put("", ACTION, re_pb2.ActionResult())
        first = await storage.action_cache.get("", ACTION)
        assert await storage.action_cache.get("", ACTION) is first
        clock.seconds += 3600
        assert await storage.action_cache.get("", ACTION) is not first


async def test_a_lost_blob_ends_the_hit_at_once(tmp_path: Path) -> None:
    data = bytes(5000)
    async with local_storage(tmp_path) as storage:
        await storage.blobs.write_many({digest_of(data): data})
        await storage.action_cache.put("", ACTION, result_of(digest_of(data)))
        await storage.action_cache.get("", ACTION)
        (file,) = (tmp_path / "blobs").glob("*/*")
        file.unlink()
        assert await storage.blobs.read_many([digest_of(data)]) == {}
        with pytest.raises(NotFound):
            await storage.action_cache.get("", ACTION)
        await storage.blobs.write_many({digest_of(data): data})
        with pytest.raises(NotFound):  # the row is gone too: its output may be another's by now
            await storage.action_cache.get("", ACTION)


async def test_an_expired_result_is_explained_also_once_it_is_gone(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock, result_ttl_seconds=60) as storage:
        await storage.action_cache.put("", ACTION, re_pb2.ActionResult())
        clock.seconds += 61
        detail = "stored on 2027-01-15T08:00:00Z"
        expected = CacheFinding(CacheState.EXPIRED, clock.seconds, detail)
        assert await storage.action_cache.explain("", ACTION) == expected
        with pytest.raises(ResultAbsent, match="older than ttl_seconds"):
            await storage.action_cache.get("", ACTION)
        assert await storage.action_cache.last_removal("", ACTION) == expected


async def test_a_present_result_tells_the_hour_of_its_last_use(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock) as storage:
        stored = CacheFinding(CacheState.PRESENT, clock.seconds)
        await storage.action_cache.put("", ACTION, re_pb2.ActionResult())
        clock.seconds += 2 * 3600 + 60
        assert await storage.action_cache.explain("", ACTION) == stored
        await storage.action_cache.get("", ACTION)
        clock.seconds += 1800
        finding = await storage.action_cache.explain("", ACTION)
        assert finding.sentence == (
            "there is a result, stored on 2027-01-15T08:00:00Z: "
            "last used no earlier than 2027-01-15T10:00:00Z"
        )


async def test_a_revoked_result_is_explained(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock) as storage:
        await storage.action_cache.put("main", ACTION, re_pb2.ActionResult())
        service = ResultAdminService(storage.parts.results, clock)
        clock.seconds += 60
        query = ResultQueryMessage(instance_name="main")
        async for _ in service.revoke_results(RevokeResultsRequest(query=query), FakeCall()):
            pass
        finding = await storage.action_cache.last_removal("main", ACTION)
        assert finding == CacheFinding(CacheState.REVOKED, clock.seconds)
        assert finding.sentence == "the result was revoked by an operator, on 2027-01-15T08:01:00Z"


async def test_concurrent_puts_and_gets_end_with_the_last_put(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock) as storage:
        cache: IndexedActionCache = storage.action_cache
        await cache.put("", ACTION, re_pb2.ActionResult(exit_code=0))
        for number in range(1, 20):
            clock.seconds += 3600  # so that the gets look into the table
            await asyncio.gather(
                cache.get("", ACTION),
                cache.put("", ACTION, re_pb2.ActionResult(exit_code=number)),
                cache.get("", ACTION),
            )
            assert (await cache.get("", ACTION)).exit_code == number


async def test_the_given_result_is_not_changed(tmp_path: Path) -> None:
    given = re_pb2.ActionResult(stdout_raw=b"out")
    async with local_storage(tmp_path) as storage:
        stored = await storage.action_cache.put("", ACTION, given)
    assert given == re_pb2.ActionResult(stdout_raw=b"out")
    assert stored.stdout_digest == digest_of(b"out").to_message()


async def test_results_and_their_closures_count_for_the_size(tmp_path: Path) -> None:
    async with local_storage(tmp_path, max_size_bytes=1_000_000) as storage:
        results: ResultTable = storage.action_cache._table
        before = await results.total_bytes()
        for _ in range(3):
            await storage.action_cache.put("", ACTION, re_pb2.ActionResult(exit_code=7))
        after = await results.total_bytes()
        assert 0 < after - before < 100


HOUR = 3600


@pytest.mark.parametrize("is_in_memory", [True, False])
async def test_a_result_older_than_its_lifetime_is_a_miss_and_goes(
    tmp_path: Path, is_in_memory: bool
) -> None:
    clock = ManualClock()
    clock.seconds -= clock.seconds % HOUR
    async with local_storage(tmp_path, clock=clock, result_ttl_seconds=100) as storage:
        cache = storage.action_cache
        await cache.put("", ACTION, re_pb2.ActionResult(exit_code=3))
        clock.seconds += 100
        if is_in_memory:
            assert (await cache.get("", ACTION)).exit_code == 3
        clock.seconds += 1  # the same hour: what is in memory still holds
        with pytest.raises(NotFound):
            await cache.get("", ACTION)
        assert await cache._table.select(ResultQuery(), b"", 10) == []
        await cache.put("", ACTION, re_pb2.ActionResult(exit_code=4))
        assert (await cache.get("", ACTION)).exit_code == 4


async def test_results_from_before_the_time_of_their_instance_are_misses(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock) as storage:
        for instance_name in ("", "main"):
            await storage.action_cache.put(instance_name, ACTION, re_pb2.ActionResult(exit_code=3))
    purged = {"main": clock.seconds + 1}
    async with local_storage(tmp_path, clock=clock, results_since=purged) as storage:
        assert (await storage.action_cache.get("", ACTION)).exit_code == 3
        with pytest.raises(NotFound):
            await storage.action_cache.get("main", ACTION)
        clock.seconds += 1
        await storage.action_cache.put("main", ACTION, re_pb2.ActionResult(exit_code=4))
        assert (await storage.action_cache.get("main", ACTION)).exit_code == 4
    async with local_storage(tmp_path, clock=clock, results_since={"main": 0}) as storage:
        assert (await storage.action_cache.get("main", ACTION)).exit_code == 4


async def test_a_time_that_was_set_by_mistake_purges_nothing_for_good(tmp_path: Path) -> None:
    clock = ManualClock()
    async with local_storage(tmp_path, clock=clock) as storage:
        await storage.action_cache.put("", ACTION, re_pb2.ActionResult(exit_code=3))
    async with local_storage(tmp_path, results_since={"": 1 << 40}) as storage:
        with pytest.raises(NotFound):
            await storage.action_cache.get("", ACTION)
    async with local_storage(tmp_path, clock=clock) as storage:
        assert (await storage.action_cache.get("", ACTION)).exit_code == 3
