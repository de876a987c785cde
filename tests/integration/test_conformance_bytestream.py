"""Conformance of google.bytestream.ByteStream (conformance 1.5)."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.core.instances import Instance, Instances
from reapi.core.resource_name import read_name, write_name
from reapi.protos.google.bytestream.bytestream_pb2 import (
    QueryWriteStatusRequest,
    QueryWriteStatusResponse,
    ReadRequest,
    WriteRequest,
)
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import local_storage, serving
from tests.fakes.raw_client import RawClient, code_of, raw_client

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE

SMALL = b"small"
LARGE = random.Random(2).randbytes(3_000_000)


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with local_storage(tmp_path) as made:
        yield made


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[RawClient]:
    async with checked_client(storage) as made:
        yield made


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def data(request: pytest.FixtureRequest) -> bytes:
    return request.param


def name_of(digest: Digest, upload_id: str = "an-upload") -> str:
    return write_name("", upload_id, digest)


def requests_of(
    name: str, data: bytes, *, offset: int = 0, chunk_bytes: int = 500_000, finish: bool = True
) -> Iterator[WriteRequest]:
    """The whole of `data` from `offset` on, in chunks."""
    starts = range(offset, len(data), chunk_bytes) or [offset]
    for start in starts:
        end = min(start + chunk_bytes, len(data))
        yield WriteRequest(
            resource_name=name if start == offset else "",
            write_offset=start,
            data=data[start:end],
            finish_write=finish and end == len(data),
        )


async def store(storage: Storage, data: bytes) -> Digest:
    assert await storage.blobs.write_many({digest_of(data): data}) == {}
    return digest_of(data)


async def read(client: RawClient, digest: Digest, **fields: int) -> bytes:
    request = ReadRequest(resource_name=read_name("", digest), **fields)
    return b"".join(reply.data for reply in await client.bytestream.Read(request))


async def query(client: RawClient, name: str) -> tuple[int, bool]:
    request = QueryWriteStatusRequest(resource_name=name)
    reply: QueryWriteStatusResponse = await client.bytestream.QueryWriteStatus(request)
    return reply.committed_size, reply.complete


async def until_begun(client: RawClient, name: str) -> None:
    while await query(client, name) == (0, False):
        pass


async def write(client: RawClient, requests: Iterator[WriteRequest] | list[WriteRequest]) -> int:
    return int((await client.bytestream.Write(requests)).committed_size)


class TestNames:
    @pytest.mark.parametrize("instance_name", ["", "main", "a/b"])
    async def test_BS1_the_instance_is_all_left_of_the_first_keyword(
        self, storage: Storage, instance_name: str
    ) -> None:
        instances = Instances({instance_name: Instance()})
        digest = digest_of(SMALL)
        async with serving(storage, instances=instances) as address, raw_client(address) as client:
            name = write_name(instance_name, "u", digest)
            assert await write(client, [*requests_of(name, SMALL)]) == len(SMALL)
            request = ReadRequest(resource_name=read_name(instance_name, digest))
            (reply,) = await client.bytestream.Read(request)
            assert reply.data == SMALL

    async def test_BS2_what_stands_behind_a_write_name_is_ignored(self, client: RawClient) -> None:
        name = name_of(digest_of(SMALL)) + "/some/file.txt/blobs/x"
        assert await write(client, [*requests_of(name, SMALL)]) == len(SMALL)

    async def test_BS3_one_uuid_serves_for_many_blobs_at_a_time(self, client: RawClient) -> None:
        contents = [bytes([number]) * size for number in range(4) for size in (10, 2_000_000)]
        uploads = [
            write(client, [*requests_of(name_of(digest_of(data), "same"), data)])
            for data in contents
        ]
        assert await asyncio.gather(*uploads) == [len(data) for data in contents]
        for data in contents:
            assert await read(client, digest_of(data)) == data

    @pytest.mark.parametrize("compressor", ["identity", "ZSTD", "deflate", "nonsense", ""])
    async def test_BS4_compressors_that_are_not_served_are_invalid(
        self, client: RawClient, compressor: str
    ) -> None:
        digest = digest_of(SMALL)
        for call in (
            client.bytestream.Read(
                ReadRequest(resource_name=f"compressed-blobs/{compressor}/{digest}")
            ),
            client.bytestream.Write(
                [WriteRequest(resource_name=f"uploads/u/compressed-blobs/{compressor}/{digest}")]
            ),
        ):
            assert await code_of(call) == INVALID

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "blobs",
            "/",
            f"//blobs/{digest_of(SMALL)}",
            f"/blobs/{digest_of(SMALL)}",
            f"blobs//{digest_of(SMALL)}",
            f"blobs/{digest_of(SMALL)}/more",
            f"uploads//blobs/{digest_of(SMALL)}",
            f"uploads/blobs/{digest_of(SMALL)}",
            f"uploads/u/{digest_of(SMALL)}",
            f"blobs/{digest_of(SMALL).hash}/-5",
            f"blobs/{digest_of(SMALL).hash}/5x",
            f"blobs/{digest_of(SMALL).hash}/\u0665",
            f"blobs/{digest_of(SMALL).hash.upper()}/5",
            f"%2e%2e/blobs/{digest_of(SMALL)}",
            f"blobs/{digest_of(SMALL)}\0",
            f"%2e%2e%2f/blobs/{digest_of(SMALL)}",
            f"a\0b/blobs/{digest_of(SMALL)}",
            f"a\0b/uploads/u/blobs/{digest_of(SMALL)}",
            f"blobs/blobs/{digest_of(SMALL)}",
            f"uploads/uploads/u/blobs/{digest_of(SMALL)}",
            f"blobs/uploads/u/blobs/{digest_of(SMALL)}",
            f"main/uploads/blobs/uploads/u/blobs/{digest_of(SMALL)}",
            f"actions/blobs/{digest_of(SMALL)}",
            "x" * (10 << 20),
            "/" * (10 << 20),
            f"uploads/{'u' * (10 << 20)}/blobs/{digest_of(SMALL)}",
        ],
        ids=lambda name: repr(name[:20]),
    )
    async def test_reliability_B7_BS5_malformed_names_are_invalid(
        self, client: RawClient, name: str
    ) -> None:
        assert await code_of(client.bytestream.Read(ReadRequest(resource_name=name))) == INVALID
        request = WriteRequest(resource_name=name, data=SMALL, finish_write=True)
        assert await code_of(client.bytestream.Write([request])) == INVALID
        status = QueryWriteStatusRequest(resource_name=name)
        assert await code_of(client.bytestream.QueryWriteStatus(status)) == INVALID


async def test_BS24_where_no_actions_run_there_are_no_logs(client: RawClient) -> None:
    """See test_live_logs.py for where there are."""
    name = "logstreams/0d6f0f3c-5b6c-4b8e-9d5f-6a2f3f3c1c11.stdout"
    assert await code_of(client.bytestream.Read(ReadRequest(resource_name=name))) == NOT_FOUND
    for other in (f"{name}/token", "logstreams/0d6f0f3c"):
        assert await code_of(client.bytestream.Read(ReadRequest(resource_name=other))) == INVALID
    request = WriteRequest(resource_name=f"{name}/token", data=SMALL, finish_write=True)
    assert await code_of(client.bytestream.Write([request])) == INVALID


class TestRead:
    async def test_BS6_an_absent_blob_is_not_found(self, client: RawClient, data: bytes) -> None:
        request = ReadRequest(resource_name=read_name("", digest_of(data)))
        assert await code_of(client.bytestream.Read(request)) == NOT_FOUND

    async def test_BS7_offset_and_limit_choose_a_part(
        self, client: RawClient, storage: Storage, data: bytes
    ) -> None:
        digest = await store(storage, data)
        size = len(data)
        assert await read(client, digest) == data
        assert await read(client, digest, read_offset=size) == b""
        assert await read(client, digest, read_offset=size - 1) == data[-1:]
        assert await read(client, digest, read_offset=2, read_limit=2) == data[2:4]
        assert await read(client, digest, read_limit=10 * size) == data

    @pytest.mark.parametrize(
        ("offset", "limit", "code"),
        [(-1, 0, OUT_OF_RANGE), (6, 0, OUT_OF_RANGE), (0, -1, INVALID)],
    )
    async def test_reliability_B9_BS7_what_is_out_of_range_is_refused(
        self, client: RawClient, storage: Storage, offset: int, limit: int, code: grpc.StatusCode
    ) -> None:
        digest = await store(storage, SMALL)
        request = ReadRequest(
            resource_name=read_name("", digest), read_offset=offset, read_limit=limit
        )
        assert await code_of(client.bytestream.Read(request)) == code

    async def test_BS10_messages_stay_well_below_4_MiB(
        self, client: RawClient, storage: Storage
    ) -> None:
        digest = await store(storage, bytes(9_000_000))
        replies = await client.bytestream.Read(ReadRequest(resource_name=read_name("", digest)))
        assert max(len(reply.data) for reply in replies) <= 2 << 20

    @pytest.mark.parametrize("position", [0, len(LARGE) - 1])
    async def test_reliability_D4_BS11_damaged_bytes_never_end_well(
        self, client: RawClient, storage: Storage, tmp_path: Path, position: int
    ) -> None:
        digest = await store(storage, LARGE)
        (file,) = (tmp_path / "blobs").glob("*/*")
        file.write_bytes(LARGE[:position] + b"?" + LARGE[position + 1 :])
        request = ReadRequest(resource_name=read_name("", digest))
        assert await code_of(client.bytestream.Read(request)) == grpc.StatusCode.DATA_LOSS
        assert await code_of(client.bytestream.Read(request)) == NOT_FOUND


class TestWrite:
    async def test_BS12_the_name_stands_on_the_first_request_and_may_be_repeated(
        self, client: RawClient
    ) -> None:
        name = name_of(digest_of(LARGE))
        requests = [*requests_of(name, LARGE)]
        for request in requests[::2]:
            request.resource_name = name
        assert await write(client, requests) == len(LARGE)

    async def test_reliability_B8_BS12_another_name_is_invalid(self, client: RawClient) -> None:
        requests = [*requests_of(name_of(digest_of(LARGE)), LARGE)]
        requests[1].resource_name = name_of(digest_of(LARGE), "other")
        assert await code_of(client.bytestream.Write(requests)) == INVALID

    async def test_BS12_a_first_request_without_name_or_no_request_at_all_is_invalid(
        self, client: RawClient
    ) -> None:
        assert await code_of(client.bytestream.Write([WriteRequest(data=SMALL)])) == INVALID
        assert await code_of(client.bytestream.Write([])) == INVALID

    async def test_reliability_B8_BS13_first_offset_must_equal_committed_size(
        self, client: RawClient
    ) -> None:
        name = name_of(digest_of(LARGE))
        for offset in (-1, 1, 500_000):
            wrong = WriteRequest(resource_name=name, write_offset=offset, data=b"x")
            assert await code_of(client.bytestream.Write([wrong])) == INVALID
        assert await write(client, requests_of(name, LARGE[:500_000], finish=False)) == 500_000
        for offset in (0, 499_999, 500_001):
            wrong = WriteRequest(resource_name=name, write_offset=offset, data=b"x")
            assert await code_of(client.bytestream.Write([wrong])) == INVALID
        assert await query(client, name) == (500_000, False)
        assert await write(client, requests_of(name, LARGE, offset=500_000)) == len(LARGE)
        assert await read(client, digest_of(LARGE)) == LARGE

    async def test_reliability_B8_BS13_later_offsets_count_the_bytes_sent(
        self, client: RawClient
    ) -> None:
        for wrong in (0, 499_999, 500_001):
            requests = [*requests_of(name_of(digest_of(LARGE), f"u{wrong}"), LARGE)]
            requests[1].write_offset = wrong
            assert await code_of(client.bytestream.Write(requests)) == INVALID

    async def test_reliability_B8_BS14_a_request_after_finish_write_is_invalid(
        self, client: RawClient, data: bytes
    ) -> None:
        requests = [*requests_of(name_of(digest_of(data)), data)]
        requests.append(WriteRequest(write_offset=len(data)))
        assert await code_of(client.bytestream.Write(requests)) == INVALID
        request = ReadRequest(resource_name=read_name("", digest_of(data)))
        assert await code_of(client.bytestream.Read(request)) == NOT_FOUND

    async def test_BS14_finish_write_may_come_alone(self, client: RawClient, data: bytes) -> None:
        name = name_of(digest_of(data))
        requests = [*requests_of(name, data, finish=False)]
        requests.append(WriteRequest(write_offset=len(data), finish_write=True))
        assert await write(client, requests) == len(data)
        assert await read(client, digest_of(data)) == data

    @pytest.mark.parametrize("change", ["shorter", "longer", "other"])
    async def test_reliability_B1_B2_BS15_wrong_bytes_are_invalid_and_leave_nothing(
        self, client: RawClient, data: bytes, change: str
    ) -> None:
        name = name_of(digest_of(data))
        wrong = {"shorter": data[:-1], "longer": data + b"!", "other": b"!" + data[1:]}[change]
        assert await code_of(client.bytestream.Write([*requests_of(name, wrong)])) == INVALID
        assert await query(client, name) == (0, False)
        request = ReadRequest(resource_name=read_name("", digest_of(data)))
        assert await code_of(client.bytestream.Read(request)) == NOT_FOUND
        assert await write(client, requests_of(name, data)) == len(data)

    async def test_reliability_B2_BS15_too_many_bytes_end_the_call_at_once(
        self, client: RawClient
    ) -> None:
        sent = 0

        async def endless() -> AsyncIterator[WriteRequest]:
            nonlocal sent
            while True:
                yield WriteRequest(
                    resource_name=name_of(digest_of(SMALL)), write_offset=sent, data=bytes(100_000)
                )
                sent += 100_000

        assert await code_of(client.bytestream.Write(endless())) == INVALID

    async def test_BS15_nothing_is_visible_before_finish_write(
        self, client: RawClient, data: bytes
    ) -> None:
        name = name_of(digest_of(data))
        assert await write(client, requests_of(name, data, finish=False)) == len(data)
        request = ReadRequest(resource_name=read_name("", digest_of(data)))
        assert await code_of(client.bytestream.Read(request)) == NOT_FOUND
        assert await query(client, name) == (len(data), False)

    async def test_BS16_a_stream_that_ends_early_is_kept_for_resumption(
        self, client: RawClient, data: bytes
    ) -> None:
        name = name_of(digest_of(data))
        half = len(data) // 2
        assert await write(client, requests_of(name, data[:half], finish=False)) == half
        assert await query(client, name) == (half, False)
        assert await write(client, requests_of(name, data, offset=half)) == len(data)
        assert await query(client, name) == (len(data), True)

    async def test_BS16_a_broken_stream_is_resumed_where_it_broke(self, client: RawClient) -> None:
        name = name_of(digest_of(LARGE))
        never = asyncio.Event()

        async def breaking() -> AsyncIterator[WriteRequest]:
            yield WriteRequest(resource_name=name, data=LARGE[:700_000])
            await never.wait()

        call = asyncio.create_task(client.bytestream.Write(breaking()))
        await until_begun(client, name)
        call.cancel()
        await asyncio.wait((call,))
        assert await query(client, name) == (700_000, False)
        assert await write(client, requests_of(name, LARGE, offset=700_000)) == len(LARGE)
        assert await read(client, digest_of(LARGE)) == LARGE

    async def test_BS17_a_blob_that_exists_ends_the_call_at_once(
        self, client: RawClient, storage: Storage, data: bytes
    ) -> None:
        digest = await store(storage, data)
        never = asyncio.Event()

        async def stalling() -> AsyncIterator[WriteRequest]:
            yield WriteRequest(resource_name=name_of(digest), data=data[:1])
            await never.wait()

        assert await write(client, stalling()) == len(data)

    async def test_BS17_a_blob_that_appears_meanwhile_ends_the_call(
        self, client: RawClient, storage: Storage, data: bytes
    ) -> None:
        name = name_of(digest_of(data))
        appeared = asyncio.Event()
        never = asyncio.Event()

        async def overtaken() -> AsyncIterator[WriteRequest]:
            yield WriteRequest(resource_name=name, data=data[:2])
            await appeared.wait()
            yield WriteRequest(write_offset=2, data=data[2:4])
            await never.wait()

        call = asyncio.create_task(write(client, overtaken()))
        await until_begun(client, name)
        await store(storage, data)
        appeared.set()
        assert await call == len(data)

    async def test_BS18_P3_committed_size_is_the_size(self, client: RawClient, data: bytes) -> None:
        for _ in range(2):
            requests = requests_of(name_of(digest_of(data)), data)
            assert await write(client, requests) == len(data)

    async def test_BS19_concurrent_uploads_of_one_blob_all_succeed(
        self, client: RawClient, data: bytes
    ) -> None:
        names = [name_of(digest_of(data), f"u{number}") for number in range(8)]
        writes = [write(client, [*requests_of(name, data)]) for name in names]
        assert await asyncio.gather(*writes) == [len(data)] * 8
        assert await read(client, digest_of(data)) == data

    async def test_BS20_the_empty_blob_is_one_request(self, client: RawClient) -> None:
        request = WriteRequest(resource_name=name_of(digest_of(b"")), finish_write=True)
        assert await write(client, [request]) == 0


class TestQueryWriteStatus:
    async def test_BS21_an_existing_blob_is_complete(
        self, client: RawClient, storage: Storage, data: bytes
    ) -> None:
        digest = await store(storage, data)
        assert await query(client, name_of(digest)) == (len(data), True)

    async def test_BS22_Q_QWS_an_unknown_upload_is_at_0(self, client: RawClient) -> None:
        assert await query(client, name_of(digest_of(b"never begun"))) == (0, False)

    async def test_reliability_B8_BS23_an_upload_past_its_deadline_starts_over(
        self, tmp_path: Path
    ) -> None:
        async with (
            local_storage(tmp_path / "hasty", upload_deadline_seconds=0) as storage,
            serving(storage) as address,
            raw_client(address) as client,
        ):
            name = name_of(digest_of(LARGE))
            assert await write(client, requests_of(name, LARGE[:700_000], finish=False)) == 700_000
            assert await query(client, name) == (0, False)
            assert await write(client, requests_of(name, LARGE)) == len(LARGE)


async def test_a_full_store_refuses_before_the_bytes_come(tmp_path: Path) -> None:
    """Reliability D1."""
    async with (
        local_storage(tmp_path / "full", max_size_bytes=1_000_000) as storage,
        serving(storage) as address,
        raw_client(address) as client,
    ):
        never = asyncio.Event()

        async def stalling() -> AsyncIterator[WriteRequest]:
            yield WriteRequest(resource_name=name_of(digest_of(LARGE)), data=LARGE[:1])
            await never.wait()

        code = await code_of(client.bytestream.Write(stalling()))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_later_stream_takes_an_upload_over(client: RawClient) -> None:
    """A connection may be dead for its client long before the server learns of it."""
    name = name_of(digest_of(LARGE))
    go_on = asyncio.Event()

    async def half_open() -> AsyncIterator[WriteRequest]:
        yield WriteRequest(resource_name=name, data=LARGE[:700_000])
        await go_on.wait()
        yield WriteRequest(write_offset=700_000, data=b"more")

    call = asyncio.create_task(client.bytestream.Write(half_open()))
    await until_begun(client, name)
    rest = [*requests_of(name, LARGE, offset=700_000, finish=False)]
    assert await write(client, rest) == len(LARGE)
    go_on.set()
    assert await code_of(call) in (grpc.StatusCode.ABORTED, INVALID)
    finish = WriteRequest(resource_name=name, write_offset=len(LARGE), finish_write=True)
    assert await write(client, [finish]) == len(LARGE)
    assert await read(client, digest_of(LARGE)) == LARGE
