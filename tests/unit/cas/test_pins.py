"""Blobs of a live invocation stay, bounded by time and by a share of the store (CAS2)."""

import logging
import random
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.storage import Storage
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import ResourceExhausted
from reapi.core.request_metadata import REQUEST_METADATA_KEY
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.call import FakeCall, call_of
from tests.fakes.local_storage import ManualClock, local_storage, serving
from tests.fakes.raw_client import raw_client

HOUR = 3600
RETENTION_SECONDS = 24 * HOUR
SIZE = 10_000
COUNT = 10
MAX_BYTES = COUNT * SIZE


def blob(number: int) -> bytes:
    return random.Random(number).randbytes(SIZE)


async def write(storage: Storage, *numbers: int) -> list[Digest]:
    blobs = {digest_of(data): data for data in map(blob, numbers)}
    for failure in (await storage.blobs.write_many(blobs)).values():
        raise failure
    return list(blobs)


async def note(storage: Storage, *invocation_ids: str) -> None:
    for invocation_id in invocation_ids:
        storage.invocations.note(call_of(invocation_id))
    await storage.invocations.aclose()


async def live_for(storage: Storage, clock: ManualClock, hours: int, *invocations: str) -> None:
    """So much time passes, and the invocations call every hour."""
    for _ in range(hours):
        clock.seconds += HOUR
        await note(storage, *invocations)


async def present(storage: Storage, digests: list[Digest]) -> set[Digest]:
    """Without touching them."""
    return set(await storage.blobs.read_many(digests))


def pinned_storage(path: Path, clock: ManualClock, **settings: Any) -> Any:
    defaults: dict[str, Any] = {"max_size_bytes": MAX_BYTES, "memory_bytes": 0, "pin_max_share": 1}
    return local_storage(path, clock=clock, **(defaults | settings))


async def test_blobs_of_a_live_invocation_stay_beyond_their_retention(tmp_path: Path) -> None:
    clock = ManualClock()
    async with pinned_storage(tmp_path, clock) as storage:
        await note(storage, "build")
        digests = await write(storage, *range(COUNT))
        await live_for(storage, clock, 50, "build")
        with pytest.raises(ResourceExhausted) as caught:
            await write(storage, 99)
        assert 0 < (caught.value.retry_after_seconds or 0) <= 60
        assert await present(storage, digests) == set(digests)
        clock.seconds += HOUR + 61  # it has ended
        await write(storage, 99)
        assert len(await present(storage, digests)) < COUNT


async def test_a_blob_touched_in_the_same_hour_before_the_invocation_began_stays(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    clock.seconds -= clock.seconds % HOUR
    async with pinned_storage(tmp_path, clock) as storage:
        digests = await write(storage, *range(COUNT))
        clock.seconds += HOUR - 1
        await note(storage, "build")
        assert await storage.blobs.find_missing(digests) == []  # no touch is needed, and none made
        await live_for(storage, clock, 40, "build")
        with pytest.raises(ResourceExhausted):
            await write(storage, 99)
        assert await present(storage, digests) == set(digests)


async def test_what_was_used_before_the_invocation_began_makes_room(tmp_path: Path) -> None:
    clock = ManualClock()
    async with pinned_storage(tmp_path, clock) as storage:
        old = await write(storage, 0, 1)
        clock.seconds += 3 * HOUR
        await note(storage, "build")
        new = await write(storage, *range(2, COUNT))
        await live_for(storage, clock, 40, "build")
        await write(storage, 99)
        assert len(await present(storage, old)) < 2
        assert await present(storage, new) == set(new)


async def test_pins_never_shorten_a_retention(tmp_path: Path) -> None:
    clock = ManualClock()
    async with pinned_storage(tmp_path, clock, pin_max_share=0.0) as storage:
        await note(storage, "build")
        digests = await write(storage, *range(COUNT))
        await live_for(storage, clock, 20, "build")
        with pytest.raises(ResourceExhausted):
            await write(storage, 99)
        assert await present(storage, digests) == set(digests)


async def test_pins_end_after_their_longest_time(tmp_path: Path) -> None:
    clock = ManualClock()
    async with pinned_storage(tmp_path, clock, pin_max_seconds=30 * HOUR) as storage:
        await note(storage, "daemon")
        digests = await write(storage, *range(COUNT))
        await live_for(storage, clock, 29, "daemon")
        with pytest.raises(ResourceExhausted):
            await write(storage, 99)
        await live_for(storage, clock, 2, "daemon")
        await write(storage, 99)
        assert len(await present(storage, digests)) < COUNT


async def test_the_oldest_invocations_lose_their_pins_when_they_take_too_much(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    registry = CollectorRegistry()
    async with pinned_storage(tmp_path, clock, pin_max_share=0.5, registry=registry) as storage:
        await note(storage, "first")
        first = await write(storage, *range(5))
        await live_for(storage, clock, 3, "first")
        await note(storage, "second")
        second = await write(storage, *range(5, COUNT))
        await live_for(storage, clock, 40, "first", "second")
        with caplog.at_level(logging.WARNING):
            await write(storage, 98)
            await live_for(storage, clock, 1, "first", "second")
            await write(storage, 99)
        assert [record.args[0] for record in caplog.records if record.args] == ["first"]
        assert registry.get_sample_value("reapi_storage_unpinned_invocations_total") == 1
        assert len(await present(storage, first)) < 5
        assert await present(storage, second) == set(second)


async def test_invocations_of_all_processes_count(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        pinned_storage(tmp_path, clock, processes=2) as first,
        pinned_storage(tmp_path, clock, processes=2, member=1) as second,
    ):
        await note(second, "build")
        digests = await write(second, *range(COUNT))
        await live_for(second, clock, 40, "build")
        with pytest.raises(ResourceExhausted):
            await write(first, 99)
        assert await present(first, digests) == set(digests)


async def test_calls_of_real_clients_are_noted(tmp_path: Path) -> None:
    async with (
        local_storage(tmp_path) as storage,
        serving(storage) as address,
        raw_client(address) as client,
    ):
        call = call_of("build")
        metadata = [(REQUEST_METADATA_KEY, call.metadata[REQUEST_METADATA_KEY])]
        request = re_pb2.FindMissingBlobsRequest()
        await client.cas.FindMissingBlobs(request, metadata=metadata)
        await storage.invocations.aclose()
        assert [one.invocation_id for one in await storage.invocations.live()] == ["build"]


@pytest.mark.parametrize("is_invocation", [True, False])
async def test_clients_are_invocations_and_parts_of_a_server_are_none(
    tmp_path: Path, is_invocation: bool
) -> None:
    async with (
        local_storage(tmp_path) as storage,
        serving(storage) as address,
        Channel(address, is_invocation=is_invocation) as channel,
    ):
        await RemoteBlobStore(channel).find_missing([digest_of(b"x")])
        await storage.invocations.aclose()
        assert len(await storage.invocations.live()) == is_invocation


async def test_nonsense_about_invocations_is_ignored_and_bounded(tmp_path: Path) -> None:
    async with local_storage(tmp_path) as storage:
        for header in (b"\xff\xff", b"", "text"):
            storage.invocations.note(FakeCall(metadata={REQUEST_METADATA_KEY: header}))
        storage.invocations.note(FakeCall())
        await note(storage, "", "x" * 5000)
        for number in range(30_000):
            storage.invocations.note(call_of(f"flood-{number}"))
        await storage.invocations.aclose()
        assert len(await storage.invocations.live()) == 10_000
        assert len(storage.invocations._noted) <= 10_000
        assert len(storage.invocations._ids) <= 10_000
