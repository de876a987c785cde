"""Conformance of SplitBlob and SpliceBlob (CAP11, CAP12, CAS16 to CAS19, D7)."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from reapi.cas.chunking import ChunkCutter, FastCdcParameters
from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import ManualClock, local_storage
from tests.fakes.raw_client import RawClient, code_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXISTS = grpc.StatusCode.ALREADY_EXISTS
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

FUNCTION = re_pb2.ChunkingFunction
RETENTION_SECONDS = 24 * 3600
DATA = random.Random(16).randbytes(3_000_000)
BLOB = digest_of(DATA)
ABSENT = digest_of(b"absent")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def client(tmp_path: Path, clock: ManualClock) -> AsyncIterator[RawClient]:
    async with (
        local_storage(
            tmp_path, clock=clock, max_size_bytes=12_000_000, retention_seconds=RETENTION_SECONDS
        ) as storage,
        checked_client(storage) as made,
    ):
        yield made


async def add(client: RawClient, *contents: bytes) -> list[int]:
    """Stores blobs; says the code of each."""
    requests = [{"digest": digest_of(data).to_message(), "data": data} for data in contents]
    request = re_pb2.BatchUpdateBlobsRequest(requests=requests)
    response = await client.cas.BatchUpdateBlobs(request)
    return [each.status.code for each in response.responses]


async def missing(client: RawClient, digests: Sequence[re_pb2.Digest]) -> list[re_pb2.Digest]:
    request = re_pb2.FindMissingBlobsRequest(blob_digests=digests)
    return list((await client.cas.FindMissingBlobs(request)).missing_blob_digests)


async def read(client: RawClient, digest: re_pb2.Digest) -> bytes:
    name = read_name("", Digest(digest.hash, digest.size_bytes))
    replies = await client.bytestream.Read(ReadRequest(resource_name=name))
    return b"".join(reply.data for reply in replies)


def split_request(blob: Digest = BLOB, **fields: object) -> re_pb2.SplitBlobRequest:
    return re_pb2.SplitBlobRequest(blob_digest=blob.to_message(), **fields)  # type: ignore[arg-type]


def splice_request(
    chunks: Sequence[Digest], blob: Digest = BLOB, **fields: object
) -> re_pb2.SpliceBlobRequest:
    return re_pb2.SpliceBlobRequest(
        blob_digest=blob.to_message(),
        chunk_digests=[chunk.to_message() for chunk in chunks],
        **fields,  # type: ignore[arg-type]  # numbers of enums, names
    )


async def add_parts(client: RawClient, size: int = 700_000) -> list[Digest]:
    parts = [DATA[start : start + size] for start in range(0, len(DATA), size)]
    assert set(await add(client, *parts)) == {0}
    return [digest_of(part) for part in parts]


async def check_split(client: RawClient) -> re_pb2.SplitBlobResponse:
    """What must hold of every answer: its chunks are there and make the blob in their order."""
    response: re_pb2.SplitBlobResponse = await client.cas.SplitBlob(split_request())
    assert await missing(client, response.chunk_digests) == []
    parts = [await read(client, chunk) for chunk in response.chunk_digests]
    assert b"".join(parts) == DATA
    return response


class TestCapabilities:
    async def test_CAP11_what_is_announced_is_answered(self, client: RawClient) -> None:
        reply = await client.capabilities.GetCapabilities(re_pb2.GetCapabilitiesRequest())
        cache = reply.cache_capabilities
        assert cache.split_blob_support
        assert cache.splice_blob_support
        assert not cache.HasField("rep_max_cdc_params")
        empty = digest_of(b"")  # what clients probe with
        assert not (await client.cas.SplitBlob(split_request(empty))).chunk_digests
        spliced = await client.cas.SpliceBlob(splice_request([empty], empty))
        assert spliced.blob_digest == empty.to_message()

    async def test_CAP12_a_client_that_cuts_as_announced_gets_the_chunks_of_the_server(
        self, client: RawClient
    ) -> None:
        reply = await client.capabilities.GetCapabilities(re_pb2.GetCapabilitiesRequest())
        announced = reply.cache_capabilities.fast_cdc_2020_params
        avg = announced.avg_chunk_size_bytes
        assert 1024 <= avg <= 1 << 20
        cutter = ChunkCutter(FastCdcParameters(avg, avg // 4, avg * 4, announced.seed))
        cutter.add(DATA)
        own = [digest_of(chunk.data).to_message() for chunk in cutter.cut(is_end=True)]
        await add(client, DATA)
        assert list((await check_split(client)).chunk_digests) == own


class TestSplitBlob:
    async def test_CAS16_chunks_are_here_and_make_the_blob_in_order(
        self, client: RawClient
    ) -> None:
        await add(client, DATA)
        first = await check_split(client)
        assert len(first.chunk_digests) > 1
        assert first.chunking_function == FUNCTION.FAST_CDC_2020
        assert await check_split(client) == first

    async def test_CAS16_an_absent_blob_is_not_found(self, client: RawClient) -> None:
        assert await code_of(client.cas.SplitBlob(split_request())) == NOT_FOUND
        assert await code_of(client.cas.SplitBlob(split_request(ABSENT))) == NOT_FOUND

    async def test_CAS16_a_damaged_blob_becomes_not_found(
        self, client: RawClient, tmp_path: Path
    ) -> None:
        await add(client, DATA)
        (file,) = (tmp_path / "blobs").glob("*/*")
        file.write_bytes(DATA[:-1] + b"!")
        await code_of(client.cas.SplitBlob(split_request()))
        assert await code_of(client.cas.SplitBlob(split_request())) == NOT_FOUND
        assert await missing(client, [BLOB.to_message()]) == [BLOB.to_message()]

    async def test_CAS16_blob_and_chunks_stay_for_the_retention_time(
        self, client: RawClient, clock: ManualClock
    ) -> None:
        await add(client, DATA)
        first = await check_split(client)
        clock.seconds += RETENTION_SECONDS * 3 // 4
        assert await client.cas.SplitBlob(split_request()) == first
        clock.seconds += RETENTION_SECONDS * 3 // 4
        large = [bytes([number]) * 3_500_000 for number in (1, 2)]
        assert EXHAUSTED.value[0] in await add(client, *large)
        assert await check_split(client) == first

    async def test_CAS16_the_answer_says_which_function_was_used(self, client: RawClient) -> None:
        await add(client, DATA)
        for asked in FUNCTION.Value.values():
            response = await client.cas.SplitBlob(split_request(chunking_function=asked))
            assert response.chunking_function == FUNCTION.FAST_CDC_2020

    async def test_CAS16_many_at_once_get_one_answer(self, client: RawClient) -> None:
        await add(client, DATA)
        responses = await asyncio.gather(
            *(client.cas.SplitBlob(split_request()) for _ in range(20))
        )
        assert all(response == responses[0] for response in responses)

    async def test_without_room_for_chunks_a_blob_is_not_split_and_still_read(
        self, client: RawClient
    ) -> None:
        await add(client, DATA, b"1" * 3_900_000)
        await add(client, b"2" * 3_900_000)
        assert await code_of(client.cas.SplitBlob(split_request())) == NOT_FOUND
        assert await read(client, BLOB.to_message()) == DATA

    async def test_malformed_requests_are_invalid(self, client: RawClient) -> None:
        await add(client, DATA)
        wrong_size = Digest(BLOB.hash, BLOB.size_bytes + 1)
        assert await code_of(client.cas.SplitBlob(split_request(wrong_size))) == NOT_FOUND
        for request in (
            re_pb2.SplitBlobRequest(),
            re_pb2.SplitBlobRequest(digest_function=re_pb2.DigestFunction.SHA256),
            split_request(instance_name="un/known"),
            split_request(chunking_function=77),
            split_request(digest_function=re_pb2.DigestFunction.MD5),
        ):
            assert await code_of(client.cas.SplitBlob(request)) == INVALID


class TestSpliceBlob:
    async def test_CAS17_chunks_become_a_blob(self, client: RawClient) -> None:
        chunks = await add_parts(client)
        response = await client.cas.SpliceBlob(splice_request(chunks, instance_name="main"))
        assert response.blob_digest == BLOB.to_message()
        assert await read(client, BLOB.to_message()) == DATA
        split = await check_split(client)
        assert list(split.chunk_digests) == [chunk.to_message() for chunk in chunks]

    async def test_CAS17_an_absent_chunk_is_not_found(self, client: RawClient) -> None:
        chunks = await add_parts(client)
        absent = Digest(ABSENT.hash, chunks[1].size_bytes)
        request = splice_request([chunks[0], absent, *chunks[2:]])
        assert await code_of(client.cas.SpliceBlob(request)) == NOT_FOUND
        assert await missing(client, [BLOB.to_message()]) == [BLOB.to_message()]

    async def test_CAS17_a_digest_is_required_and_never_trusted(self, client: RawClient) -> None:
        chunks = await add_parts(client)
        messages = [chunk.to_message() for chunk in chunks]
        other = Digest("0" * 64, BLOB.size_bytes)
        for request in (
            re_pb2.SpliceBlobRequest(chunk_digests=messages),
            splice_request(chunks, other),
            splice_request([chunks[1], chunks[0], *chunks[2:]]),
            splice_request(chunks[:-1]),
            splice_request([*chunks, chunks[0]]),
            splice_request([]),
            splice_request(chunks, instance_name="un/known"),
            splice_request(chunks, chunking_function=77),
        ):
            assert await code_of(client.cas.SpliceBlob(request)) == INVALID
        wanted = [BLOB.to_message(), other.to_message()]
        assert await missing(client, wanted) == wanted

    async def test_CAS17_two_at_once_both_succeed(self, client: RawClient) -> None:
        request = splice_request(await add_parts(client))
        responses = await asyncio.gather(*(client.cas.SpliceBlob(request) for _ in range(2)))
        assert [response.blob_digest for response in responses] == [BLOB.to_message()] * 2
        assert await read(client, BLOB.to_message()) == DATA

    async def test_CAS18_a_blob_that_is_here_keeps_its_chunks(self, client: RawClient) -> None:
        await add(client, DATA)
        kept = await check_split(client)
        chunks = await add_parts(client)
        for number in FUNCTION.Value.values():  # UNKNOWN is one of them
            request = splice_request(chunks, chunking_function=number)
            assert (await client.cas.SpliceBlob(request)).blob_digest == BLOB.to_message()
            assert await check_split(client) == kept

    async def test_CAS18_the_given_chunks_are_extended(
        self, client: RawClient, clock: ManualClock
    ) -> None:
        await add(client, DATA)
        chunks = await add_parts(client)
        clock.seconds += RETENTION_SECONDS * 3 // 4
        await client.cas.SpliceBlob(splice_request(chunks))
        clock.seconds += RETENTION_SECONDS * 3 // 4
        assert await add(client, b"1" * 3_900_000, b"2" * 3_900_000) == [0, EXHAUSTED.value[0]]
        extended = [digest.to_message() for digest in (BLOB, *chunks)]
        assert await missing(client, extended) == []

    async def test_CAS18_chunks_that_cannot_be_extended_are_told_of(
        self, client: RawClient
    ) -> None:
        chunks = await add_parts(client)
        await add(client, DATA)
        absent = Digest(ABSENT.hash, chunks[1].size_bytes)
        request = splice_request([chunks[0], absent, *chunks[2:]])
        assert await code_of(client.cas.SpliceBlob(request)) == EXISTS


class TestLifetimes:
    async def test_CAS19_a_blob_outlives_its_chunks_and_is_cut_again(
        self, client: RawClient, clock: ManualClock
    ) -> None:
        await add(client, DATA)
        first = await check_split(client)
        clock.seconds += 2 * RETENTION_SECONDS
        assert await missing(client, [BLOB.to_message()]) == []  # touches the blob alone
        assert await add(client, b"1" * 3_900_000, b"2" * 3_900_000) == [0, 0]
        gone = await missing(client, first.chunk_digests)
        assert gone
        assert await missing(client, [BLOB.to_message()]) == []
        clock.seconds += 2 * RETENTION_SECONDS
        assert await check_split(client) == first

    async def test_CAS19_chunks_outlive_their_blob(
        self, client: RawClient, clock: ManualClock
    ) -> None:
        chunks = await add_parts(client)
        await client.cas.SpliceBlob(splice_request(chunks))
        clock.seconds += 2 * RETENTION_SECONDS
        messages = [chunk.to_message() for chunk in chunks]
        assert await missing(client, messages) == []  # touches the chunks alone
        assert await add(client, b"1" * 3_900_000, b"2" * 3_900_000) == [0, 0]
        assert await missing(client, [BLOB.to_message()]) == [BLOB.to_message()]
        assert await missing(client, messages) == []
        assert await code_of(client.cas.SplitBlob(split_request())) == NOT_FOUND
        clock.seconds += 2 * RETENTION_SECONDS
        await client.cas.SpliceBlob(splice_request(chunks))
        await check_split(client)


async def test_D7_blob_and_chunks_share_one_digest_function(client: RawClient) -> None:
    chunks = await add_parts(client)
    other_length = re_pb2.Digest(hash="0" * 40, size_bytes=chunks[0].size_bytes)
    mixed = splice_request(chunks[1:])
    mixed.chunk_digests.insert(0, other_length)
    assert await code_of(client.cas.SpliceBlob(mixed)) == INVALID
    for number in (re_pb2.DigestFunction.UNKNOWN, re_pb2.DigestFunction.SHA256):
        request = splice_request(chunks, digest_function=number)
        assert (await client.cas.SpliceBlob(request)).blob_digest == BLOB.to_message()
        response = await client.cas.SplitBlob(split_request(digest_function=number))
        assert {len(chunk.hash) for chunk in response.chunk_digests} == {64}
    stated = splice_request(chunks, digest_function=re_pb2.DigestFunction.MD5)
    assert await code_of(client.cas.SpliceBlob(stated)) == INVALID
