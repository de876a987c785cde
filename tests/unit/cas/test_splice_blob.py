"""What a splicer makes, refuses and remembers."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reapi.cas.chunking import MAX_CHUNK_BYTES
from reapi.cas.splice_blob import MOST_CHUNKS
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound
from tests.unit.cas.chunking_harness import (
    FUNCTION,
    Chunking,
    WatchedBlobStore,
    digests_of,
    parts_of,
    random_bytes,
)

DATA = random_bytes(3_000_000)
BLOB = digest_of(DATA)
PARTS = parts_of(DATA, 700_000)
CHUNKS = digests_of(PARTS)


def with_chunks(blobs: WatchedBlobStore | None = None) -> Chunking:
    chunking = Chunking(blobs)
    for part in PARTS:
        chunking.blobs.add(part)
    return chunking


@pytest.mark.parametrize("part_bytes", [1, 100, 30_000])
async def test_chunks_of_any_size_make_the_blob(part_bytes: int) -> None:
    chunking = Chunking()
    data = random_bytes(20_000)
    parts = parts_of(data, part_bytes)
    for part in parts:
        chunking.blobs.add(part)
    response = await chunking.splice(digest_of(data), digests_of(parts))
    assert response.blob_digest == digest_of(data).to_message()
    assert chunking.blobs.blobs[digest_of(data)] == data


async def test_repeated_and_empty_chunks_count_as_often_as_they_stand_there() -> None:
    chunking = Chunking()
    a, b, empty = chunking.blobs.add(b"a"), chunking.blobs.add(bytes(2 << 20)), digest_of(b"")
    data = b"aa" + bytes(4 << 20) + b"a"
    await chunking.splice(digest_of(data), [a, empty, a, b, b, empty, a])
    assert chunking.blobs.blobs[digest_of(data)] == data
    assert list((await chunking.split(digest_of(data))).chunk_digests) == [
        chunk.to_message() for chunk in [a, a, b, b, a]
    ]


async def test_the_empty_blob_needs_no_chunks() -> None:
    chunking = Chunking()
    empty = digest_of(b"")
    for chunks in ([], [empty]):
        assert (await chunking.splice(empty, chunks)).blob_digest == empty.to_message()


@pytest.mark.parametrize("number", [FUNCTION.UNKNOWN, FUNCTION.FAST_CDC_2020])
async def test_the_chunks_are_the_answer_to_a_split(number: int) -> None:
    chunking = with_chunks()
    await chunking.splice(BLOB, CHUNKS, chunking_function=number)
    response = await chunking.split(BLOB)
    assert list(response.chunk_digests) == [chunk.to_message() for chunk in CHUNKS]
    assert response.chunking_function == number


async def test_chunks_that_clients_would_not_take_are_no_answer_to_a_split() -> None:
    chunking = with_chunks()
    await chunking.splice(BLOB, CHUNKS, chunking_function=FUNCTION.REP_MAX_CDC)
    large = bytes(MAX_CHUNK_BYTES + 1)
    await chunking.splice(
        digest_of(large + b"x"), [chunking.blobs.add(large), chunking.blobs.add(b"x")]
    )
    tiny = [chunking.blobs.add(bytes([number])) for number in range(256)]
    await chunking.splice(digest_of(bytes(range(256))), tiny)
    assert not chunking.results.rows
    response = await chunking.split(BLOB)
    assert response.chunking_function == FUNCTION.FAST_CDC_2020


async def test_G10_an_unknown_function_number_is_invalid() -> None:
    with pytest.raises(InvalidArgument):
        await with_chunks().splice(BLOB, CHUNKS, chunking_function=77)


async def test_a_record_of_a_blob_that_is_here_stays() -> None:
    chunking = Chunking()
    chunking.blobs.add(DATA)
    before = await chunking.split(BLOB)
    for part in PARTS:
        chunking.blobs.add(part)
    await chunking.splice(BLOB, CHUNKS)
    assert await chunking.split(BLOB) == before


async def test_chunks_of_a_blob_that_is_here_are_not_believed() -> None:
    chunking = Chunking()
    chunking.blobs.add(DATA)
    wrong = [chunking.blobs.add(bytes(len(part))) for part in PARTS]
    await chunking.splice(BLOB, wrong)
    assert not chunking.results.rows


async def test_chunks_of_a_blob_that_comes_meanwhile_are_not_believed() -> None:
    class Late(WatchedBlobStore):
        async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
            self.blobs[digest] = DATA
            await anext(chunks)

    chunking = Chunking(Late())
    wrong = [chunking.blobs.add(bytes(len(part))) for part in PARTS]
    await chunking.splice(BLOB, wrong)
    assert not chunking.results.rows


async def test_sizes_are_added_up_before_anything_is_looked_at() -> None:
    chunking = with_chunks()
    for chunks in (CHUNKS[:-1], [*CHUNKS, CHUNKS[0]], [], [Digest("b" * 64, 2**53)] * 1000):
        with pytest.raises(InvalidArgument, match="bytes"):
            await chunking.splice(BLOB, chunks)
    assert chunking.blobs.reads == []
    assert chunking.blobs.asked == set()


async def test_too_many_chunks_are_invalid() -> None:
    chunking = Chunking()
    one = chunking.blobs.add(b"a")
    count = MOST_CHUNKS + 1
    with pytest.raises(InvalidArgument, match=str(MOST_CHUNKS)):
        await chunking.splice(Digest("c" * 64, count), [one] * count)


async def test_wrong_bytes_are_invalid_and_leave_nothing() -> None:
    chunking = with_chunks()
    with pytest.raises(InvalidArgument):
        await chunking.splice(BLOB, CHUNKS[1::-1] + CHUNKS[2:])
    assert BLOB not in chunking.blobs.blobs
    assert not chunking.results.rows


async def test_absent_chunks_are_not_found_and_nothing_is_read() -> None:
    chunking = with_chunks()
    del chunking.blobs.blobs[CHUNKS[2]]
    with pytest.raises(NotFound, match=CHUNKS[2].hash):
        await chunking.splice(BLOB, CHUNKS)
    assert chunking.blobs.reads == []


async def test_a_blob_that_is_here_without_all_chunks_exists_already() -> None:
    chunking = with_chunks()
    chunking.blobs.add(DATA)
    del chunking.blobs.blobs[CHUNKS[2]]
    with pytest.raises(AlreadyExists):
        await chunking.splice(BLOB, CHUNKS)


async def test_a_blob_cannot_be_made_of_itself() -> None:
    with pytest.raises(NotFound):
        await Chunking().splice(BLOB, [BLOB])


@pytest.mark.parametrize("part_bytes", [100_000, 1_500_000])
async def test_a_chunk_that_goes_meanwhile_is_not_found(part_bytes: int) -> None:
    chunking = Chunking()
    parts = parts_of(DATA, part_bytes)
    for part in parts:
        chunking.blobs.add(part)
    chunking.blobs.gate.clear()
    task = asyncio.create_task(chunking.splice(BLOB, digests_of(parts)))
    await chunking.blobs.reading.wait()
    del chunking.blobs.blobs[digest_of(parts[-1])]
    chunking.blobs.gate.set()
    with pytest.raises(NotFound):
        await task
    assert BLOB not in chunking.blobs.blobs


async def test_a_chunk_that_turns_out_to_be_damaged_is_not_found() -> None:
    class Damaged(WatchedBlobStore):
        async def read(self, digest, *, offset=0, limit=None):  # type: ignore[no-untyped-def]
            yield b"damaged"
            raise DataLoss("damaged")

    with pytest.raises(NotFound, match="damaged"):
        await with_chunks(Damaged()).splice(BLOB, CHUNKS)


async def test_splices_at_once_both_succeed() -> None:
    chunking = with_chunks()
    await asyncio.gather(*(chunking.splice(BLOB, CHUNKS) for _ in range(6)))
    assert chunking.blobs.blobs[BLOB] == DATA


async def test_a_cancelled_splice_leaves_nothing() -> None:
    chunking = with_chunks()
    chunking.blobs.gate.clear()
    task = asyncio.create_task(chunking.splice(BLOB, CHUNKS))
    await chunking.blobs.reading.wait()
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert len(asyncio.all_tasks()) == 1
    assert BLOB not in chunking.blobs.blobs
    chunking.blobs.gate.set()
    await asyncio.gather(*(chunking.splice(BLOB, CHUNKS) for _ in range(6)))  # all slots are free


async def test_few_blobs_are_made_at_once() -> None:
    chunking = Chunking()
    end = chunking.blobs.add(b"the end")
    starts = [random_bytes(1000, seed) for seed in range(10)]
    requests = [
        (digest_of(start + b"the end"), [chunking.blobs.add(start), end]) for start in starts
    ]
    chunking.blobs.gate.clear()
    tasks = [asyncio.create_task(chunking.splice(*request)) for request in requests]
    await chunking.blobs.reading.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert chunking.blobs.reads.count(end) == 4
    chunking.blobs.gate.set()
    await asyncio.gather(*tasks)
    assert chunking.blobs.reads.count(end) == 10
