"""Objects compressed at rest: when they are, what lies there, and damage within."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard

from reapi.cas.objects.compressed import ENDING, SAMPLE_BYTES, CompressedObjects
from reapi.cas.objects.interface import CHUNK_BYTES, NoObject, ObjectWriter
from reapi.cas.objects.names import object_name
from reapi.core.compression import compress_blob
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import ResourceExhausted
from tests.fakes.memory_objects import MemoryObjects
from tests.fakes.zstd_frames import bomb, open_ended_frame, skippable_frame

TEXT = b"".join(b"%d %x of a source file\n" % (n, n * n) for n in range(150_000))
NOISE = random.Random(1).randbytes(3_000_000)
DIGEST = digest_of(TEXT)


@pytest.fixture
def inner() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def store(inner: MemoryObjects) -> Iterator[CompressedObjects]:
    with ThreadPoolExecutor(2) as threads:
        yield CompressedObjects(inner, threads)
    assert not inner.readers_at_work


async def put(store: CompressedObjects, data: bytes, chunk_bytes: int = 100_000) -> str:
    digest = digest_of(data)
    writer = await store.create(digest)
    hasher = digest.function.new()
    for start in range(0, len(data), chunk_bytes):
        await writer.write([data[start : start + chunk_bytes]], hasher)
    await writer.publish()
    await writer.discard()
    return object_name(digest, writer.suffix)


async def frame_of(store: CompressedObjects, name: str) -> tuple[bytes, str]:
    """What a client of zstd is given of an object, and the hash of what is in it."""
    reader = await store.open_compressed(name)
    assert reader is not None
    hasher = DIGEST.function.new()
    frame = b"".join([chunk async for chunk in reader.chunks(hasher)])
    return frame, hasher.hexdigest()


class TestChoice:
    @pytest.mark.parametrize("size", [1_000, SAMPLE_BYTES, len(TEXT)])
    async def test_what_becomes_smaller_is_one_frame_that_any_zstd_reads(
        self, store: CompressedObjects, inner: MemoryObjects, size: int
    ) -> None:
        name = await put(store, TEXT[:size])
        assert name.endswith(ENDING)
        assert len(inner.objects[name]) < 0.9 * size
        assert zstandard.ZstdDecompressor().decompress(inner.objects[name]) == TEXT[:size]

    @pytest.mark.parametrize("size", [1, 1_000, SAMPLE_BYTES, len(NOISE)])
    async def test_what_does_not_lies_as_it_is(
        self, store: CompressedObjects, inner: MemoryObjects, size: int
    ) -> None:
        name = await put(store, NOISE[:size])
        assert not name.endswith(ENDING)
        assert inner.objects[name] == NOISE[:size]
        assert await store.open_compressed(name) is None

    async def test_the_start_decides_for_the_whole(
        self, store: CompressedObjects, inner: MemoryObjects
    ) -> None:
        plain = await put(store, NOISE[: 2 * SAMPLE_BYTES] + TEXT)
        assert not plain.endswith(ENDING)
        noisy = TEXT[:SAMPLE_BYTES] + NOISE
        frame = await put(store, noisy)
        assert frame.endswith(ENDING)
        reader = await store.open(frame, 0, len(noisy))
        assert b"".join([chunk async for chunk in reader.chunks(None)]) == noisy

    async def test_little_is_saved_is_not_worth_it(self, store: CompressedObjects) -> None:
        few = TEXT[:10_000] + NOISE[:90_000]
        assert 0.9 * len(few) < len(compress_blob(few)) < len(few)
        assert not (await put(store, few)).endswith(ENDING)

    async def test_nothing_is_begun_within_before_the_sample_is_full(
        self, store: CompressedObjects, inner: MemoryObjects
    ) -> None:
        begun: list[str] = []
        create = inner.create

        async def watched(digest: Digest, ending: str = "") -> ObjectWriter:
            begun.append(ending)
            return await create(digest, ending)

        inner.create = watched
        writer = await store.create(DIGEST)
        hasher = DIGEST.function.new()
        await writer.write([TEXT[: SAMPLE_BYTES - 1]], hasher)
        assert begun == []
        await writer.write([TEXT[SAMPLE_BYTES - 1 :]], hasher)
        assert begun == [ENDING]
        await writer.discard()

    async def test_a_full_store_within_says_so(
        self, store: CompressedObjects, inner: MemoryObjects
    ) -> None:
        async def full(digest: Digest, ending: str = "") -> ObjectWriter:
            raise ResourceExhausted("the disk is full")

        inner.create = full
        for size in (1_000, len(TEXT)):
            writer = await store.create(DIGEST)
            with pytest.raises(ResourceExhausted):  # noqa: PT012  # small ones begin at the end
                await writer.write([TEXT[:size]], DIGEST.function.new())
                await writer.publish()
            await writer.discard()


class TestStoredFrames:
    async def test_they_come_as_they_lie_and_the_blob_is_hashed_before_the_last_chunk(
        self, store: CompressedObjects, inner: MemoryObjects
    ) -> None:
        data = TEXT[:SAMPLE_BYTES] + NOISE
        name = await put(store, data)
        reader = await store.open_compressed(name)
        assert reader is not None
        hasher = DIGEST.function.new()
        found = []
        async for chunk in reader.chunks(hasher):
            assert len(chunk) <= CHUNK_BYTES
            found.append(chunk)
            if sum(map(len, found)) == len(inner.objects[name]):
                assert hasher.hexdigest() == digest_of(data).hash
        assert len(found) > 2
        assert b"".join(found) == inner.objects[name]
        assert reader.stamp == (await store.open(name, 0, 1)).stamp

    async def test_they_are_not_looked_into_without_a_hasher(
        self, store: CompressedObjects, inner: MemoryObjects
    ) -> None:
        name = await put(store, TEXT)
        inner.objects[name] = b"somebody has verified this stamp before"
        reader = await store.open_compressed(name)
        assert reader is not None
        assert [chunk async for chunk in reader.chunks(None)] == [inner.objects[name]]

    async def test_absent_ones_are_no_objects(self, store: CompressedObjects) -> None:
        for name in (object_name(DIGEST, ".0123456789abcdef" + ENDING), "strange" + ENDING):
            with pytest.raises(NoObject):
                await store.open(name, 0, 1)
        with pytest.raises(NoObject):
            await store.open_compressed(object_name(DIGEST, ".0123456789abcdef" + ENDING))


FRAME = compress_blob(TEXT)

DAMAGES = {
    "no frame": b"?" * 1000,
    "truncated": FRAME[: len(FRAME) // 2],
    "its last byte gone": FRAME[:-1],
    "no last block": open_ended_frame(TEXT),
    "garbage behind it": FRAME + b"garbage",
    "another blob": compress_blob(TEXT[::-1]),
    "a longer blob": FRAME + compress_blob(b"x"),
    "a shorter blob": compress_blob(TEXT[:-1]),
    "a bomb": bomb(1 << 30),
    "nothing but a skippable frame": skippable_frame(b"x"),
}


class TestDamage:
    @pytest.mark.parametrize("name", DAMAGES)
    async def test_reliability_B10_a_damaged_frame_never_passes(
        self, store: CompressedObjects, inner: MemoryObjects, name: str
    ) -> None:
        stored = await put(store, TEXT)
        inner.objects[stored] = DAMAGES[name]
        frame, hash_text = await frame_of(store, stored)
        assert hash_text != DIGEST.hash
        assert DAMAGES[name].startswith(frame)

    @pytest.mark.parametrize("name", DAMAGES)
    async def test_reliability_B10_it_reads_as_too_short_or_wrong_and_never_as_too_long(
        self, store: CompressedObjects, inner: MemoryObjects, name: str
    ) -> None:
        stored = await put(store, TEXT)
        inner.objects[stored] = DAMAGES[name]
        reader = await store.open(stored, 0, len(TEXT))
        hasher = DIGEST.function.new()
        found = b""
        async for chunk in reader.chunks(hasher):
            assert len(chunk) <= CHUNK_BYTES
            found += chunk
        assert len(found) <= len(TEXT)
        assert hasher.hexdigest() == digest_of(found).hash
        all_bytes_are_there = name in ("no last block", "garbage behind it", "a longer blob")
        assert (found == TEXT) == all_bytes_are_there

    async def test_a_part_before_the_damage_may_still_be_read(
        self, store: CompressedObjects, inner: MemoryObjects
    ) -> None:
        stored = await put(store, TEXT)
        inner.objects[stored] = inner.objects[stored][: len(inner.objects[stored]) // 2]
        reader = await store.open(stored, 1000, 2000)
        assert b"".join([chunk async for chunk in reader.chunks(None)]) == TEXT[1000:2000]
        reader = await store.open(stored, len(TEXT) - 1000, len(TEXT))
        assert b"".join([chunk async for chunk in reader.chunks(None)]) == b""
