"""Ten GiB through ByteStream, up and down: memory does not grow with what goes by."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.core.digest import SHA256, Digest
from tests.server_process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.soak]

TOTAL_BYTES = 10 << 30
CHUNK_BYTES = 1 << 20
RESERVE_BYTES = 5 << 30
MOST_MIB, MOST_MIB_PER_STREAM = 64, 4
BLOCK = os.urandom(CHUNK_BYTES)


def content(stream: int, size_bytes: int) -> Iterator[bytes]:
    """Chunks that no other stream has; each is one that the server cannot have seen before."""
    for offset in range(0, size_bytes, CHUNK_BYTES):
        yield stream.to_bytes(8, "big") + offset.to_bytes(8, "big") + BLOCK[16:]


def digest_of_content(stream: int, size_bytes: int) -> Digest:
    hasher = SHA256.new()
    for chunk in content(stream, size_bytes):
        hasher.update(chunk)
    return Digest(hasher.hexdigest(), size_bytes)


async def chunks(stream: int, size_bytes: int) -> AsyncIterator[bytes]:
    for chunk in content(stream, size_bytes):
        yield chunk


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("streams", [1, 8])
async def test_reliability_L3_memory_is_bounded_while_ten_gib_go_up_and_down(
    tmp_path: Path, streams: int, record_property: Callable[[str, object], None]
) -> None:
    """More than it has when idle: at most 64 MiB and 4 MiB for each stream."""
    if shutil.disk_usage(tmp_path).free < TOTAL_BYTES + RESERVE_BYTES:
        pytest.skip("there is not enough room on the disk")
    size_bytes = TOTAL_BYTES // streams
    digests = [
        await asyncio.to_thread(digest_of_content, stream, size_bytes) for stream in range(streams)
    ]
    allowed_mib = MOST_MIB + MOST_MIB_PER_STREAM * streams
    with ServerProcess(tmp_path / "data", "--role=frontend", "--role=scheduler") as server:
        async with Channel(server.grpc) as channel:
            store = RemoteBlobStore(channel)

            async def go_up(stream: int) -> None:
                await store.write(digests[stream], chunks(stream, size_bytes))

            async def go_down(stream: int) -> None:
                async for _ in store.read(digests[stream]):  # which verifies them
                    continue

            assert await store.find_missing(digests) == digests
            for way in (go_up, go_down):
                server.forget_peak_memory()
                idle_kib = server.peak_memory_kib()
                await asyncio.gather(*map(way, range(streams)))
                more_mib = (server.peak_memory_kib() - idle_kib) / 1024
                record_property("measured", f"{way.__name__}: {more_mib:.0f} MiB more")
                assert more_mib < allowed_mib
    shutil.rmtree(tmp_path / "data")
