"""Conformance of zstd on ByteStream (conformance 1.5)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from reapi.cas.bytestream_service import ByteStreamService
from reapi.cas.storage import Storage
from reapi.core.compression import compress_blob, decompress_blob
from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest, WriteRequest
from tests.fakes.checked_client import checked_client
from tests.fakes.instances import INSTANCES
from tests.fakes.local_storage import local_storage
from tests.fakes.raw_client import RawClient, code_of, raw_client
from tests.fakes.zstd_frames import skippable_frame
from tests.integration.zstd_calls import (
    ABSENT,
    INVALID,
    NOISE,
    NOT_FOUND,
    OUT_OF_RANGE,
    SMALL,
    TEXT,
    ZSTD,
    flushed_half,
    is_present,
    name_of,
    query,
    read,
    requests_of,
    store,
    write,
)
from tests.transport import rpc_server


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with local_storage(tmp_path) as made:
        yield made


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[RawClient]:
    async with checked_client(storage) as made:
        yield made


@pytest.fixture(params=[SMALL, TEXT, NOISE], ids=["small", "text", "noise"])
def data(request: pytest.FixtureRequest) -> bytes:
    return request.param


class TestRead:
    async def test_BS8_the_offset_counts_plain_bytes(
        self, client: RawClient, storage: Storage, data: bytes
    ) -> None:
        digest = await store(storage, data)
        for offset in (0, 1, len(data) // 2, len(data) - 1, len(data)):
            assert await read(client, digest, offset) == data[offset:]

    @pytest.mark.parametrize("limit", [1, 5, 10**9, -1])
    async def test_reliability_B9_BS8_any_limit_is_invalid(
        self, client: RawClient, storage: Storage, limit: int
    ) -> None:
        name = read_name("", await store(storage, SMALL), ZSTD)
        request = ReadRequest(resource_name=name, read_limit=limit)
        assert await code_of(client.bytestream.Read(request)) == INVALID

    @pytest.mark.parametrize("offset", [-1, len(SMALL) + 1])
    async def test_reliability_B9_BS7_offsets_outside_of_the_blob_are_out_of_range(
        self, client: RawClient, storage: Storage, offset: int
    ) -> None:
        name = read_name("", await store(storage, SMALL), ZSTD)
        request = ReadRequest(resource_name=name, read_offset=offset)
        assert await code_of(client.bytestream.Read(request)) == OUT_OF_RANGE

    async def test_BS6_an_absent_blob_is_not_found(self, client: RawClient) -> None:
        request = ReadRequest(resource_name=read_name("", ABSENT, ZSTD))
        assert await code_of(client.bytestream.Read(request)) == NOT_FOUND

    async def test_reliability_B4_G3_the_empty_blob_is_an_empty_frame(
        self, client: RawClient
    ) -> None:
        assert await read(client, digest_of(b"")) == b""

    @pytest.mark.parametrize("upload", ["plain", "zstd", "batch", "zstd batch"])
    async def test_BS9_a_blob_is_read_in_every_form_however_it_came(
        self, client: RawClient, data: bytes, upload: str
    ) -> None:
        digest = digest_of(data)
        is_zstd = upload.startswith("zstd")
        sent = compress_blob(data) if is_zstd else data
        if "batch" in upload:
            message = re_pb2.BatchUpdateBlobsRequest()
            message.requests.add(
                digest=digest.to_message(), data=sent, compressor=ZSTD if is_zstd else 0
            )
            response = await client.cas.BatchUpdateBlobs(message)
            assert response.responses[0].status.code == 0
        else:
            name = name_of(digest) if is_zstd else write_name("", "u", digest)
            assert await write(client, requests_of(name, sent)) == len(sent)
        assert await read(client, digest) == data
        request = ReadRequest(resource_name=read_name("", digest))
        assert b"".join(each.data for each in await client.bytestream.Read(request)) == data
        for acceptable in ([], [ZSTD]):
            asked = re_pb2.BatchReadBlobsRequest(
                digests=[digest.to_message()], acceptable_compressors=acceptable
            )
            (answer,) = (await client.cas.BatchReadBlobs(asked)).responses
            plain = answer.data
            if answer.compressor == ZSTD:
                plain = decompress_blob(plain, len(data))
            assert plain == data

    @pytest.mark.parametrize("position", [0, len(NOISE) - 1])
    async def test_BS11_damaged_bytes_never_end_well(
        self, client: RawClient, storage: Storage, tmp_path: Path, position: int
    ) -> None:
        digest = await store(storage, NOISE)
        (file,) = (tmp_path / "blobs").glob("*/*")
        file.write_bytes(NOISE[:position] + b"?" + NOISE[position + 1 :])
        request = ReadRequest(resource_name=read_name("", digest, ZSTD))
        assert await code_of(client.bytestream.Read(request)) == grpc.StatusCode.DATA_LOSS
        assert await code_of(client.bytestream.Read(request)) == NOT_FOUND

    async def test_Z3_messages_are_not_compressed_once_more(
        self, client: RawClient, storage: Storage
    ) -> None:
        """What gRPC's own compression would announce in the headers."""
        digest = await store(storage, TEXT)
        call = client.channel.unary_stream("/google.bytestream.ByteStream/Read")(
            ReadRequest(resource_name=read_name("", digest, ZSTD)).SerializeToString()
        )
        headers = dict(await call.initial_metadata())
        assert headers.get("grpc-encoding", "identity") == "identity"
        call.cancel()


class StoredFrames:
    """A CompressedSource with one blob, whose frame can be told from one made on the way."""

    def __init__(self, digest: Digest, frame: bytes) -> None:
        self._digest = digest
        self._frame = frame

    async def read_zstd(self, digest: Digest) -> AsyncIterator[bytes] | None:
        return self._chunks() if digest == self._digest else None

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield self._frame[:10]
        yield self._frame[10:]


async def test_BS9_stored_frames_are_passed_on_as_they_are(storage: Storage) -> None:
    text, small = await store(storage, TEXT), await store(storage, SMALL)
    frame = skippable_frame(b"stored") + compress_blob(TEXT)
    service = ByteStreamService(
        storage.blobs, storage.uploads, INSTANCES, StoredFrames(text, frame)
    )
    async with (
        rpc_server(service.methods()) as server,
        raw_client(f"127.0.0.1:{server.port}") as client,
    ):
        request = ReadRequest(resource_name=read_name("", text, ZSTD))
        found = b"".join([reply.data for reply in await client.bytestream.Read(request)])
        assert found == frame
        assert await read(client, text, 1) == TEXT[1:]
        assert await read(client, small) == SMALL
        plain = ReadRequest(resource_name=read_name("", text))
        assert b"".join([each.data for each in await client.bytestream.Read(plain)]) == TEXT


class TestWrite:
    @pytest.mark.parametrize("chunk_bytes", [1_000, 100_000, 10_000_000])
    async def test_BS18_Q_CSIZE_B9_committed_size_counts_the_compressed_bytes(
        self, client: RawClient, data: bytes, chunk_bytes: int
    ) -> None:
        stream = compress_blob(data)
        name = name_of(digest_of(data))
        size = await write(client, requests_of(name, stream, chunk_bytes=chunk_bytes))
        assert size == len(stream)
        assert await read(client, digest_of(data)) == data

    async def test_BS14_finish_write_may_come_alone(self, client: RawClient, data: bytes) -> None:
        stream = compress_blob(data)
        requests = [*requests_of(name_of(digest_of(data)), stream, finish=False)]
        requests.append(WriteRequest(write_offset=len(stream), finish_write=True))
        assert await write(client, requests) == len(stream)
        assert await read(client, digest_of(data)) == data

    async def test_BS14_a_request_after_finish_write_is_invalid(self, client: RawClient) -> None:
        stream = compress_blob(TEXT)
        requests = [*requests_of(name_of(digest_of(TEXT)), stream)]
        requests.append(WriteRequest(write_offset=len(stream)))
        assert await code_of(client.bytestream.Write(requests)) == INVALID
        assert not await is_present(client, digest_of(TEXT))

    async def test_BS13_later_offsets_count_the_compressed_bytes(self, client: RawClient) -> None:
        stream = compress_blob(TEXT)
        for wrong in (0, 99_999, 100_001, len(TEXT) // 2):
            requests = [*requests_of(name_of(digest_of(TEXT), f"u{wrong}"), stream)]
            requests[1].write_offset = wrong
            assert await code_of(client.bytestream.Write(requests)) == INVALID

    async def test_BS13_BS16_BS21_a_broken_upload_goes_on_with_a_fresh_stream_at_the_plain_offset(
        self, client: RawClient
    ) -> None:
        name, digest = name_of(digest_of(TEXT)), digest_of(TEXT)
        first = flushed_half(TEXT)
        here = await write(client, requests_of(name, first, finish=False))
        assert len(TEXT) // 2 - (128 << 10) <= here <= len(TEXT) // 2
        assert await query(client, name) == (here, False)
        for wrong in (0, len(first), here - 1, here + 1):
            request = WriteRequest(resource_name=name, write_offset=wrong, data=b"x")
            assert await code_of(client.bytestream.Write([request])) == INVALID
        assert await query(client, name) == (here, False)
        rest = compress_blob(TEXT[here:])
        assert await write(client, requests_of(name, rest, offset=here)) == here + len(rest)
        assert await query(client, name) == (len(TEXT), True)
        assert await read(client, digest) == TEXT

    async def test_BS13_BS16_a_stream_that_was_cut_off_is_resumed_where_it_broke(
        self, client: RawClient
    ) -> None:
        name = name_of(digest_of(TEXT))
        never = asyncio.Event()

        async def breaking() -> AsyncIterator[WriteRequest]:
            yield WriteRequest(resource_name=name, data=flushed_half(TEXT))
            await never.wait()

        call = asyncio.create_task(client.bytestream.Write(breaking()))
        least = len(TEXT) // 2 - (128 << 10)
        while (await query(client, name))[0] < least:
            pass
        call.cancel()
        await asyncio.wait((call,))
        here, _ = await query(client, name)
        rest = compress_blob(TEXT[here:])
        assert await write(client, requests_of(name, rest, offset=here)) == here + len(rest)
        assert await read(client, digest_of(TEXT)) == TEXT

    @pytest.mark.parametrize("rest", [b"", compress_blob(b"")], ids=["nothing", "an empty frame"])
    async def test_BS13_an_upload_that_lacks_only_its_end_is_finished(
        self, client: RawClient, rest: bytes
    ) -> None:
        name, size = name_of(digest_of(TEXT)), len(TEXT)
        stream = compress_blob(TEXT)
        assert await write(client, requests_of(name, stream, finish=False)) == size
        assert await query(client, name) == (size, False)
        assert await write(client, requests_of(name, rest, offset=size)) == size + len(rest)
        assert await read(client, digest_of(TEXT)) == TEXT

    async def test_BS17_a_blob_that_exists_ends_the_call_with_minus_one(
        self, client: RawClient, storage: Storage, data: bytes
    ) -> None:
        digest = await store(storage, data)
        never = asyncio.Event()

        async def stalling() -> AsyncIterator[WriteRequest]:
            yield WriteRequest(resource_name=name_of(digest), data=b"not even zstd")
            await never.wait()

        assert await write(client, stalling()) == -1

    async def test_BS17_a_blob_that_appears_meanwhile_ends_the_call_with_minus_one(
        self, client: RawClient, storage: Storage
    ) -> None:
        name = name_of(digest_of(TEXT))
        appeared = asyncio.Event()
        never = asyncio.Event()
        stream = flushed_half(TEXT)

        async def overtaken() -> AsyncIterator[WriteRequest]:
            yield WriteRequest(resource_name=name, data=stream[:200_000])
            await appeared.wait()
            yield WriteRequest(write_offset=200_000, data=stream[200_000:])
            await never.wait()

        call = asyncio.create_task(write(client, overtaken()))
        while await query(client, name) == (0, False):
            pass
        await store(storage, TEXT)
        appeared.set()
        assert await call == -1

    async def test_BS19_concurrent_uploads_in_any_mix_of_forms_all_succeed(
        self, client: RawClient, data: bytes
    ) -> None:
        digest, stream = digest_of(data), compress_blob(data)
        plain = [
            write(client, requests_of(write_name("", f"p{number}", digest), data))
            for number in range(4)
        ]
        packed = [
            write(client, requests_of(name_of(digest, f"z{number}"), stream)) for number in range(4)
        ]
        sizes = await asyncio.gather(*plain, *packed)
        assert sizes[:4] == [len(data)] * 4
        assert set(sizes[4:]) <= {len(stream), -1}
        assert await read(client, digest) == data

    async def test_BS17_BS20_the_empty_blob_exists(self, client: RawClient) -> None:
        for stream in (b"", compress_blob(b"")):
            request = WriteRequest(
                resource_name=name_of(digest_of(b"")), data=stream, finish_write=True
            )
            assert await write(client, [request]) == -1

    async def test_BS21_an_existing_blob_is_complete_at_its_plain_size(
        self, client: RawClient, storage: Storage, data: bytes
    ) -> None:
        digest = await store(storage, data)
        assert await query(client, name_of(digest)) == (len(data), True)

    async def test_BS22_Q_QWS_an_unknown_upload_is_at_0(self, client: RawClient) -> None:
        assert await query(client, name_of(ABSENT)) == (0, False)
