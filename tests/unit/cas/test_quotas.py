"""Quotas of instances: what counts for whom, and who makes room."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reapi.cas.storage import Storage
from reapi.core.digest import digest_of
from reapi.core.errors import ReapiError, ResourceExhausted, error_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import WriteRequest
from tests.fakes.local_storage import ManualClock, local_storage, serving
from tests.fakes.raw_client import RawClient, raw_client

RETENTION_SECONDS = 24 * 3600
QUOTA = 50_000
ACTION = digest_of(b"an action")


@dataclass
class Served:
    """A storage in which the instance `main` has a quota, and a client of its server."""

    storage: Storage
    clock: ManualClock
    client: RawClient

    async def total(self, owner: str) -> int:
        return (await self.storage.blobs._index.total_bytes()).get(owner, 0)

    async def update(self, instance_name: str, *blobs: bytes) -> list[ReapiError]:
        """The failures of one BatchUpdateBlobs."""
        request = re_pb2.BatchUpdateBlobsRequest(instance_name=instance_name)
        for data in blobs:
            request.requests.add(digest=digest_of(data).to_message(), data=data)
        response = await self.client.cas.BatchUpdateBlobs(request)
        return [error_of(one.status) for one in response.responses if one.status.code]

    async def upload(self, instance_name: str, data: bytes) -> None:
        digest = digest_of(data)
        prefix = f"{instance_name}/" if instance_name else ""
        name = f"{prefix}uploads/u/blobs/{digest.hash}/{digest.size_bytes}"
        await self.client.bytestream.Write(
            [WriteRequest(resource_name=name, data=data, finish_write=True)]
        )

    async def present(self, *blobs: bytes) -> int:
        """How many of them are stored, without a touch."""
        entries = await self.storage.blobs._index.find([digest_of(data).key for data in blobs])
        return len(entries)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    clock = ManualClock()
    async with (
        local_storage(tmp_path, clock=clock, quotas={"main": QUOTA}, memory_bytes=0) as storage,
        serving(storage) as address,
        raw_client(address) as client,
    ):
        yield Served(storage, clock, client)


def blob(number: int, size: int = 10_000) -> bytes:
    return random.Random(number).randbytes(size)


async def test_all_kinds_of_writes_count_for_their_instance(served: Served) -> None:
    assert await served.update("main", blob(1, 500), blob(2, 5000)) == []
    assert await served.total("main") == 5500
    await served.upload("main", blob(3, 600))
    await served.upload("main", blob(4, 6000))
    assert await served.total("main") == 12_100
    result = re_pb2.ActionResult(stdout_raw=blob(5, 700), stderr_raw=blob(6, 7000))
    request = re_pb2.UpdateActionResultRequest(
        instance_name="main", action_digest=ACTION.to_message(), action_result=result
    )
    await served.client.action_cache.UpdateActionResult(request)
    assert await served.total("main") == 19_800
    await served.upload("", blob(7))
    assert await served.total("main") == 19_800
    assert await served.total("") == 10_000


async def test_a_blob_counts_for_the_first_who_stores_it(served: Served) -> None:
    await served.update("", blob(1))
    await served.update("main", blob(1))
    assert (await served.total(""), await served.total("main")) == (10_000, 0)


async def test_a_full_quota_is_named_and_hinders_nobody_else(served: Served) -> None:
    assert await served.update("main", *map(blob, range(5))) == []
    (failure,) = await served.update("main", blob(5))
    assert isinstance(failure, ResourceExhausted)
    assert "instance 'main' has used up its quota of 50000 bytes" in failure.message
    assert 0 < (failure.retry_after_seconds or 0) <= 60
    assert await served.update("", blob(5)) == []
    assert await served.update("main", blob(5)) == []  # it is here already


async def test_a_blob_that_no_quota_has_room_for_is_refused_at_once(served: Served) -> None:
    (failure,) = await served.update("main", bytes(QUOTA + 1))
    assert "can never fit: the quota of instance 'main' is 50000" in failure.message


async def test_eviction_for_a_quota_takes_blobs_of_that_instance_alone(served: Served) -> None:
    others = [blob(number) for number in range(10, 15)]
    await served.update("", *others)
    served.clock.seconds += 2 * 3600  # the others' are older
    owned = [blob(number) for number in range(5)]
    await served.update("main", *owned)
    result = re_pb2.ActionResult(exit_code=7)
    await served.storage.action_cache.put("", ACTION, result)
    await served.storage.action_cache.put("main", ACTION, result)
    served.clock.seconds += 2 * RETENTION_SECONDS
    assert await served.update("main", blob(5)) == []
    assert await served.present(*owned) == 4
    assert await served.present(*others) == 5
    for instance_name in ("", "main"):
        assert (await served.storage.action_cache.get(instance_name, ACTION)).exit_code == 7


async def test_the_wait_is_until_blobs_of_that_instance_may_go(served: Served) -> None:
    await served.update("", *(blob(number) for number in range(10, 15)))
    served.clock.seconds += 2 * RETENTION_SECONDS
    await served.update("main", *map(blob, range(5)))
    (failure,) = await served.update("main", blob(5))
    assert isinstance(failure, ResourceExhausted)
    assert failure.retry_after_seconds == 60  # not "at once", though others' could go at once
