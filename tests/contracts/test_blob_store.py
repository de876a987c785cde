"""What every BlobStore must do; a new one adds one line to FACTORIES.

Those over servers of others are in production_storages.py.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.core.digest import (
    BLAKE3,
    DIGEST_FUNCTIONS,
    SHA256,
    Digest,
    DigestFunction,
    digest_of,
)
from reapi.core.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from reapi.core.interfaces import BlobStore
from tests.cancelling import STEPS, cancel_after
from tests.contracts import production_storages
from tests.contracts.combined_stores import COMBINED
from tests.fakes.local_storage import INLINE_MAX_BYTES, ManualClock, local_storage, serving
from tests.fakes.memory_store import MemoryBlobStore


@asynccontextmanager
async def _memory(path: Path) -> AsyncIterator[BlobStore]:
    yield MemoryBlobStore()


@asynccontextmanager
async def _local(path: Path) -> AsyncIterator[BlobStore]:
    async with local_storage(path) as storage:
        yield storage.blobs


@asynccontextmanager
async def _remote(path: Path) -> AsyncIterator[BlobStore]:
    async with (
        local_storage(path) as storage,
        serving(storage) as address,
        Channel(address) as channel,
    ):
        yield RemoteBlobStore(channel, "main")


FACTORIES: dict[str, Callable[[Path], AbstractAsyncContextManager[BlobStore]]] = {
    "memory": _memory,
    "local": _local,
    "remote": _remote,
    **COMBINED,
}
STORES = [*FACTORIES, *production_storages.PARAMS]
OVER_GRPC = ("remote", "local over remote", "sharded")
"""All or part of the store: a server may still be at it when a call of its client was cancelled."""


def store_opener(
    request: pytest.FixtureRequest, name: str
) -> Callable[[Path], AbstractAsyncContextManager[BlobStore]]:
    """How to open a store of that name in a directory."""
    if name in FACTORIES:
        return FACTORIES[name]
    open_storage = production_storages.opener(request, name)

    @asynccontextmanager
    async def opened(path: Path) -> AsyncIterator[BlobStore]:
        async with open_storage(path) as storage:
            yield storage.blobs

    return opened


class Deleting(NamedTuple):
    """A store, and what makes it delete a blob that it has promised to nobody any more."""

    store: BlobStore
    delete: Callable[[Digest], Awaitable[None]]


@asynccontextmanager
async def _deleting_memory(path: Path) -> AsyncIterator[Deleting]:
    store = MemoryBlobStore()

    async def delete(digest: Digest) -> None:
        await asyncio.sleep(0)
        store.blobs.pop(digest, None)

    yield Deleting(store, delete)


@asynccontextmanager
async def _evicting(
    path: Path, open_storage: production_storages.Open = local_storage
) -> AsyncIterator[Deleting]:
    clock = ManualClock()
    async with open_storage(path, clock=clock, max_size_bytes=5_000_000) as storage:
        fillers = itertools.count()

        async def delete(digest: Digest) -> None:
            """Makes others need the room, once its time is over, who then leave too."""
            clock.seconds += 48 * 3600
            for filler in itertools.islice(fillers, 6):
                data = bytes([filler]) * 1_200_000
                await storage.blobs.write_many({digest_of(data): data})
            clock.seconds += 48 * 3600

        yield Deleting(storage.blobs, delete)


DELETING_FACTORIES: dict[str, Callable[[Path], AbstractAsyncContextManager[Deleting]]] = {
    "memory": _deleting_memory,
    "local": _evicting,
}


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    async with store_opener(request, request.param)(tmp_path) as made:
        yield made


SIZES = [1, INLINE_MAX_BYTES, INLINE_MAX_BYTES + 1, 3_000_000]
"""Inline, the largest inline, the smallest file, several chunks."""

EMPTY = digest_of(b"")
ABSENT = digest_of(b"never written")


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def chunks(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read_all(store: BlobStore, digest: Digest, **options: int) -> bytes:
    return b"".join([chunk async for chunk in store.read(digest, **options)])


class TestFindMissing:
    async def test_absent_blobs_come_back_once_in_the_order_given(self, store: BlobStore) -> None:
        there = digest_of(b"there")
        await store.write_many({there: b"there"})
        other = digest_of(b"also absent")
        assert await store.find_missing([other, there, ABSENT, other]) == [other, ABSENT]

    async def test_nothing_is_missing_of_nothing(self, store: BlobStore) -> None:
        assert await store.find_missing([]) == []

    async def test_G3_the_empty_blob_is_never_missing(self, store: BlobStore) -> None:
        assert await store.find_missing([EMPTY]) == []

    async def test_G1_the_right_hash_with_the_wrong_size_is_missing(self, store: BlobStore) -> None:
        digest = digest_of(b"there")
        await store.write_many({digest: b"there"})
        wrong = digest._replace(size_bytes=6)
        assert await store.find_missing([wrong]) == [wrong]

    async def test_thousands_of_digests_are_answered(self, store: BlobStore) -> None:
        blobs = {digest_of(data): data for data in (b"%d" % number for number in range(2500))}
        await store.write_many(blobs)
        absent = [digest_of(b"absent %d" % number) for number in range(2500)]
        mixed = [digest for pair in zip(blobs, absent, strict=True) for digest in pair]
        assert await store.find_missing(mixed) == absent


class TestDigestFunctions:
    @pytest.mark.parametrize("size", SIZES)
    async def test_D11_equal_bytes_under_two_functions_are_two_blobs(
        self, store: BlobStore, size: int
    ) -> None:
        data = content(size)
        one, other = digest_of(data, SHA256), digest_of(data, BLAKE3)
        await store.write_many({one: data})
        assert await store.find_missing([one, other]) == [other]
        assert await store.read_many([one, other]) == {one: data}
        await store.write(other, chunks(data))
        assert await store.find_missing([one, other]) == []
        assert await store.read_many([one, other]) == {one: data, other: data}
        assert await read_all(store, one) == await read_all(store, other) == data

    async def test_D11_a_hash_is_of_its_own_function_only(self, store: BlobStore) -> None:
        digest = digest_of(b"there", SHA256)
        await store.write_many({digest: b"there"})
        misread = digest._replace(function=BLAKE3)
        assert await store.find_missing([misread]) == [misread]
        assert set(await store.write_many({misread: b"there"})) == {misread}

    @pytest.mark.parametrize("function", DIGEST_FUNCTIONS, ids=lambda function: function.name)
    async def test_blobs_of_every_function_are_kept(
        self, store: BlobStore, function: DigestFunction
    ) -> None:
        assert await store.find_missing([digest_of(b"", function)]) == []
        for size in SIZES:
            data = content(size)
            digest = digest_of(data, function)
            with pytest.raises(InvalidArgument):
                await store.write(digest, chunks(b"!" + data[1:]))
            await store.write(digest, chunks(data))
            assert await read_all(store, digest) == data
            assert await store.write_many({digest: data}) == {}


class TestWriteMany:
    @pytest.mark.parametrize("size", SIZES)
    async def test_what_was_written_is_read_back(self, store: BlobStore, size: int) -> None:
        data = content(size)
        digest = digest_of(data)
        assert await store.write_many({digest: data}) == {}
        assert await store.find_missing([digest]) == []
        assert await read_all(store, digest) == data
        assert await store.read_many([digest]) == {digest: data}

    async def test_one_bad_blob_fails_none_of_the_others(self, store: BlobStore) -> None:
        good, large = content(10), content(INLINE_MAX_BYTES + 1)
        blobs = {
            digest_of(good): good,
            ABSENT: b"other bytes",
            digest_of(large): large,
            digest_of(content(2000)): content(2001)[:2000],
        }
        failures = await store.write_many(blobs)
        assert set(failures) == {ABSENT, digest_of(content(2000))}
        assert all(isinstance(failure, InvalidArgument) for failure in failures.values())
        assert await store.find_missing(blobs) == [ABSENT, digest_of(content(2000))]

    @pytest.mark.parametrize("size", SIZES)
    async def test_writing_a_present_blob_again_succeeds(self, store: BlobStore, size: int) -> None:
        data = content(size)
        digest = digest_of(data)
        for _ in range(2):
            assert await store.write_many({digest: data}) == {}
        assert await read_all(store, digest) == data

    async def test_the_empty_blob_may_be_written(self, store: BlobStore) -> None:
        assert await store.write_many({EMPTY: b""}) == {}

    async def test_nothing_may_be_written(self, store: BlobStore) -> None:
        assert await store.write_many({}) == {}


class TestReadMany:
    async def test_absent_blobs_are_left_out(self, store: BlobStore) -> None:
        data = content(5)
        await store.write_many({digest_of(data): data})
        found = await store.read_many([ABSENT, digest_of(data), EMPTY, digest_of(data)])
        assert found == {digest_of(data): data, EMPTY: b""}


class TestRead:
    @pytest.mark.parametrize("size", SIZES)
    async def test_a_part_is_what_offset_and_limit_say(self, store: BlobStore, size: int) -> None:
        data = content(size)
        digest = digest_of(data)
        await store.write_many({digest: data})
        for offset in {0, 1, size // 2, size - 1, size}:
            for limit in (None, 1, size, 2 * size):
                end = size if limit is None else offset + limit
                options = {} if limit is None else {"limit": limit}
                assert await read_all(store, digest, offset=offset, **options) == data[offset:end]

    async def test_an_absent_blob_is_not_found(self, store: BlobStore) -> None:
        for digest in (ABSENT, Digest(ABSENT.hash, 5_000_000)):
            with pytest.raises(NotFound):
                await read_all(store, digest)

    async def test_G3_the_empty_blob_is_read_though_never_written(self, store: BlobStore) -> None:
        assert await read_all(store, EMPTY) == b""

    async def test_a_reader_may_stop_early(self, store: BlobStore) -> None:
        data = content(3_000_000)
        digest = digest_of(data)
        await store.write_many({digest: data})
        async with aclosing(store.read(digest)) as reader:
            first = await anext(reader)
        assert data.startswith(first)
        assert await read_all(store, digest) == data


class TestWrite:
    @pytest.mark.parametrize("size", [0, *SIZES])
    async def test_chunks_become_one_blob(self, store: BlobStore, size: int) -> None:
        data = content(size)
        digest = digest_of(data)
        await store.write(digest, chunks(data, 70_000))
        assert await store.find_missing([digest]) == []
        assert await read_all(store, digest) == data

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("change", ["shorter", "longer", "other"])
    async def test_write_of_wrong_bytes_is_rejected_and_leaves_nothing(
        self, store: BlobStore, size: int, change: str
    ) -> None:
        data = content(size)
        digest = digest_of(data)
        wrong = {"shorter": data[:-1], "longer": data + b"!", "other": b"!" + data[1:]}[change]
        with pytest.raises(InvalidArgument):
            await store.write(digest, chunks(wrong))
        assert await store.find_missing([digest]) == [digest]
        await store.write(digest, chunks(data))
        assert await read_all(store, digest) == data

    @pytest.mark.parametrize("size", [900, 3_000_000])
    async def test_a_source_that_fails_leaves_nothing(self, store: BlobStore, size: int) -> None:
        data = content(size)
        digest = digest_of(data)

        async def failing() -> AsyncIterator[bytes]:
            yield data[: size // 2]
            raise ConnectionError("the source is gone")

        with pytest.raises(ConnectionError):
            await store.write(digest, failing())
        assert await store.find_missing([digest]) == [digest]

    @pytest.mark.parametrize("size", [900, 3_000_000])
    async def test_cancelling_leaves_nothing_visible(self, store: BlobStore, size: int) -> None:
        data = content(size)
        digest = digest_of(data)
        half_way = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            yield data[: size // 2]
            half_way.set()
            await asyncio.get_running_loop().create_future()

        writing = asyncio.create_task(store.write(digest, stalling()))
        await half_way.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await store.find_missing([digest]) == [digest]

    @pytest.mark.parametrize("size", [900, INLINE_MAX_BYTES + 1])
    @pytest.mark.parametrize("name", [name for name in STORES if name not in OVER_GRPC])
    async def test_what_a_cancelled_write_stores_is_there_at_once(
        self, request: pytest.FixtureRequest, tmp_path: Path, name: str, size: int
    ) -> None:
        contents = [bytes([step]) * size for step in range(STEPS)]
        digests = list(map(digest_of, contents))
        missing = []
        async with store_opener(request, name)(tmp_path) as store:
            for step, (digest, data) in enumerate(zip(digests, contents, strict=True)):
                if step % 2:
                    await cancel_after(step, store.write(digest, chunks(data)))
                else:
                    await cancel_after(step, store.write_many({digest: data}))
                missing += await store.find_missing([digest])
            await store.write_many({digest_of(b"later"): b"later"})
            assert await store.find_missing(digests) == missing

    async def test_BS19_concurrent_writes_of_one_blob_all_succeed(self, store: BlobStore) -> None:
        for size in SIZES:
            data = content(size)
            digest = digest_of(data)
            await asyncio.gather(
                *(store.write(digest, chunks(data)) for _ in range(4)),
                *(store.write_many({digest: data}) for _ in range(4)),
            )
            assert await read_all(store, digest) == data

    @pytest.mark.parametrize("size", [900, 3_000_000])
    async def test_cancelling_one_writer_spoils_nothing_for_another(
        self, store: BlobStore, size: int
    ) -> None:
        data = content(size)
        digest = digest_of(data)
        half_way = [asyncio.Event(), asyncio.Event()]
        may_go_on = asyncio.Event()

        async def pausing(arrived: asyncio.Event) -> AsyncIterator[bytes]:
            yield data[: size // 2]
            arrived.set()
            await may_go_on.wait()
            yield data[size // 2 :]

        cancelled, staying = (
            asyncio.create_task(store.write(digest, pausing(arrived))) for arrived in half_way
        )
        for arrived in half_way:
            await arrived.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await store.find_missing([digest]) == [digest]
        may_go_on.set()
        await staying
        assert await store.find_missing([digest]) == []
        assert await read_all(store, digest) == data

    @pytest.mark.parametrize("size", [900, 3_000_000])
    async def test_a_writer_of_wrong_bytes_spoils_nothing_for_another(
        self, store: BlobStore, size: int
    ) -> None:
        data = content(size)
        digest = digest_of(data)
        outcomes = await asyncio.gather(
            store.write(digest, chunks(data)),
            store.write(digest, chunks(b"!" + data[1:])),
            store.write(digest, chunks(data)),
            return_exceptions=True,
        )
        # One that came later may have been told that the blob is there, its bytes unseen.
        assert [outcomes[0], outcomes[2]] == [None, None]
        assert outcomes[1] is None or isinstance(outcomes[1], InvalidArgument)
        assert await read_all(store, digest) == data

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_blob_is_read_while_it_is_written_again(
        self, store: BlobStore, size: int
    ) -> None:
        data = content(size)
        digest = digest_of(data)
        await store.write_many({digest: data})
        outcomes = await asyncio.gather(
            *(read_all(store, digest) for _ in range(3)),
            store.write(digest, chunks(data)),
            store.write_many({digest: data}),
            *(read_all(store, digest) for _ in range(3)),
        )
        assert [outcome for outcome in outcomes if isinstance(outcome, bytes)] == [data] * 6


class TestDeletion:
    """Where a store can be made to delete what it holds."""

    @pytest.fixture(params=[*DELETING_FACTORIES, *production_storages.PARAMS])
    async def deleting(
        self, request: pytest.FixtureRequest, tmp_path: Path
    ) -> AsyncIterator[Deleting]:
        factory = DELETING_FACTORIES.get(request.param)
        if factory is None:
            open_storage = production_storages.opener(request, request.param)
            factory = partial(_evicting, open_storage=open_storage)
        async with factory(tmp_path) as made:
            yield made

    @pytest.mark.parametrize("size", SIZES)
    async def test_what_was_deleted_is_missing_and_may_be_written_again(
        self, deleting: Deleting, size: int
    ) -> None:
        data = content(size)
        digest = digest_of(data)
        await deleting.store.write(digest, chunks(data))
        await deleting.delete(digest)
        assert await deleting.store.find_missing([digest]) == [digest]
        assert await deleting.store.read_many([digest]) == {}
        with pytest.raises(NotFound):
            await read_all(deleting.store, digest)
        await deleting.store.write(digest, chunks(data))
        assert await read_all(deleting.store, digest) == data

    @pytest.mark.parametrize("size", [INLINE_MAX_BYTES + 1, 3_000_000])
    async def test_a_reader_during_deletion_gets_right_bytes_or_data_loss(
        self, deleting: Deleting, size: int
    ) -> None:
        data = content(size)
        digest = digest_of(data)
        await deleting.store.write(digest, chunks(data))
        read = b""
        with suppress(DataLoss):  # and never NotFound, after the first chunk
            async with aclosing(deleting.store.read(digest)) as reader:
                read = await anext(reader)
                await deleting.delete(digest)
                async for chunk in reader:
                    read += chunk
            assert read == data
        assert data.startswith(read)

    async def test_writers_during_deletion_are_not_deceived(self, deleting: Deleting) -> None:
        data = content(3_000_000)
        digest = digest_of(data)
        for _ in range(5):
            await deleting.store.write(digest, chunks(data))
            outcomes = await asyncio.gather(
                deleting.delete(digest),
                deleting.store.write(digest, chunks(data)),
                deleting.store.write_many({digest: data}),
                return_exceptions=True,
            )
            assert outcomes[0] is None
            assert outcomes[1] is None or isinstance(outcomes[1], ResourceExhausted)
            if not await deleting.store.find_missing([digest]):
                assert await read_all(deleting.store, digest) == data
