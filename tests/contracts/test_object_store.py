"""What every ObjectStore must do; a new one adds one line to FACTORIES."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from reapi.cas.objects.compressed import ENDING, CompressedObjects
from reapi.cas.objects.disk import DiskObjects
from reapi.cas.objects.interface import CHUNK_BYTES, NoObject, ObjectInfo, ObjectStore
from reapi.cas.objects.names import object_name, parse_object_name
from reapi.core.digest import DIGEST_FUNCTIONS, Digest, digest_of
from tests.fakes.memory_objects import MemoryObjects


@dataclass(frozen=True, slots=True)
class Made:
    """A store, and how to change the stored bytes of an object behind its back."""

    store: ObjectStore
    damage: Callable[[str, bytes], Awaitable[None]]
    """(name, bytes) -> None: the bytes of that object are these from now on."""


@asynccontextmanager
async def _memory(path: Path) -> AsyncIterator[Made]:
    store = MemoryObjects()
    yield Made(store, _damage_in(store))


@asynccontextmanager
async def _compressed(path: Path) -> AsyncIterator[Made]:
    inner = MemoryObjects()
    with ThreadPoolExecutor(2) as threads:
        yield Made(CompressedObjects(inner, threads), _damage_in(inner))
    assert not inner.readers_at_work


@asynccontextmanager
async def _compressed_before(path: Path) -> AsyncIterator[Made]:
    """A store that has compressed earlier, and does so no more."""
    inner = MemoryObjects()
    with ThreadPoolExecutor(2) as threads:
        yield Made(CompressedObjects(inner, threads, compresses=False), _damage_in(inner))


@asynccontextmanager
async def _disk(path: Path) -> AsyncIterator[Made]:
    async def damage(name: str, data: bytes) -> None:
        file = path / "blobs" / name
        assert file.exists()
        file.write_bytes(data)

    with ThreadPoolExecutor(2) as threads:
        yield Made(DiskObjects(path, threads), damage)
    assert list((path / "incoming").iterdir()) == []


@asynccontextmanager
async def _synced_disk(path: Path) -> AsyncIterator[Made]:
    async def damage(name: str, data: bytes) -> None:
        (path / "blobs" / name).write_bytes(data)

    with ThreadPoolExecutor(2) as threads:
        objects = DiskObjects(path, threads, survives_power_loss=True)
        yield Made(CompressedObjects(objects, threads), damage)


def _damage_in(store: MemoryObjects) -> Callable[[str, bytes], Awaitable[None]]:
    async def damage(name: str, data: bytes) -> None:
        assert name in store.objects
        store.objects[name] = data

    return damage


FACTORIES: dict[str, Callable[[Path], AbstractAsyncContextManager[Made]]] = {
    "memory": _memory,
    "disk": _disk,
    "compressed on a synced disk": _synced_disk,
    "compressed": _compressed,
    "compressed before": _compressed_before,
}


@pytest.fixture(params=FACTORIES)
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Made]:
    async with FACTORIES[request.param](tmp_path) as each:
        yield each


@pytest.fixture
def store(made: Made) -> ObjectStore:
    return made.store


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def text(size: int) -> bytes:
    """Compresses well, and has no two parts that are the same."""
    lines = (b"line %d of a source file\n" % number for number in range(size // 20 + 1))
    return b"".join(lines)[:size]


CONTENTS = {
    f"{make.__name__} {size}": make(size)
    for make in (noise, text)
    for size in (1, 20_000, (256 << 10) + 1, 3_500_000)
}


@pytest.fixture(params=CONTENTS)
def data(request: pytest.FixtureRequest) -> bytes:
    return CONTENTS[request.param]


def split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


async def put(store: ObjectStore, data: bytes, digest: Digest | None = None) -> str:
    """Stores `data` and says the name of its object."""
    digest = digest or digest_of(data)
    writer = await store.create(digest)
    try:
        hasher = digest.function.new()
        for start in range(0, len(data), 400_000):
            await writer.write(split(data[start : start + 400_000], 150_000), hasher)
        assert hasher.hexdigest() == digest.hash
        await writer.publish()
        return object_name(digest, writer.suffix)
    finally:
        await writer.discard()


async def get(store: ObjectStore, name: str, offset: int, end: int) -> bytes:
    reader = await store.open(name, offset, end)
    return b"".join([chunk async for chunk in reader.chunks(None)])


async def listed(store: ObjectStore) -> dict[str, ObjectInfo]:
    infos: list[ObjectInfo] = []
    async for batch in store.list():
        infos += batch
    assert len({info.name for info in infos}) == len(infos)
    return {info.name: info for info in infos}


class TestWriter:
    async def test_what_was_published_is_read_back(self, store: ObjectStore, data: bytes) -> None:
        assert await get(store, await put(store, data), 0, len(data)) == data

    @pytest.mark.parametrize("chunk_bytes", [7_777, 300_000, 5_000_000])
    async def test_chunks_and_calls_of_any_size_make_the_same_object(
        self, store: ObjectStore, data: bytes, chunk_bytes: int
    ) -> None:
        digest = digest_of(data)
        for chunks_per_call in (1, 3, 1000):
            writer = await store.create(digest)
            hasher = digest.function.new()
            chunks: Sequence[bytes | memoryview] = [*map(memoryview, split(data, chunk_bytes))]
            for start in range(0, len(chunks), chunks_per_call):
                await writer.write(chunks[start : start + chunks_per_call], hasher)
            await writer.publish()
            await writer.discard()
            name = object_name(digest, writer.suffix)
            assert hasher.hexdigest() == digest.hash
            assert await get(store, name, 0, len(data)) == data

    async def test_the_hasher_has_seen_all_bytes_when_a_write_returns(
        self, store: ObjectStore, data: bytes
    ) -> None:
        digest = digest_of(data)
        writer = await store.create(digest)
        hasher = digest.function.new()
        position = 0
        for chunk in split(data, 200_000):
            await writer.write([chunk, b""], hasher)
            position += len(chunk)
            assert hasher.hexdigest() == digest_of(data[:position]).hash
        await writer.discard()

    async def test_nothing_is_seen_of_an_object_before_it_is_published(
        self, store: ObjectStore, data: bytes
    ) -> None:
        digest = digest_of(data)
        writer = await store.create(digest)
        await writer.write([data], digest.function.new())
        assert await listed(store) == {}
        await writer.publish()
        name = object_name(digest, writer.suffix)
        assert list(await listed(store)) == [name]
        await writer.discard()

    async def test_a_discarded_object_leaves_nothing(self, store: ObjectStore, data: bytes) -> None:
        for written in (b"", data[: len(data) // 2], data):
            digest = digest_of(data)
            writer = await store.create(digest)
            if written:
                await writer.write(split(written, 100_000), digest.function.new())
            await writer.discard()
            assert await listed(store) == {}

    async def test_discarding_a_published_object_does_nothing(
        self, store: ObjectStore, data: bytes
    ) -> None:
        digest = digest_of(data)
        writer = await store.create(digest)
        await writer.write([data], digest.function.new())
        await writer.publish()
        for _ in range(2):
            await writer.discard()
        assert await get(store, object_name(digest, writer.suffix), 0, len(data)) == data

    async def test_every_object_has_a_name_of_its_own_that_says_the_digest(
        self, store: ObjectStore
    ) -> None:
        data = text(20_000)
        names = [await put(store, data) for _ in range(5)]
        assert len(set(names)) == 5
        for name in names:
            parsed = parse_object_name(name)
            assert parsed is not None
            assert parsed[0] == digest_of(data)
        assert set(await listed(store)) == set(names)

    async def test_names_tell_digest_functions_apart(self, store: ObjectStore) -> None:
        data = text(20_000)
        for function in DIGEST_FUNCTIONS:
            digest = digest_of(data, function)
            name = await put(store, data, digest)
            parsed = parse_object_name(name)
            assert parsed is not None
            assert parsed[0] == digest
            assert await get(store, name, 0, len(data)) == data

    async def test_concurrent_creations_for_one_blob_make_one_object_each(
        self, store: ObjectStore, data: bytes
    ) -> None:
        names = await asyncio.gather(*(put(store, data) for _ in range(4)))
        assert set(await listed(store)) == set(names)
        assert len(set(names)) == 4
        await store.delete(names[:1])
        for name in names[1:]:
            assert await get(store, name, 0, len(data)) == data

    async def test_many_different_objects_are_written_and_read_at_once(
        self, store: ObjectStore
    ) -> None:
        contents = [text(300_000 + 7 * number)[number:] for number in range(10)]
        names = await asyncio.gather(*(put(store, content) for content in contents))
        found = await asyncio.gather(
            *(get(store, name, 0, len(c)) for name, c in zip(names, contents, strict=True))
        )
        assert found == contents


class TestOpen:
    async def test_a_range_is_what_was_asked_for(self, store: ObjectStore, data: bytes) -> None:
        name = await put(store, data)
        size = len(data)
        edges = {0, 1, size // 2, size - 1, size} | {CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1}
        for offset in edges:
            for end in edges:
                if offset < end <= size:
                    assert await get(store, name, offset, end) == data[offset:end]

    async def test_chunks_are_small_and_hashed_before_they_come(
        self, store: ObjectStore, data: bytes
    ) -> None:
        name = await put(store, data)
        for offset in {0, len(data) // 3}:
            hasher = digest_of(data).function.new()
            position = offset
            async for chunk in (await store.open(name, offset, len(data))).chunks(hasher):
                assert 0 < len(chunk) <= CHUNK_BYTES
                position += len(chunk)
                assert hasher.hexdigest() == digest_of(data[offset:position]).hash
            assert position == len(data)

    async def test_bytes_past_the_end_are_left_out(self, store: ObjectStore, data: bytes) -> None:
        name = await put(store, data)
        assert await get(store, name, 0, 2 * len(data) + 5_000_000) == data
        assert await get(store, name, len(data) - 1, len(data) + 1) == data[-1:]

    async def test_what_was_never_there_is_no_object(self, store: ObjectStore) -> None:
        await put(store, b"there")
        absent = digest_of(b"absent")
        for suffix in (".0123456789abcdef", ".0123456789abcdef" + ENDING, ""):
            with pytest.raises(NoObject):
                await store.open(object_name(absent, suffix), 0, absent.size_bytes)

    async def test_a_reader_may_be_closed_early(self, store: ObjectStore) -> None:
        for data in (noise(3_500_000), text(3_500_000)):
            name = await put(store, data)
            reader = await store.open(name, 0, len(data))
            async with aclosing(reader.chunks(None)) as chunks:
                first = await anext(chunks)
            assert data.startswith(first)
            assert await get(store, name, 0, len(data)) == data

    async def test_a_reader_may_never_be_iterated(self, store: ObjectStore, data: bytes) -> None:
        name = await put(store, data)
        await store.open(name, 0, len(data))
        assert await get(store, name, 0, len(data)) == data

    async def test_a_cancelled_reader_disturbs_nobody(self, store: ObjectStore) -> None:
        data = text(3_500_000)
        name = await put(store, data)
        reading = asyncio.create_task(get(store, name, 0, len(data)))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait((reading,))
        assert await get(store, name, 0, len(data)) == data

    async def test_readers_of_one_object_do_not_disturb_each_other(
        self, store: ObjectStore, data: bytes
    ) -> None:
        name = await put(store, data)
        found = await asyncio.gather(*(get(store, name, 0, len(data)) for _ in range(5)))
        assert found == [data] * 5


class TestDamage:
    async def test_the_stamp_stays_while_nobody_changes_the_bytes(
        self, store: ObjectStore, data: bytes
    ) -> None:
        name = await put(store, data)
        stamps = {(await store.open(name, 0, len(data))).stamp for _ in range(3)}
        stamps.add((await store.open(name, len(data) - 1, len(data))).stamp)
        assert len(stamps) == 1

    async def test_the_stamp_changes_with_the_bytes(self, made: Made, data: bytes) -> None:
        name = await put(made.store, data)
        before = (await made.store.open(name, 0, len(data))).stamp
        await made.damage(name, b"?" + noise(len(data))[1:])
        assert (await made.store.open(name, 0, len(data))).stamp != before

    @pytest.mark.parametrize("change", ["shorter", "other", "nothing left"])
    async def test_damaged_bytes_never_hash_to_the_digest_and_never_are_too_many(
        self, made: Made, data: bytes, change: str
    ) -> None:
        name = await put(made.store, data)
        stored = data
        if name.endswith(ENDING):
            reader = await made.store.open_compressed(name)
            stored = b"".join([chunk async for chunk in reader.chunks(None)])
        middle = len(stored) // 2
        other = stored[:middle] + bytes([stored[middle] ^ 1]) + stored[middle + 1 :]
        await made.damage(
            name,
            {"shorter": stored[: len(stored) // 2], "other": other, "nothing left": b""}[change],
        )
        hasher = digest_of(data).function.new()
        try:
            reader = await made.store.open(name, 0, len(data))
        except NoObject:
            return
        found = b"".join([chunk async for chunk in reader.chunks(hasher)])
        assert hasher.hexdigest() == digest_of(found).hash
        assert found != data
        assert len(found) <= len(data)

    async def test_an_object_in_quarantine_is_neither_listed_nor_opened(
        self, store: ObjectStore, data: bytes
    ) -> None:
        bad, good = [await put(store, data) for _ in range(2)]
        await store.quarantine(bad)
        assert list(await listed(store)) == [good]
        with pytest.raises(NoObject):
            await store.open(bad, 0, len(data))
        assert await get(store, good, 0, len(data)) == data

    async def test_two_may_put_an_object_into_quarantine(self, store: ObjectStore) -> None:
        name = await put(store, text(20_000))
        await store.quarantine(name)
        await store.quarantine(name)
        assert await listed(store) == {}


class TestDelete:
    async def test_deleted_objects_are_gone_and_no_others(self, store: ObjectStore) -> None:
        names = [await put(store, text(20_000 + number)) for number in range(10)]
        await store.delete(names[:7])
        assert set(await listed(store)) == set(names[7:])
        for name in names[:7]:
            with pytest.raises(NoObject):
                await store.open(name, 0, 1)

    async def test_deleting_what_is_not_there_does_no_harm(self, store: ObjectStore) -> None:
        name = await put(store, text(20_000))
        absent = object_name(digest_of(b"absent"), ".0123456789abcdef")
        for _ in range(2):
            await store.delete([absent, name, name])
        await store.delete([])
        assert await listed(store) == {}


class TestList:
    async def test_all_objects_are_listed_as_they_are_stored(self, store: ObjectStore) -> None:
        assert await listed(store) == {}
        names = {await put(store, content): content for content in CONTENTS.values()}
        found = await listed(store)
        assert set(found) == set(names)
        for name, info in found.items():
            assert info.modified > 0
            if name.endswith(ENDING):
                assert 0 < info.size_bytes < len(names[name])
            else:
                assert info.size_bytes == len(names[name])

    async def test_thousands_are_listed(self, store: ObjectStore) -> None:
        names = {await put(store, b"%d" % number) for number in range(2500)}
        assert set(await listed(store)) == names


async def test_a_store_that_can_be_written_passes_its_check(store: ObjectStore) -> None:
    await store.check()
    assert await listed(store) == {}
