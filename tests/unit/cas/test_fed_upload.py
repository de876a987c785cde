"""Uploads into a store without an index: its bytes pass on at once, and may break off anywhere."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reapi.cas.fed_upload import FedUploads
from reapi.cas.stores.feed import FEED_BYTES
from reapi.cas.upload import Uploads
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import InvalidArgument, Unavailable
from tests.fakes.memory_store import MemoryBlobStore

DATA = bytes(range(256)) * 20_000
HALF = len(DATA) // 2


class WatchedStore(MemoryBlobStore):
    """Says how many writes have begun; its writes may be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.returned = asyncio.Event()
        """Set after a write that found the blob."""

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        self.begun += 1
        await self.gate.wait()
        if digest in self.blobs:
            asyncio.get_running_loop().call_soon(self.returned.set)
            return
        await super().write(digest, chunks)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


def uploads_of(store: WatchedStore) -> Uploads:
    return Uploads(FedUploads(store), deadline_seconds=600, idle_seconds=600, most_idle=2)


async def begin(uploads: Uploads, name: str, data: bytes) -> None:
    """A stream that brings that much and breaks off."""
    async with uploads.stream(name, digest_of(DATA)) as stream:
        await stream.append(data)


async def write(uploads: Uploads, data: bytes) -> None:
    async with uploads.stream("name", digest_of(DATA)) as stream:
        await stream.append(data)
        await stream.complete()


async def test_a_broken_upload_goes_on_in_the_same_write(store: WatchedStore) -> None:
    uploads = uploads_of(store)
    await begin(uploads, "name", DATA[:HALF])
    assert uploads.received_bytes("name") == HALF
    async with uploads.stream("name", digest_of(DATA)) as stream:
        await stream.append(memoryview(DATA)[HALF:])
        await stream.complete()
    assert store.blobs[digest_of(DATA)] == DATA
    assert store.begun == 1


@pytest.mark.parametrize("data", [DATA + b"more", DATA[1:], b"x" + DATA[1:]])
async def test_wrong_bytes_are_refused_and_leave_nothing(store: WatchedStore, data: bytes) -> None:
    uploads = uploads_of(store)
    with pytest.raises(InvalidArgument):
        await write(uploads, data)
    assert not store.blobs
    assert uploads.received_bytes("name") == 0


async def test_an_error_of_the_store_ends_the_upload(store: WatchedStore) -> None:
    store.error = Unavailable("down")
    uploads = uploads_of(store)
    with pytest.raises(Unavailable):
        await write(uploads, DATA)
    assert uploads.received_bytes("name") == 0


async def test_BS17_a_store_that_has_the_blob_already_takes_no_more(store: WatchedStore) -> None:
    uploads = uploads_of(store)
    store.blobs[digest_of(DATA)] = DATA
    async with uploads.stream("name", digest_of(DATA)) as stream:
        assert await stream.append(DATA[:1])
        await store.returned.wait()
        assert not await stream.append(DATA[1:2])


async def test_a_slow_store_holds_the_client_up(store: WatchedStore) -> None:
    uploads = uploads_of(store)
    store.gate.clear()
    async with uploads.stream("name", digest_of(DATA)) as stream:
        appending = asyncio.create_task(stream.append(DATA[: FEED_BYTES + 1]))
        await asyncio.wait((appending,), timeout=0)
        assert not appending.done()
        store.gate.set()
        assert await appending


async def test_uploads_that_wait_are_few_and_leave_nothing(store: WatchedStore) -> None:
    uploads = uploads_of(store)
    for name in "abc":
        await begin(uploads, name, DATA[:HALF])
    assert [uploads.received_bytes(name) for name in "abc"] == [0, HALF, HALF]
    await uploads.aclose()
    assert not store.blobs
