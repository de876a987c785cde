"""Records of chunks live among action results and are never taken for one."""

from reapi.cas.chunk_records import (
    CHUNK_RECORD_PREFIX,
    LARGEST_RESPONSE_BYTES,
    most_chunks,
    response_of,
)
from reapi.cas.closure import unpack_closure
from reapi.core.digest import DIGEST_FUNCTIONS, LARGEST_SIZE_BYTES, Digest, digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.unit.cas.chunking_harness import FUNCTION, Chunking

BLOB = digest_of(b"a blob")
CHUNKS = [digest_of(b"a "), digest_of(b"bl"), digest_of(b"ob")]


async def test_a_record_comes_back_with_what_it_needs() -> None:
    records = Chunking().records
    assert await records.get(BLOB) is None
    put = await records.put(BLOB, [*CHUNKS, CHUNKS[0]], FUNCTION.FAST_CDC_2020)
    assert await records.get(BLOB) == put
    assert put.needed == [BLOB, *CHUNKS]
    response = re_pb2.SplitBlobResponse.FromString(put.response)
    assert list(response.chunk_digests) == [chunk.to_message() for chunk in [*CHUNKS, CHUNKS[0]]]
    assert response.chunking_function == FUNCTION.FAST_CDC_2020


async def test_a_record_is_not_found_under_another_size() -> None:
    records = Chunking().records
    await records.put(BLOB, CHUNKS, FUNCTION.UNKNOWN)
    assert await records.get(BLOB._replace(size_bytes=7)) is None


async def test_a_later_record_replaces_an_earlier_one() -> None:
    chunking = Chunking()
    await chunking.records.put(BLOB, CHUNKS, FUNCTION.UNKNOWN)
    later = await chunking.records.put(BLOB, CHUNKS[:1], FUNCTION.FAST_CDC_2020)
    assert await chunking.records.get(BLOB) == later
    assert len(chunking.results.rows) == 1


async def test_a_row_has_the_closure_and_the_times_of_a_result() -> None:
    chunking = Chunking()
    await chunking.records.put(BLOB, CHUNKS, FUNCTION.UNKNOWN)
    (row,) = chunking.results.rows.values()
    assert unpack_closure(row.closure) == [BLOB, *CHUNKS]
    assert row.used == chunking.presence.stamp()
    assert row.stored == chunking.clock.seconds


async def test_a_record_that_is_used_is_not_forgotten() -> None:
    chunking = Chunking()
    await chunking.records.put(BLOB, CHUNKS, FUNCTION.UNKNOWN)
    first_stamp = chunking.presence.stamp()
    chunking.clock.seconds += 3 * 3600
    assert await chunking.records.get(BLOB) is not None
    await chunking.results.remove_unused(first_stamp)
    assert await chunking.records.get(BLOB) is not None
    await chunking.results.remove_unused(chunking.presence.stamp())
    assert await chunking.records.get(BLOB) is None


def test_no_digest_function_has_the_number_that_keys_of_records_begin_with() -> None:
    """The keys of results begin with the number of a function."""
    assert CHUNK_RECORD_PREFIX[0] not in re_pb2.DigestFunction.Value.values()


async def test_the_key_of_a_record_begins_with_the_prefix() -> None:
    chunking = Chunking()
    await chunking.records.put(BLOB, CHUNKS, FUNCTION.UNKNOWN)
    (key,) = chunking.results.rows
    assert key.startswith(CHUNK_RECORD_PREFIX)


def test_L1_the_most_chunks_fit_into_a_message_of_4_MiB() -> None:
    for function in DIGEST_FUNCTIONS:
        largest = Digest("f" * 2 * function.hash_bytes, LARGEST_SIZE_BYTES, function)
        some = response_of([largest] * 100, FUNCTION.FAST_CDC_2020)
        assert len(some) * most_chunks(function) / 100 <= LARGEST_RESPONSE_BYTES < 4 << 20
