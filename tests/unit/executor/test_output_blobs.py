"""Outputs are sent in batches of bounded size, while others are being read, and only if absent."""

import asyncio
import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from reapi.core.digest import SHA256, Digest, digest_of
from reapi.core.errors import Internal, ReapiError, Unavailable
from reapi.executor.output_blobs import OutputBlobs
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.harness import impatient

SIZE = 500_000
"""Seven of them fill a batch."""


class RecordingStore(MemoryBlobStore):
    """Knows which blobs came together, and can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[Digest]] = []
        self.has_begun = threading.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        self.batches.append(list(blobs))
        self.has_begun.set()
        await self.open.wait()
        return await super().write_many(blobs)


def data(number: int) -> bytes:
    return bytes([number]) * SIZE


async def test_a_few_small_outputs_are_one_call() -> None:
    store = MemoryBlobStore()
    async with OutputBlobs(SHA256) as blobs:
        for number in (1, 2, 2, 1):
            blobs.add(data(number))
        blobs.add(b"")
        await blobs.upload(impatient(store))
    assert set(store.blobs.values()) == {data(1), data(2)}
    assert store.call_counts == {"write_many": 1}


async def test_many_small_outputs_come_in_batches_of_bounded_size() -> None:
    store = RecordingStore()
    async with OutputBlobs(SHA256) as blobs:
        for number in range(20):
            blobs.add(data(number))
        await blobs.upload(impatient(store))
    assert [len(batch) for batch in store.batches] == [6, 6, 6, 2]


async def test_what_the_store_has_is_not_sent_again() -> None:
    store = RecordingStore()
    for number in range(15):
        store.add(data(number))
    async with OutputBlobs(SHA256) as blobs:
        for number in range(20):
            blobs.add(data(number))
        await blobs.upload(impatient(store))
    assert store.batches == [[digest_of(data(number)) for number in range(15, 20)]]


async def test_a_large_output_that_the_store_has_is_not_sent_again(tmp_path: Path) -> None:
    store = MemoryBlobStore()
    store.add(bytes(3 << 20))
    (tmp_path / "large").write_bytes(bytes(3 << 20))
    async with OutputBlobs(SHA256) as blobs:
        blobs.add_file(partial(os.open, tmp_path / "large", os.O_RDONLY), 3 << 20)
        await blobs.upload(impatient(store))
    assert store.call_counts == {"find_missing": 1}


async def test_an_upload_begins_while_others_are_being_read() -> None:
    store = RecordingStore()

    def read() -> None:
        for number in range(8):
            blobs.add(data(number))
        assert store.has_begun.wait(timeout=60)
        blobs.add(b"last")

    async with OutputBlobs(SHA256) as blobs:
        blobs.upload_early(impatient(store))
        await asyncio.to_thread(read)
        await blobs.upload(impatient(store))
    assert set(store.blobs.values()) == {*map(data, range(8)), b"last"}
    sent = [digest for batch in store.batches for digest in batch]
    assert len(sent) == len(set(sent))


async def test_memory_is_bounded_however_slow_the_store_is(tmp_path: Path) -> None:
    store = RecordingStore()
    store.open.clear()
    digests = []

    def read() -> None:
        for number in range(60):
            path = tmp_path / str(number)
            path.write_bytes(data(number))
            digests.append(blobs.add_file(partial(os.open, path, os.O_RDONLY), SIZE))

    async with OutputBlobs(SHA256) as blobs:
        blobs.upload_early(impatient(store))
        await asyncio.to_thread(read)
        held = [digest for digest in digests if blobs.held(digest) is not None]
        assert len(held) == (16 << 20) // SIZE
        store.open.set()
        await blobs.upload(impatient(store))
        assert not any(map(blobs.held, digests))
    assert len(store.blobs) == 60


async def test_IN19_what_fails_early_is_raised_in_the_end() -> None:
    store = RecordingStore()
    store.write_error = Unavailable("the store is down")
    async with OutputBlobs(SHA256) as blobs:
        blobs.upload_early(impatient(store))
        await asyncio.to_thread(lambda: [blobs.add(data(number)) for number in range(30)])
        with pytest.raises(Unavailable):
            await blobs.upload(impatient(store))


async def test_leaving_without_waiting_cancels_what_is_under_way() -> None:
    store = RecordingStore()
    store.open.clear()
    async with OutputBlobs(SHA256) as blobs:
        blobs.upload_early(impatient(store))
        await asyncio.to_thread(lambda: [blobs.add(data(number)) for number in range(30)])
        await asyncio.to_thread(store.has_begun.wait)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not store.blobs


@pytest.mark.parametrize("size", [SIZE, 3 << 20])
async def test_an_output_that_changes_before_it_is_sent_is_an_error(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reapi.executor.output_blobs._HELD_BYTES", 0)
    path = tmp_path / "out"
    for change in (partial(path.write_bytes, b"other"), path.unlink):
        path.write_bytes(bytes(size))
        async with OutputBlobs(SHA256) as blobs:
            blobs.add_file(partial(os.open, path, os.O_RDONLY), size)
            change()
            with pytest.raises(Internal, match="changed after its command had ended"):
                await blobs.upload(impatient(MemoryBlobStore()))
