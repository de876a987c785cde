"""Any bytes are a zstd stream of the declared size or invalid, on the wire and at rest."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reapi.cas.objects.compressed import ENDING, CompressedObjects
from reapi.cas.objects.names import object_name
from reapi.core.compression import ZstdDecompressor, compress_blob
from reapi.core.digest import SHA256, digest_of
from reapi.core.errors import InvalidArgument
from tests.fakes.memory_objects import MemoryObjects
from tests.fakes.zstd_frames import bomb, skippable_frame

TEXT = b"".join(b"line %d of a source file\n" % number for number in range(3_000))
DIGEST = digest_of(TEXT)
NAME = object_name(DIGEST, ".0123456789abcdef" + ENDING)
SUMMED = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)
FRAMES = [
    compress_blob(TEXT),
    compress_blob(TEXT[:40_000]) + compress_blob(TEXT[40_000:]),
    SUMMED,
    skippable_frame(TEXT[:100]) + SUMMED,
    compress_blob(b""),
    bomb(4 << 20),
]


@st.composite
def damaged(draw: st.DrawFn, frames: list[bytes]) -> bytes:
    """A stream with some bytes changed, taken out or put in."""
    stream = bytearray(draw(st.sampled_from(frames)))
    for _ in range(draw(st.integers(0, 3))):
        # Headers are short and at the start: most changes go there.
        last = draw(st.sampled_from([20, len(stream)]))
        position = draw(st.integers(0, min(last, len(stream))))
        stream[position : position + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(stream)


streams = st.one_of(
    damaged(FRAMES),
    st.binary(max_size=200),
    st.binary(max_size=50).map(lambda data: b"\x28\xb5\x2f\xfd" + data),
)


def read(stream: bytes, size_bytes: int, part_bytes: int, limit: int) -> bytes | None:
    """The plain bytes, or None for an invalid stream; never more than was declared."""
    decompressor = ZstdDecompressor(size_bytes)
    found = b""
    try:
        for start in range(0, len(stream), part_bytes):
            decompressor.feed(stream[start : start + part_bytes])
            while piece := decompressor.read(limit):
                assert len(piece) <= limit
                found += piece
                assert len(found) <= size_bytes
        decompressor.finish()
    except InvalidArgument:
        return None
    assert len(found) == size_bytes
    return found


@given(
    streams,
    st.sampled_from([0, 1, len(TEXT) - 1, len(TEXT), len(TEXT) + 1]),
    st.integers(1, 20_000),
    st.sampled_from([1_000, 32_768, 1 << 20]),
)
@example(FRAMES[0], len(TEXT), 1, 1_000)
@settings(max_examples=1500, deadline=None)
def test_any_stream_holds_what_was_declared_or_is_invalid(
    stream: bytes, size_bytes: int, part_bytes: int, limit: int
) -> None:
    read(stream, size_bytes, part_bytes, limit)


@given(damaged([SUMMED]))
@settings(max_examples=500, deadline=None)
def test_a_frame_with_a_checksum_holds_the_same_bytes_or_is_invalid(stream: bytes) -> None:
    assert read(stream, len(TEXT), len(stream) or 1, 1 << 20) in (TEXT, None)


@given(st.integers(0, len(FRAMES[1]) - 1))
@settings(max_examples=300, deadline=None)
def test_no_start_of_a_stream_is_a_whole_one(length: int) -> None:
    assert read(FRAMES[1][:length], len(TEXT), 1_000_000, 1 << 20) is None


@given(streams, st.integers(0, len(TEXT) - 1))
@settings(max_examples=300, deadline=None)
def test_any_object_at_rest_is_the_blob_or_does_not_hash_to_it(stream: bytes, offset: int) -> None:
    asyncio.run(_read_at_rest(stream or b"?", offset))


async def _read_at_rest(stored: bytes, offset: int) -> None:
    inner = MemoryObjects()
    inner.objects[NAME] = stored
    with ThreadPoolExecutor(1) as threads:
        store = CompressedObjects(inner, threads)
        hasher = SHA256.new()
        reader = await store.open(NAME, offset, len(TEXT))
        found = b"".join([chunk async for chunk in reader.chunks(hasher)])
        assert len(found) <= len(TEXT) - offset
        assert hasher.hexdigest() == digest_of(found).hash

        hasher = SHA256.new()
        frames = await store.open_compressed(NAME)
        assert frames is not None
        passed_on = b"".join([chunk async for chunk in frames.chunks(hasher)])
        if hasher.hexdigest() == DIGEST.hash:
            assert read(passed_on, len(TEXT), len(passed_on), 1 << 20) == TEXT
    assert not inner.readers_at_work
