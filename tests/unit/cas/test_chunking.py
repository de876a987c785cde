"""Cut points are those of the protocol, however the bytes arrive."""

import hashlib
import os
import random
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfastcdc import FastCDC

from reapi.cas.chunking import (
    ANNOUNCED,
    AVG_CHUNK_BYTES,
    MAX_CHUNK_BYTES,
    MIN_CHUNK_BYTES,
    Chunk,
    ChunkCutter,
    FastCdcParameters,
    cut_chunks,
)
from tests.unit.cas.fastcdc_oracle import cut_all

SEEDS = (0, 666)
VECTOR_SIZES = (16384, 4096, 65535)
VECTORS = Path(__file__).parent / "vectors" / "fastcdc2020_test_vectors.txt"
INPUT_NAME = "SekienAkashita.jpg"
INPUT_SHA256 = "d9e749d9367fc908876749d6502eb212fee88c9a94892fb07da5ef3ba8bc39ed"

SMALL = FastCdcParameters(4096, 1024, 16384)
"""Parameters with which little data makes many chunks."""


class Vector(NamedTuple):
    """A line of the protocol's test vectors."""

    offset: int
    length: int
    sha256: str
    gear: int


def read_vectors() -> dict[int, list[Vector]]:
    vectors: dict[int, list[Vector]] = {}
    for line in VECTORS.read_text().splitlines():
        if line.startswith("# Seed:"):
            of_seed = vectors[int(line.removeprefix("# Seed:"))] = []
        elif line and not line.startswith("#"):
            offset, length, sha256, gear = line.split("\t")
            of_seed.append(Vector(int(offset), int(length), sha256, int(gear)))
    return vectors


@pytest.fixture
def official_input() -> bytes:
    """The picture that the vectors are about, which is not part of this project."""
    default = Path(__file__).parents[4] / "shared" / "vectors"
    path = Path(os.environ.get("REAPI_TEST_VECTORS", default)) / INPUT_NAME
    if not path.is_file():
        pytest.skip(f"no {INPUT_NAME}: REAPI_TEST_VECTORS may name the folder that has it")
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == INPUT_SHA256
    return data


def parameters_of(sizes: tuple[int, int, int], seed: int) -> FastCdcParameters:
    return FastCdcParameters(*sizes, seed)


def cut_whole(data: bytes, parameters: FastCdcParameters = ANNOUNCED) -> list[Chunk]:
    cutter = ChunkCutter(parameters)
    cutter.add(data)
    return cutter.cut(is_end=True)


def lengths(chunks: Sequence[Chunk]) -> list[int]:
    return [chunk.length for chunk in chunks]


@pytest.mark.parametrize("seed", SEEDS)
class TestOfficialVectors:
    def test_CAP12_cuts_are_those_of_the_protocol(self, official_input: bytes, seed: int) -> None:
        vectors = read_vectors()[seed]
        chunks = cut_whole(official_input, parameters_of(VECTOR_SIZES, seed))
        assert [
            (chunk.offset, chunk.length, hashlib.sha256(chunk.data).hexdigest()) for chunk in chunks
        ] == [vector[:3] for vector in vectors]

    def test_CAP12_gear_values_of_library_and_oracle_are_those_of_the_protocol(
        self, official_input: bytes, seed: int
    ) -> None:
        expected = [(vector.offset, vector.length, vector.gear) for vector in read_vectors()[seed]]
        assert cut_all(official_input, *VECTOR_SIZES, seed) == expected
        assert gears(official_input, VECTOR_SIZES, seed) == expected


def gears(data: bytes, sizes: tuple[int, int, int], seed: int) -> list[tuple[int, int, int]]:
    avg, least, most = sizes
    library = FastCDC(avg, min_size=least, max_size=most, normalized_chunking=2, seed=seed)
    return [(chunk.offset, chunk.length, chunk.gear_hash) for chunk in library.cut_buf(data)]


# Lengths and gear values of pseudo-random data, from implementations that match the vectors.
FROZEN: dict[int, list[int]] = {
    0: [7201, 19280, 18405, 19182, 13580, 24571, 18132, 16720, 18790, 28797, 15342],
    666: [16620, 17320, 24369, 17285, 24581, 17389, 16640, 19115, 17028, 4532, 19543, 5578],
}
FROZEN_GEARS = {
    0: [18348544715018471414, 12840897923248111850, 17704497604720866165],
    666: [3770081735456375092, 14559584047154675228, 13647598980077461305],
}
FROZEN_ANNOUNCED = [
    *(700820, 579651, 546978, 586810, 418506, 651390),
    *(626342, 616149, 654184, 581911, 328715),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_CAP12_cuts_of_generated_data_stay_what_they_were(seed: int) -> None:
    data = random.Random(2020).randbytes(200_000)
    assert lengths(cut_whole(data, parameters_of(VECTOR_SIZES, seed))) == FROZEN[seed]
    found = gears(data, VECTOR_SIZES, seed)
    assert [gear for _, _, gear in found[:3]] == FROZEN_GEARS[seed]
    assert cut_all(data, *VECTOR_SIZES, seed) == found


def test_CAP12_cuts_by_the_announced_parameters_stay_what_they_were() -> None:
    assert lengths(cut_whole(random.Random(2020).randbytes(6 << 20))) == FROZEN_ANNOUNCED


def test_CAP12_announced_sizes_have_the_ratios_of_the_protocol() -> None:
    assert (MIN_CHUNK_BYTES, MAX_CHUNK_BYTES) == (AVG_CHUNK_BYTES // 4, AVG_CHUNK_BYTES * 4)
    assert FastCdcParameters(512 << 10, 128 << 10, 2 << 20, seed=0) == ANNOUNCED


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.integers(0, 1 << 30), st.integers(0, 30_000), st.booleans()), max_size=5
    ),
    piece_bytes=st.integers(1, 50_000),
    seed=st.sampled_from(SEEDS),
)
def test_any_pieces_give_the_chunks_of_the_oracle(
    parts: list[tuple[int, int, bool]], piece_bytes: int, seed: int
) -> None:
    data = b"".join(
        bytes(size) if is_flat else random.Random(number).randbytes(size)
        for number, size, is_flat in parts
    )
    sizes = (SMALL.avg_size_bytes, SMALL.min_size_bytes, SMALL.max_size_bytes)
    cutter = ChunkCutter(parameters_of(sizes, seed))
    chunks = []
    for start in range(0, len(data), piece_bytes):
        cutter.add(data[start : start + piece_bytes])
        chunks += cutter.cut()
        assert not cutter.is_due  # so it holds less than a largest chunk
    chunks += cutter.cut(is_end=True)
    expected = [(cut.offset, cut.length) for cut in cut_all(data, *sizes, seed)]
    assert [(chunk.offset, chunk.length) for chunk in chunks] == expected
    assert b"".join(chunk.data for chunk in chunks) == data


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025])
def test_data_up_to_the_smallest_chunk_is_one_chunk(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert cut_whole(data, SMALL)[:1] == ([Chunk(0, data)] if data else [])


def test_a_change_at_the_beginning_leaves_later_chunks_as_they_were() -> None:
    data = random.Random(7).randbytes(200_000)
    before = {chunk.data for chunk in cut_whole(data, SMALL)}
    after = {chunk.data for chunk in cut_whole(b"a few more bytes" + data, SMALL)}
    assert len(after - before) <= 3 < len(after & before)


async def pieces_of(data: bytes, piece_bytes: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), piece_bytes):
        yield data[start : start + piece_bytes]


async def test_a_stream_is_cut_as_it_comes() -> None:
    data = random.Random(8).randbytes(300_000)
    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        async for piece in pieces_of(data, 1000):
            taken += len(piece)
            yield piece

    chunks: list[Chunk] = []
    async for some in cut_chunks(counted(), SMALL):
        chunks += some
        cut = chunks[-1].offset + chunks[-1].length
        assert taken - cut < SMALL.max_size_bytes
        assert sum(map(len, (chunk.data for chunk in some))) <= SMALL.max_size_bytes + 1000
    assert chunks == cut_whole(data, SMALL)


async def test_no_pieces_make_no_chunks() -> None:
    assert [some async for some in cut_chunks(pieces_of(b"", 1))] == []


async def test_the_event_loop_does_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    cut = ChunkCutter.cut

    def noted(self: ChunkCutter, *, is_end: bool = False) -> list[Chunk]:
        threads.add(threading.current_thread())
        return cut(self, is_end=is_end)

    monkeypatch.setattr(ChunkCutter, "cut", noted)
    assert [some async for some in cut_chunks(pieces_of(bytes(100_000), 5000), SMALL)]
    assert threads
    assert threading.current_thread() not in threads
