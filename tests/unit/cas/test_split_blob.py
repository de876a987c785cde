"""What a splitter answers, does once, and gives up."""

import asyncio

import pytest

from reapi.cas.chunking import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, ChunkCutter
from reapi.cas.split_blob import largest_cut_bytes
from reapi.core.digest import SHA256, Digest, digest_of
from reapi.core.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from tests.unit.cas.chunking_harness import (
    FUNCTION,
    Chunking,
    WatchedBlobStore,
    content_of,
    random_bytes,
)

DATA = random_bytes(3 << 20)


async def test_a_blob_is_cut_by_the_announced_parameters_and_recorded() -> None:
    chunking = Chunking()
    blob = chunking.blobs.add(DATA)
    response = await chunking.split(blob)
    cutter = ChunkCutter()
    cutter.add(DATA)
    expected = [digest_of(chunk.data).to_message() for chunk in cutter.cut(is_end=True)]
    assert list(response.chunk_digests) == expected
    assert len(expected) > 2
    assert response.chunking_function == FUNCTION.FAST_CDC_2020
    assert content_of(chunking.blobs, response) == DATA
    reads = len(chunking.blobs.reads)
    assert await chunking.split(blob) == response
    assert len(chunking.blobs.reads) == reads


@pytest.mark.parametrize("size", [0, 1, MIN_CHUNK_BYTES])
async def test_a_small_blob_is_its_own_chunk(size: int) -> None:
    chunking = Chunking()
    blob = chunking.blobs.add(bytes(size))
    response = await chunking.split(blob)
    assert list(response.chunk_digests) == ([blob.to_message()] if size else [])
    assert response.chunking_function == FUNCTION.FAST_CDC_2020
    assert not chunking.results.rows


async def test_equal_chunks_are_one_blob() -> None:
    chunking = Chunking()
    blob = chunking.blobs.add(bytes(3 * MAX_CHUNK_BYTES))
    response = await chunking.split(blob)
    assert len(response.chunk_digests) == 3
    assert len(chunking.blobs.blobs) == 2
    assert content_of(chunking.blobs, response) == bytes(3 * MAX_CHUNK_BYTES)


@pytest.mark.parametrize("number", FUNCTION.Value.values())
async def test_any_function_may_be_asked_for(number: int) -> None:
    chunking = Chunking()
    response = await chunking.split(chunking.blobs.add(DATA), chunking_function=number)
    assert response.chunking_function == FUNCTION.FAST_CDC_2020


async def test_G10_an_unknown_function_number_is_invalid() -> None:
    chunking = Chunking()
    with pytest.raises(InvalidArgument):
        await chunking.split(chunking.blobs.add(DATA), chunking_function=77)


async def test_callers_at_once_cut_a_blob_once() -> None:
    chunking = Chunking()
    blob = chunking.blobs.add(DATA)
    responses = await asyncio.gather(*(chunking.split(blob) for _ in range(10)))
    assert chunking.blobs.reads == [blob]
    assert all(response == responses[0] for response in responses)


async def test_cancelled_callers_leave_no_record_and_no_work() -> None:
    chunking = Chunking()
    blob = chunking.blobs.add(DATA)
    chunking.blobs.gate.clear()
    tasks = [asyncio.create_task(chunking.split(blob)) for _ in range(3)]
    await chunking.blobs.reading.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert len(asyncio.all_tasks()) == 1
    assert not chunking.results.rows
    chunking.blobs.gate.set()
    assert content_of(chunking.blobs, await chunking.split(blob)) == DATA


async def test_few_blobs_are_cut_at_once() -> None:
    chunking = Chunking()
    blobs = [chunking.blobs.add(random_bytes(200_000, seed)) for seed in range(10)]
    chunking.blobs.gate.clear()
    tasks = [asyncio.create_task(chunking.split(blob)) for blob in blobs]
    await chunking.blobs.reading.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(chunking.blobs.reads) == 4
    chunking.blobs.gate.set()
    await asyncio.gather(*tasks)
    assert len(chunking.blobs.reads) == 10


class BoundlessBlobStore(WatchedBlobStore):
    """Says that it has everything."""

    async def find_missing(self, digests: object) -> list[Digest]:
        return []


async def test_a_blob_with_too_many_chunks_for_a_response_is_not_split() -> None:
    chunking = Chunking(BoundlessBlobStore())
    largest = largest_cut_bytes(SHA256)
    assert largest >= 4 << 30
    with pytest.raises(NotFound, match="too large"):
        await chunking.split(Digest("a" * 64, largest + 1))
    assert chunking.blobs.reads == []


async def test_without_room_for_chunks_a_blob_is_not_split() -> None:
    """Clients read it as a whole on NotFound, and try again on ResourceExhausted."""
    chunking = Chunking()
    blob = chunking.blobs.add(DATA)
    chunking.blobs.write_many_error = ResourceExhausted("full")
    with pytest.raises(NotFound, match="no room") as caught:
        await chunking.split(blob)
    assert isinstance(caught.value.__cause__, ResourceExhausted)
    assert not chunking.results.rows


async def test_any_other_failure_to_store_a_chunk_is_told() -> None:
    chunking = Chunking()
    blob = chunking.blobs.add(DATA)
    chunking.blobs.write_many_error = Unavailable("down")
    with pytest.raises(Unavailable):
        await chunking.split(blob)
    assert not chunking.results.rows


async def test_a_blob_that_turns_out_to_be_damaged_is_not_recorded() -> None:
    class Damaged(WatchedBlobStore):
        async def read(self, digest, *, offset=0, limit=None):  # type: ignore[no-untyped-def]
            yield DATA[:-1]
            raise DataLoss("damaged")

    chunking = Chunking(Damaged())
    with pytest.raises(DataLoss):
        await chunking.split(chunking.blobs.add(DATA))
    assert not chunking.results.rows
