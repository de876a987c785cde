"""The zstd codec: what goes in comes out, and nothing more than was declared ever does."""

import random
import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from reapi.core.compression import (
    AT_REST,
    LARGEST_WINDOW_BYTES,
    PIECE_BYTES,
    WIRE,
    Profile,
    ZstdCompressor,
    ZstdDecompressor,
    compress_blob,
    decompress_blob,
    longest_frame_bytes,
)
from reapi.core.errors import InvalidArgument
from tests.fakes.zstd_frames import (
    bomb,
    dictionary_frame,
    open_ended_frame,
    skippable_frame,
    wide_window_frame,
)

TEXT = b"".join(b"line %d of a source file\n" % number for number in range(100_000))
NOISE = random.Random(1).randbytes(3_000_000)
GIB = 1 << 30


def split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def pieces(parts: Iterable[bytes], size_bytes: int, limit: int = PIECE_BYTES) -> Iterator[bytes]:
    """The plain pieces of a stream that comes in `parts`."""
    decompressor = ZstdDecompressor(size_bytes)
    for part in parts:
        decompressor.feed(part)
        while piece := decompressor.read(limit):
            assert len(piece) <= limit
            yield piece
    decompressor.finish()


def compressed(parts: Iterable[bytes], size_bytes: int, profile: Profile = WIRE) -> bytes:
    compressor = ZstdCompressor(size_bytes, profile)
    return b"".join([compressor.compress(part) for part in parts]) + compressor.finish()


class TestRoundTrip:
    @pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE], ids=["empty", "x", "text", "noise"])
    @pytest.mark.parametrize("profile", [WIRE, AT_REST], ids=["wire", "at rest"])
    @pytest.mark.parametrize("size", [1_000, 100_000, 10_000_000])
    def test_any_chunks_in_and_out(self, data: bytes, profile: Profile, size: int) -> None:
        frame = compressed(split(data, size), len(data), profile)
        assert len(frame) <= longest_frame_bytes(len(data))
        assert b"".join(pieces(split(frame, size), len(data))) == data
        assert zstandard.ZstdDecompressor().decompress(frame) == data

    @given(st.lists(st.binary(max_size=50)), st.integers(1, 60), st.integers(1, 60))
    def test_several_frames_are_one_stream(
        self, contents: list[bytes], part_bytes: int, limit: int
    ) -> None:
        """Z1, however the stream is cut."""
        stream = b"".join(map(compress_blob, contents))
        data = b"".join(contents)
        assert b"".join(pieces(split(stream, part_bytes), len(data), limit)) == data

    @pytest.mark.parametrize("limit", [1_000, 32_768, PIECE_BYTES])
    @pytest.mark.parametrize("flushed_bytes", [1_000, 131_072, 2_000_000])
    def test_what_was_flushed_can_be_read_but_for_the_last_block(
        self, flushed_bytes: int, limit: int
    ) -> None:
        compressor = ZstdCompressor(len(TEXT))
        decompressor = ZstdDecompressor(len(TEXT))
        decompressor.feed(compressor.compress(TEXT[:flushed_bytes]) + compressor.flush())
        found = b"".join(iter(lambda: decompressor.read(limit), b""))
        assert TEXT[:flushed_bytes].startswith(found)
        assert len(found) >= flushed_bytes - (128 << 10)

    def test_memory_views_are_taken(self) -> None:
        assert decompress_blob(compress_blob(TEXT), len(TEXT)) == TEXT
        frame = compressed([memoryview(TEXT)], len(TEXT))
        assert b"".join(pieces([memoryview(frame)], len(TEXT))) == TEXT

    def test_empty_parts_of_a_stream_mean_nothing(self) -> None:
        frame = compress_blob(TEXT)
        parts = [b"", frame[:100], b"", b"", frame[100:], b""]
        assert b"".join(pieces(parts, len(TEXT))) == TEXT

    def test_contexts_serve_one_stream_after_the_other_and_many_at_once(self) -> None:
        frames = [compress_blob(TEXT[:size]) for size in (0, 10, 100_000)]
        for _ in range(3):
            streams = [ZstdDecompressor(size) for size in (0, 10, 100_000) for _ in range(4)]
            for number, stream in enumerate(streams):
                stream.feed(frames[number // 4])
            found = [stream.read() for stream in streams]
            for stream in streams:
                assert stream.read() == b""
                stream.finish()
            assert [len(each) for each in found] == [0] * 4 + [10] * 4 + [100_000] * 4

    def test_a_damaged_stream_leaves_nothing_to_the_next_one(self) -> None:
        for _ in range(10):
            with pytest.raises(InvalidArgument):
                decompress_blob(compress_blob(TEXT)[:-100], len(TEXT))
            assert decompress_blob(compress_blob(b"next"), 4) == b"next"

    def test_windows_up_to_the_limit_are_read(self) -> None:
        frame = wide_window_frame(TEXT, LARGEST_WINDOW_BYTES.bit_length() - 1)
        assert decompress_blob(frame, len(TEXT)) == TEXT


FRAME = compress_blob(TEXT)

BAD_STREAMS = {
    "truncated": FRAME[:-1],
    "without its last block": open_ended_frame(TEXT),
    "truncated in its header": FRAME + FRAME[:3],
    "garbage behind it": FRAME + b"garbage",
    "one more byte": FRAME + b"\0",
    "no frame": b"this is no zstd stream",
    "empty": b"",
    "one byte more than declared": FRAME + compress_blob(b"x"),
    "one byte less than declared": compress_blob(TEXT[:-1]),
    "a window of 128 MiB": wide_window_frame(TEXT, 27),
    "a dictionary": dictionary_frame(TEXT),
    "a truncated skippable frame": FRAME + skippable_frame(b"skipped")[:-1],
    "a truncated skippable header": FRAME + skippable_frame(b"skipped")[:7],
    "a skippable frame without end": FRAME + skippable_frame(b"x", claimed_bytes=2**32 - 1),
}


class TestBounds:
    """Reliability B10."""

    @pytest.mark.parametrize("name", BAD_STREAMS)
    @pytest.mark.parametrize("part_bytes", [1, 1000, 10_000_000])
    def test_reliability_B10_Z2_bad_streams_are_invalid(self, name: str, part_bytes: int) -> None:
        stream = BAD_STREAMS[name]
        found = 0
        with pytest.raises(InvalidArgument):  # noqa: PT012  # what came before counts
            for piece in pieces(split(stream, part_bytes), len(TEXT)):
                found += len(piece)
        assert found <= len(TEXT)

    def test_reliability_B10_skippable_frames_are_skipped(self) -> None:
        skipped = skippable_frame(b"skipped" * 1000)
        stream = skipped + FRAME + skipped + compress_blob(b"") + skipped
        for part_bytes in (3, 1000, 10_000_000):
            assert b"".join(pieces(split(stream, part_bytes), len(TEXT))) == TEXT

    @pytest.mark.parametrize("declared", [0, 1, 1000, PIECE_BYTES, 5 * PIECE_BYTES + 1])
    def test_reliability_B10_a_bomb_ends_at_the_first_byte_past_the_declared_size(
        self, declared: int
    ) -> None:
        found = 0
        with pytest.raises(InvalidArgument, match=f"more than {declared} bytes"):  # noqa: PT012
            for piece in pieces([bomb(GIB)], declared):
                found += len(piece)
        assert found <= declared

    def test_reliability_B10_a_declared_gibibyte_comes_in_pieces_and_memory_stays_flat(
        self,
    ) -> None:
        tracemalloc.start()
        try:
            sizes = [len(piece) for piece in pieces([bomb(GIB)], GIB)]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert sum(sizes) == GIB
        assert max(sizes) <= PIECE_BYTES
        assert peak < 16 << 20

    def test_reliability_B10_no_room_is_made_for_more_than_was_declared(self) -> None:
        stream = bomb(GIB)
        tracemalloc.start()
        try:
            with pytest.raises(InvalidArgument):
                decompress_blob(stream, 1000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 50_000

    def test_reliability_B10_less_can_be_asked_for(self) -> None:
        decompressor = ZstdDecompressor(GIB)
        decompressor.feed(bomb(GIB))
        assert {len(decompressor.read(100)) for _ in range(1000)} == {100}

    def test_a_frame_that_claims_another_size_is_not_believed(self) -> None:
        frame = bytearray(compress_blob(bytes(70_000)))
        assert zstandard.get_frame_parameters(bytes(frame)).content_size == 70_000
        frame[5:9] = (2 << 30).to_bytes(4, "little")
        assert zstandard.get_frame_parameters(bytes(frame)).content_size == 2 << 30
        with pytest.raises(InvalidArgument):
            decompress_blob(bytes(frame), 70_000)
