"""What every ActionCache that checks its results must do; a new one adds one line to FACTORIES."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.stores.metrics import MirrorMetrics, TierMetrics
from reapi.cas.stores.mirrored import MirroredStore
from reapi.cas.stores.mirrored_results import MirroredResults
from reapi.cas.stores.paid_results import PaidResults
from reapi.cas.stores.sharded import Shard, ShardedStore
from reapi.cas.stores.sharded_results import ShardedResults
from reapi.cas.stores.write_back import WriteBackStore
from reapi.clients.action_cache import RemoteActionCache
from reapi.clients.channel import Channel
from reapi.core.digest import digest_of
from reapi.core.errors import BlobsMissing, FailedPrecondition, InvalidArgument, NotFound
from reapi.core.interfaces import ActionCache, BlobStore
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.contracts import production_storages
from tests.fakes.local_storage import local_storage, serving
from tests.fakes.memory_store import MemoryBlobStore
from tests.fakes.results import result_of


class Caches(NamedTuple):
    """An action cache, and the blobs that its results name."""

    results: ActionCache
    blobs: BlobStore


@asynccontextmanager
async def _local(path: Path) -> AsyncIterator[Caches]:
    async with local_storage(path) as storage:
        yield Caches(storage.action_cache, storage.blobs)


@asynccontextmanager
async def _remote(path: Path) -> AsyncIterator[Caches]:
    async with (
        local_storage(path) as storage,
        serving(storage) as address,
        Channel(address) as channel,
    ):
        yield Caches(RemoteActionCache(channel), storage.blobs)


@asynccontextmanager
async def _mirrored(path: Path) -> AsyncIterator[Caches]:
    async with (
        local_storage(path / "first") as first,
        local_storage(path / "second") as second,
        MirroredStore(first.blobs, second.blobs, MirrorMetrics(CollectorRegistry())) as blobs,
    ):
        yield Caches(MirroredResults([first.action_cache, second.action_cache]), blobs)


@asynccontextmanager
async def _sharded(path: Path) -> AsyncIterator[Caches]:
    async with AsyncExitStack() as stack:
        names = ("one", "two", "three")
        storages = {
            name: await stack.enter_async_context(local_storage(path / name)) for name in names
        }
        shards = [Shard(name, 1, storage.blobs) for name, storage in storages.items()]
        caches = {name: storage.action_cache for name, storage in storages.items()}
        blobs = ShardedStore(shards)
        yield Caches(ShardedResults(shards, caches, blobs), blobs)


@asynccontextmanager
async def _paid(path: Path) -> AsyncIterator[Caches]:
    async with (
        local_storage(path / "slow") as slow,
        WriteBackStore(
            MemoryBlobStore(),
            slow.blobs,
            path / "owed.db",
            TierMetrics(CollectorRegistry()),
            max_owed_bytes=1_000_000,
            renew_seconds=600,
        ) as blobs,
    ):
        yield Caches(PaidResults(slow.action_cache, blobs), blobs)


FACTORIES: dict[str, Callable[[Path], AbstractAsyncContextManager[Caches]]] = {
    "local": _local,
    "remote": _remote,
    "mirrored": _mirrored,
    "sharded": _sharded,
    "paid": _paid,
}


@asynccontextmanager
async def _of_production(
    open_storage: production_storages.Open, path: Path
) -> AsyncIterator[Caches]:
    async with open_storage(path) as storage:
        yield Caches(storage.action_cache, storage.blobs)


ACTION = digest_of(b"an action")
OUTPUT = b"an output"


@pytest.fixture(params=[*FACTORIES, *production_storages.PARAMS])
async def caches(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Caches]:
    factory = FACTORIES.get(request.param)
    if factory is None:
        factory = partial(_of_production, production_storages.opener(request, request.param))
    async with factory(tmp_path) as made:
        yield made


async def test_what_was_put_is_got_back(caches: Caches) -> None:
    await caches.blobs.write_many({digest_of(OUTPUT): OUTPUT})
    stored = await caches.results.put("", ACTION, result_of(OUTPUT))
    got = await caches.results.get("", ACTION)
    assert got == stored
    assert got.output_files == result_of(OUTPUT).output_files


async def test_an_unknown_action_is_not_found(caches: Caches) -> None:
    with pytest.raises(NotFound):
        await caches.results.get("", ACTION)


async def test_a_later_result_takes_the_place_of_an_earlier_one(caches: Caches) -> None:
    await caches.blobs.write_many({digest_of(OUTPUT): OUTPUT, digest_of(b"2"): b"2"})
    await caches.results.put("", ACTION, result_of(OUTPUT))
    await caches.results.get("", ACTION)
    await caches.results.put("", ACTION, result_of(b"2"))
    got = await caches.results.get("", ACTION)
    assert got.output_files == result_of(b"2").output_files


async def test_D11_instances_do_not_share_results(caches: Caches) -> None:
    await caches.results.put("main", ACTION, re_pb2.ActionResult(exit_code=1))
    with pytest.raises(NotFound):
        await caches.results.get("", ACTION)


async def test_a_result_whose_blobs_are_absent_is_refused(caches: Caches) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await caches.results.put("", ACTION, result_of(OUTPUT))
    assert isinstance(caught.value, BlobsMissing)
    assert caught.value.subjects == (digest_of(OUTPUT).subject,)
    with pytest.raises(NotFound):
        await caches.results.get("", ACTION)


async def test_a_malformed_result_is_refused(caches: Caches) -> None:
    result = result_of(OUTPUT)
    result.output_files[0].path = "/absolute"
    with pytest.raises(InvalidArgument):
        await caches.results.put("", ACTION, result)
