"""zstd streams of any kind on ByteStream.Write (conformance Z1, Z2; reliability B10)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reapi.cas.storage import Storage
from reapi.core.compression import compress_blob
from reapi.core.digest import Digest, digest_of
from reapi.protos.google.bytestream.bytestream_pb2 import WriteRequest
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import local_storage
from tests.fakes.raw_client import RawClient, code_of, failure_of
from tests.fakes.zstd_frames import (
    bomb,
    dictionary_frame,
    open_ended_frame,
    skippable_frame,
    wide_window_frame,
)
from tests.integration.zstd_calls import (
    ABSENT,
    INVALID,
    SMALL,
    TEXT,
    is_present,
    name_of,
    query,
    read,
    requests_of,
    store,
    write,
)


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with local_storage(tmp_path) as made:
        yield made


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[RawClient]:
    async with checked_client(storage) as made:
        yield made


FRAME = compress_blob(TEXT)

GOOD_STREAMS = {
    "frames that add up": compress_blob(TEXT[:100]) + compress_blob(TEXT[100:]),
    "an empty frame among them": compress_blob(b"") + FRAME + compress_blob(b""),
    "skippable frames around it": skippable_frame(b"x" * 9999) + FRAME + skippable_frame(b""),
    "a window of 8 MiB": wide_window_frame(TEXT, 23),
}

BAD_STREAMS = {
    "a truncated frame": FRAME[:-1],
    "half a frame": FRAME[: len(FRAME) // 2],
    "no last block": open_ended_frame(TEXT),
    "frames beyond the size": FRAME + compress_blob(b"x"),
    "too little in it": compress_blob(TEXT[:-1]),
    "other bytes": compress_blob(TEXT[::-1]),
    "trailing garbage": FRAME + b"garbage",
    "one byte more": FRAME + b"\0",
    "no zstd": b"this is no zstd",
    "nothing": b"",
    "plain bytes": TEXT,
    "a window of 128 MiB": wide_window_frame(TEXT, 27),
    "a dictionary": dictionary_frame(TEXT),
    "a bomb": bomb(1 << 30),
    "a truncated skippable frame": FRAME + skippable_frame(b"skipped")[:-1],
}


class TestStreams:
    @pytest.mark.parametrize("kind", GOOD_STREAMS)
    @pytest.mark.parametrize("chunk_bytes", [999, 10_000_000])
    async def test_reliability_B10_Z1_valid_frames_are_taken(
        self, client: RawClient, kind: str, chunk_bytes: int
    ) -> None:
        stream, name = GOOD_STREAMS[kind], name_of(digest_of(TEXT))
        size = await write(client, requests_of(name, stream, chunk_bytes=chunk_bytes))
        assert size == len(stream)
        assert await read(client, digest_of(TEXT)) == TEXT

    @pytest.mark.parametrize("kind", BAD_STREAMS)
    @pytest.mark.parametrize("chunk_bytes", [999, 10_000_000])
    async def test_reliability_B10_Z2_BS15_bad_streams_are_invalid_and_leave_nothing(
        self, client: RawClient, tmp_path: Path, kind: str, chunk_bytes: int
    ) -> None:
        name, digest = name_of(digest_of(TEXT)), digest_of(TEXT)
        requests = requests_of(name, BAD_STREAMS[kind], chunk_bytes=chunk_bytes)
        assert await code_of(client.bytestream.Write(requests)) == INVALID
        assert await query(client, name) == (0, False)
        assert not await is_present(client, digest)
        assert not any((tmp_path / "incoming").iterdir())
        assert await write(client, requests_of(name, FRAME)) == len(FRAME)
        assert await read(client, digest) == TEXT

    @pytest.mark.parametrize("declared", [1, 50_000, 3_000_000])
    async def test_reliability_B10_a_bomb_ends_the_call_past_the_declared_size(
        self, client: RawClient, declared: int
    ) -> None:
        """The rest of the stream never comes, and is not waited for."""
        digest = ABSENT._replace(size_bytes=declared)
        never = asyncio.Event()

        async def bombing() -> AsyncIterator[WriteRequest]:
            yield WriteRequest(resource_name=name_of(digest), data=bomb(1 << 30)[:-10])
            await never.wait()

        failure = await failure_of(client.bytestream.Write(bombing()))
        assert failure.code() == INVALID
        assert f"more than {declared} bytes" in (failure.details() or "")

    async def test_reliability_B10_others_are_served_while_a_bomb_is_taken(
        self, client: RawClient, storage: Storage
    ) -> None:
        """What was declared is written in full, though not at once."""
        digest = Digest(ABSENT.hash, 64 << 20)
        await store(storage, SMALL)
        upload = asyncio.create_task(
            code_of(client.bytestream.Write(requests_of(name_of(digest), bomb(64 << 20))))
        )
        answers = 0
        while not upload.done():
            assert await read(client, digest_of(SMALL)) == SMALL
            answers += 1
        assert await upload == INVALID  # its hash is another
        assert answers > 3
