"""Bad input on the wire, where no conformance test has it already (reliability B1 to B13)."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from reapi.cas import prompt_messages
from reapi.cas.storage import Storage
from reapi.core.compression import compress_blob
from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import (
    QueryWriteStatusRequest,
    ReadRequest,
    WriteRequest,
)
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import INLINE_MAX_BYTES, local_storage
from tests.fakes.raw_client import RawClient, code_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
ZSTD = re_pb2.Compressor.ZSTD

MILLION = 1_000_000


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with local_storage(tmp_path) as made:
        yield made


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[RawClient]:
    async with checked_client(storage) as made:
        yield made


async def is_missing(client: RawClient, digest: Digest) -> bool:
    request = re_pb2.FindMissingBlobsRequest(blob_digests=[digest.to_message()])
    return bool((await client.cas.FindMissingBlobs(request)).missing_blob_digests)


async def read(client: RawClient, digest: Digest) -> bytes:
    replies = await client.bytestream.Read(ReadRequest(resource_name=read_name("", digest)))
    return b"".join(reply.data for reply in replies)


async def batch_code(client: RawClient, **entry: object) -> int:
    request = re_pb2.BatchUpdateBlobsRequest()
    request.requests.add(**entry)
    (response,) = (await client.cas.BatchUpdateBlobs(request)).responses
    return int(response.status.code)


async def write_plain(client: RawClient, digest: Digest, data: bytes) -> int:
    name = write_name("", "an-upload", digest)
    return await _write(client, WriteRequest(resource_name=name, data=data, finish_write=True))


async def write_zstd(client: RawClient, digest: Digest, data: bytes) -> int:
    name = write_name("", "an-upload", digest, ZSTD)
    data = compress_blob(data)
    return await _write(client, WriteRequest(resource_name=name, data=data, finish_write=True))


async def _write(client: RawClient, request: WriteRequest) -> int:
    try:
        await client.bytestream.Write([request])
    except grpc.aio.AioRpcError as error:
        return int(error.code().value[0])
    return 0


async def batch_plain(client: RawClient, digest: Digest, data: bytes) -> int:
    return await batch_code(client, digest=digest.to_message(), data=data)


async def batch_zstd(client: RawClient, digest: Digest, data: bytes) -> int:
    data = compress_blob(data)
    return await batch_code(client, digest=digest.to_message(), data=data, compressor=ZSTD)


@pytest.mark.parametrize("way", [write_plain, write_zstd, batch_plain, batch_zstd])
@pytest.mark.parametrize("size", [INLINE_MAX_BYTES // 2, 50 * INLINE_MAX_BYTES])
@pytest.mark.parametrize("change", ["wrong", "shorter", "longer", "empty"])
async def test_reliability_B1_B2_wrong_bytes_are_invalid_and_nothing_is_stored(
    client: RawClient,
    storage: Storage,
    tmp_path: Path,
    way: Callable[[RawClient, Digest, bytes], Awaitable[int]],
    size: int,
    change: str,
) -> None:
    data = random.Random(1).randbytes(size)
    bad = {"wrong": data[::-1], "shorter": data[:-1], "longer": data + b"!", "empty": b""}[change]
    digest = digest_of(data)
    assert await way(client, digest, bad) == INVALID.value[0]
    assert await is_missing(client, digest)
    for folder in ("blobs", "incoming", "quarantine"):
        assert not [path for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert sum((await storage.parts.index.total_bytes()).values()) == 0
    assert [blobs async for blobs in storage.parts.index.inline_blobs() if blobs] == []
    assert await way(client, digest, data) == 0
    assert await read(client, digest) == data


async def test_reliability_B8_a_silent_stream_is_ended_and_can_be_resumed(
    client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is connected, and neither sends nor finishes."""
    waits: list[asyncio.Timeout] = []
    waits_again = asyncio.Event()

    def endless(_seconds: float) -> asyncio.Timeout:
        waits.append(asyncio.timeout(None))
        if len(waits) == 2:
            waits_again.set()
        return waits[-1]

    monkeypatch.setattr(prompt_messages, "timeout", endless)
    data = random.Random(8).randbytes(1_000_000)
    name = write_name("", "an-upload", digest_of(data))
    never = asyncio.Event()

    async def silent() -> AsyncIterator[WriteRequest]:
        yield WriteRequest(resource_name=name, data=data[:600_000])
        await never.wait()

    call = asyncio.create_task(code_of(client.bytestream.Write(silent())))
    await waits_again.wait()
    waits[1].reschedule(0)
    assert await call == grpc.StatusCode.DEADLINE_EXCEEDED
    status = await client.bytestream.QueryWriteStatus(QueryWriteStatusRequest(resource_name=name))
    assert (status.committed_size, status.complete) == (600_000, False)
    assert await is_missing(client, digest_of(data))
    rest = WriteRequest(
        resource_name=name, write_offset=600_000, data=data[600_000:], finish_write=True
    )
    assert (await client.bytestream.Write([rest])).committed_size == len(data)
    assert await read(client, digest_of(data)) == data


def digest_fields(count: int, *, field: int = 2, hash_length: int = 64) -> bytes:
    """Field `field` of a message, so many times: distinct digests that no store has."""
    head = bytes((field << 3 | 2, hash_length + 4, 0x0A, hash_length))
    return b"".join(head + b"%0*x\x10\x05" % (hash_length, number) for number in range(count))


class TestManyDigests:
    @pytest.mark.parametrize(
        ("count", "hash_length", "code"),
        [(MILLION, 40, INVALID), (900_000, 64, INVALID), (MILLION, 64, EXHAUSTED)],
        ids=["SHA1", "SHA256", "more than a message may hold"],
    )
    async def test_reliability_B11_a_million_digests_are_refused(
        self, client: RawClient, count: int, hash_length: int, code: grpc.StatusCode
    ) -> None:
        request = digest_fields(count, hash_length=hash_length)
        assert await code_of(client.cas.FindMissingBlobs(request)) == code
        assert await code_of(client.cas.BatchReadBlobs(request)) == code

    async def test_reliability_B11_as_many_as_fit_are_answered_once_each(
        self, client: RawClient
    ) -> None:
        await batch_plain(client, digest_of(b"here"), b"here")
        request = re_pb2.FindMissingBlobsRequest(blob_digests=[digest_of(b"here").to_message()])
        body = digest_fields(100_000)
        missing = await client.cas.FindMissingBlobs(request.SerializeToString() + body + body)
        assert missing.SerializeToString() == body

    async def test_reliability_B11_too_many_blobs_to_write_are_refused(
        self, client: RawClient, storage: Storage
    ) -> None:
        digest = digest_of(b"x")
        entry = {"digest": digest.to_message(), "data": b"x"}
        request = re_pb2.BatchUpdateBlobsRequest(requests=[entry]).SerializeToString()
        assert await code_of(client.cas.BatchUpdateBlobs(request * 100_001)) == INVALID
        assert await is_missing(client, digest)

    async def test_reliability_B11_duplicates_are_judged_each_and_stored_once(
        self, client: RawClient, storage: Storage
    ) -> None:
        good = {"digest": digest_of(b"x").to_message(), "data": b"x"}
        bad = {"digest": digest_of(b"x").to_message(), "data": b"y"}
        request = re_pb2.BatchUpdateBlobsRequest(requests=[good, bad]).SerializeToString()
        replies = (await client.cas.BatchUpdateBlobs(request * 10_000)).responses
        assert [each.status.code for each in replies] == [0, INVALID.value[0]] * 10_000
        assert sum((await storage.parts.index.total_bytes()).values()) == 1
        read_request = re_pb2.BatchReadBlobsRequest(digests=[digest_of(b"x").to_message()] * 10_000)
        (reply,) = (await client.cas.BatchReadBlobs(read_request)).responses
        assert reply.data == b"x"

    async def test_reliability_B11_data_beyond_the_transports_limit_is_refused(
        self, client: RawClient
    ) -> None:
        data = bytes(64 << 20)
        digest = digest_of(data).to_message()
        request = re_pb2.BatchUpdateBlobsRequest(requests=[{"digest": digest, "data": data}])
        assert await code_of(client.cas.BatchUpdateBlobs(request)) == EXHAUSTED


async def test_reliability_B12_a_directory_of_a_million_files_is_not_even_parsed(
    client: RawClient,
) -> None:
    """Its bytes are here; GetTree reads none of them."""
    file = digest_of(b"x").to_message().SerializeToString()
    node = b"\x0a\x06%06d\x12" + bytes((len(file),)) + file
    data = b"".join(
        b"\x0a" + bytes((len(node) + 2,)) + node.replace(b"%06d", b"%06d" % number)
        for number in range(MILLION)
    )
    assert len(re_pb2.Directory.FromString(data[: 10 * (len(data) // MILLION)]).files) == 10
    digest = digest_of(data)
    name = write_name("", "u", digest)
    parts = [
        WriteRequest(
            resource_name=name,
            write_offset=start,
            data=data[start : start + (1 << 20)],
            finish_write=start + (1 << 20) >= len(data),
        )
        for start in range(0, len(data), 1 << 20)
    ]
    assert (await client.bytestream.Write(parts)).committed_size == len(data)
    request = re_pb2.GetTreeRequest(root_digest=digest.to_message())
    assert await code_of(client.cas.GetTree(request)) == INVALID
