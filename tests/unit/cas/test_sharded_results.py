"""Results of which no shard has all blobs, and which no shard alone may give out."""

import pytest

from reapi.cas.stores.sharded import Shard, ShardedStore
from reapi.cas.stores.sharded_results import ShardedResults
from reapi.core.digest import digest_of
from reapi.core.errors import NotFound
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecutedActionMetadata,
)
from tests.fakes.memory_store import MemoryActionCache, MemoryBlobStore
from tests.fakes.results import result_of

ACTION = digest_of(b"an action")
OUTPUTS = [b"%d" % number for number in range(20)]


class Shards:
    """Three, with all outputs stored."""

    def __init__(self) -> None:
        self.stores = {name: MemoryBlobStore() for name in "abc"}
        self.caches = {name: MemoryActionCache() for name in "abc"}
        shards = [Shard(name, 1, store) for name, store in self.stores.items()]
        self.blobs = ShardedStore(shards)
        self.results = ShardedResults(shards, self.caches, self.blobs)

    async def put(self) -> ActionResult:
        await self.blobs.write_many({digest_of(output): output for output in OUTPUTS})
        result = result_of(*OUTPUTS)
        result.execution_metadata.worker = "a worker"
        return await self.results.put("", ACTION, result)


async def test_each_blob_and_each_result_is_stored_once() -> None:
    shards = Shards()
    stored = await shards.put()
    assert await shards.results.get("", ACTION) == stored
    assert sum(len(store.blobs) for store in shards.stores.values()) == len(OUTPUTS)
    assert sum(len(cache.results) for cache in shards.caches.values()) == 1


async def test_what_a_shard_has_is_not_under_the_name_of_the_action() -> None:
    shards = Shards()
    await shards.put()
    for cache in shards.caches.values():
        with pytest.raises(NotFound):
            await cache.get("", ACTION)


async def test_the_worker_of_a_result_is_known_to_its_shard() -> None:
    shards = Shards()
    await shards.put()
    (envelope,) = [each for cache in shards.caches.values() for each in cache.results.values()]
    assert envelope.execution_metadata.worker == "a worker"
    assert not envelope.output_files


async def test_a_result_that_has_lost_a_blob_is_a_miss() -> None:
    shards = Shards()
    await shards.put()
    for store in shards.stores.values():
        store.blobs.pop(digest_of(OUTPUTS[7]), None)
    with pytest.raises(NotFound):
        await shards.results.get("", ACTION)


async def test_what_is_no_envelope_is_a_miss() -> None:
    shards = Shards()
    await shards.put()
    for cache in shards.caches.values():
        for key in cache.results:
            cache.results[key] = ActionResult(execution_metadata=ExecutedActionMetadata())
    with pytest.raises(NotFound):
        await shards.results.get("", ACTION)
