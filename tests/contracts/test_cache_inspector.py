"""What every CacheInspector must say of results that are there, and of those that are gone."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from reapi.cas.result_key import result_key
from reapi.cas.state.interface import Removal
from reapi.cas.storage import Storage
from reapi.core.cache_state import CacheFinding, CacheState, ResultAbsent
from reapi.core.digest import digest_of
from reapi.core.interfaces import CacheInspector
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.contracts import production_storages
from tests.fakes.local_storage import ManualClock, local_storage

ACTION = digest_of(b"an action")
OUTPUT = digest_of(b"an output")
NOW = ManualClock().seconds


@pytest.fixture(params=["local", *production_storages.PARAMS])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AbstractAsyncContextManager[Storage]:
    opener: Callable[..., AbstractAsyncContextManager[Storage]] = local_storage
    if request.param != "local":
        opener = production_storages.opener(request, request.param)
    return opener(tmp_path, results_since={"purged": NOW + 1})


@pytest.fixture
async def storage(opened: AbstractAsyncContextManager[Storage]) -> AsyncIterator[Storage]:
    """With a result of ACTION in two instances, by a clock that stands still."""
    async with opened as made:
        await made.blobs.write_many({OUTPUT: b"an output"})
        for instance_name in ("main", "purged"):
            result = re_pb2.ActionResult(
                output_files=[re_pb2.OutputFile(path="out", digest=OUTPUT.to_message())]
            )
            await made.action_cache.put(instance_name, ACTION, result)
        yield made


@pytest.fixture
def inspector(storage: Storage) -> CacheInspector:
    return storage.action_cache


async def test_a_result_is_present_from_when_it_was_stored(inspector: CacheInspector) -> None:
    assert await inspector.explain("main", ACTION) == CacheFinding(CacheState.PRESENT, NOW)
    assert await inspector.last_removal("main", ACTION) is None


async def test_a_result_of_another_instance_is_absent(inspector: CacheInspector) -> None:
    assert await inspector.explain("", ACTION) == CacheFinding(CacheState.ABSENT)
    assert await inspector.last_removal("", ACTION) is None


async def test_a_purged_result_is_told_and_not_taken_out(
    inspector: CacheInspector, storage: Storage
) -> None:
    with pytest.raises(ResultAbsent, match="before results_since"):
        await storage.action_cache.get("purged", ACTION)
    assert (await inspector.explain("purged", ACTION)).state is CacheState.PURGED
    assert await inspector.last_removal("purged", ACTION) is None


async def test_an_incomplete_result_names_what_is_missing_also_once_it_is_taken_out(
    inspector: CacheInspector, storage: Storage
) -> None:
    entry = (await storage.parts.index.find([OUTPUT.key]))[OUTPUT.key]
    assert await storage.parts.index.remove(entry)
    expected = CacheFinding(CacheState.INCOMPLETE, NOW, OUTPUT.subject)
    assert await inspector.explain("main", ACTION) == expected
    with pytest.raises(ResultAbsent, match=OUTPUT.subject) as caught:
        await storage.action_cache.get("main", ACTION)
    assert caught.value.finding == expected
    assert await inspector.explain("main", ACTION) == CacheFinding(CacheState.ABSENT)
    assert await inspector.last_removal("main", ACTION) == expected


async def test_a_revoked_result_leaves_its_trace(
    inspector: CacheInspector, storage: Storage
) -> None:
    key = result_key("main", ACTION)
    row = await storage.parts.results.find(key)
    assert row is not None
    await storage.parts.results.remove(key, row, Removal(7, CacheState.REVOKED))
    assert await inspector.explain("main", ACTION) == CacheFinding(CacheState.ABSENT)
    assert await inspector.last_removal("main", ACTION) == CacheFinding(CacheState.REVOKED, 7)
