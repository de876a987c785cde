"""Bytes that the disk or somebody else has changed, as clients see them (reliability D2, D4 to D6).

Never served, reported missing once found, counted, kept for inspection, and healed by an upload.
"""

import errno
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.storage import Storage
from reapi.core.compression import decompress_blob
from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest, WriteRequest
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import INLINE_MAX_BYTES, local_storage
from tests.fakes.raw_client import RawClient

ZSTD = re_pb2.Compressor.ZSTD
NOT_FOUND, DATA_LOSS = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS
ACTION = digest_of(b"an action")


class Blobs:
    """Blobs of all the places that bytes lie in, and of several chunks."""

    def __init__(self, seed: int, count: int) -> None:
        chosen = random.Random(seed)
        contents = []
        for number in range(count):
            if number % 4 == 0:
                contents.append(chosen.randbytes(chosen.randint(8, INLINE_MAX_BYTES)))
            elif number % 4 == 1:  # compressed at rest
                contents.append(b"%d\n" % chosen.getrandbits(64) * chosen.randint(200, 2000))
            else:
                contents.append(chosen.randbytes(chosen.randint(INLINE_MAX_BYTES + 1, 20_000)))
        contents[-1] = chosen.randbytes(2_500_000)
        contents[-3] = b"%d\n" % chosen.getrandbits(64) * 150_000
        self.contents = {digest_of(data): data for data in contents}

    @property
    def digests(self) -> list[Digest]:
        return list(self.contents)


@asynccontextmanager
async def served(
    data_dir: Path, registry: CollectorRegistry | None = None
) -> AsyncIterator[tuple[Storage, RawClient]]:
    async with (
        local_storage(data_dir, registry=registry, compresses=True) as storage,
        checked_client(storage) as client,
    ):
        yield storage, client


async def upload(client: RawClient, blobs: Blobs) -> None:
    for digest, data in blobs.contents.items():
        name = write_name("", "u", digest)
        starts = range(0, len(data), 1_000_000)
        requests = [
            WriteRequest(
                resource_name=name,
                write_offset=start,
                data=data[start : start + 1_000_000],
                finish_write=start == starts[-1],
            )
            for start in starts
        ]
        assert (await client.bytestream.Write(requests)).committed_size == len(data)


async def missing(client: RawClient, digests: list[Digest]) -> list[Digest]:
    request = re_pb2.FindMissingBlobsRequest(blob_digests=[d.to_message() for d in digests])
    reply = await client.cas.FindMissingBlobs(request)
    return [Digest(each.hash, each.size_bytes) for each in reply.missing_blob_digests]


async def read_plain(client: RawClient, digest: Digest) -> bytes:
    replies = await client.bytestream.Read(ReadRequest(resource_name=read_name("", digest)))
    return b"".join(reply.data for reply in replies)


async def read_end(client: RawClient, digest: Digest) -> bytes:
    request = ReadRequest(resource_name=read_name("", digest), read_offset=digest.size_bytes - 5)
    return b"".join([reply.data for reply in await client.bytestream.Read(request)])


async def read_zstd(client: RawClient, digest: Digest) -> bytes:
    request = ReadRequest(resource_name=read_name("", digest, ZSTD))
    frame = b"".join([reply.data for reply in await client.bytestream.Read(request)])
    return decompress_blob(frame, digest.size_bytes)


async def read_batch(client: RawClient, digest: Digest) -> bytes:
    request = re_pb2.BatchReadBlobsRequest(digests=[digest.to_message()])
    (answer,) = (await client.cas.BatchReadBlobs(request)).responses
    if answer.status.code == NOT_FOUND.value[0]:
        assert answer.data == b""
        raise KeyError(digest)
    assert answer.status.code == 0
    return bytes(answer.data)


WAYS = (read_plain, read_end, read_zstd, read_batch)


async def is_refused(client: RawClient, digest: Digest, data: bytes, number: int = 0) -> bool:
    """Reads it in one of the ways, as a client that trusts what ends well: that must be `data`."""
    try:
        received = await WAYS[number % len(WAYS)](client, digest)
    except grpc.aio.AioRpcError as error:
        return error.code() in (NOT_FOUND, DATA_LOSS)
    except KeyError:
        return True
    assert received in (data, data[-5:])
    return False


def objects(data_dir: Path) -> list[Path]:
    return sorted(path for path in (data_dir / "blobs").rglob("*") if path.is_file())


def flip_bit(chosen: random.Random, data: bytes) -> bytes:
    position = chosen.randrange(8 * len(data))
    changed = bytearray(data)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def cut(chosen: random.Random, data: bytes) -> bytes:
    return data[: chosen.choice((0, 1, len(data) // 2, len(data) - 1))]


def change_all(data_dir: Path, change: Callable[[random.Random, bytes], bytes] | None) -> None:
    """Changes every object and all inline bytes, or deletes them behind the index."""
    chosen = random.Random(4)
    for path in objects(data_dir):
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(chosen, path.read_bytes()))
    with closing(sqlite3.connect(data_dir / "inline.db")) as connection, connection:
        rows = connection.execute("SELECT id, data FROM inline").fetchall()
        for number, data in rows:
            if change is None:
                connection.execute("DELETE FROM inline WHERE id = ?", (number,))
            else:
                changed = change(chosen, data)
                connection.execute("UPDATE inline SET data = ? WHERE id = ?", (changed, number))


async def check_found_and_healed(
    data_dir: Path, client: RawClient, registry: CollectorRegistry, blobs: Blobs
) -> None:
    """Of all blobs of a store, each of which is damaged."""
    digests = blobs.digests
    frames = {path.name.partition("-")[0] for path in objects(data_dir) if path.suffix == ".zst"}
    assert await missing(client, digests) == [], "nothing was found before it was read"
    refused = []
    for number, (digest, data) in enumerate(blobs.contents.items()):
        if await is_refused(client, digest, data, number):
            refused.append(digest)
        else:
            # Some bits of a frame mean nothing, and it may be whole without its last bytes.
            assert digest.hash in frames
    assert len(refused) > 0.9 * len(digests)
    assert await missing(client, digests) == refused
    for number, (digest, data) in enumerate(blobs.contents.items()):
        for other in range(1, len(WAYS)):
            if await is_refused(client, digest, data, number + other):
                refused += [digest] * (digest not in refused)
            else:
                assert digest not in refused
    counted = registry.get_sample_value("reapi_storage_quarantined_blobs_total")
    assert counted == len(refused)
    assert len(objects(data_dir)) == len(digests) - len(refused)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.action_cache.GetActionResult(
            re_pb2.GetActionResultRequest(action_digest=ACTION.to_message())
        )
    assert caught.value.code() == NOT_FOUND
    await upload(client, blobs)
    assert await missing(client, digests) == []
    for digest, data in blobs.contents.items():
        assert await read_plain(client, digest) == data
        assert await read_zstd(client, digest) == data


async def add_result(client: RawClient, blobs: Blobs) -> None:
    """A result that needs one of the blobs."""
    output = re_pb2.OutputFile(path="out", digest=blobs.digests[0].to_message())
    await client.action_cache.UpdateActionResult(
        re_pb2.UpdateActionResultRequest(
            action_digest=ACTION.to_message(), action_result={"output_files": [output]}
        )
    )


@pytest.mark.parametrize(
    ("change", "count"),
    [
        pytest.param(flip_bit, 1000, id="D4-a-flipped-bit-in-each-of-a-thousand"),
        pytest.param(cut, 200, id="D5-truncated-or-emptied"),
        pytest.param(None, 200, id="D6-deleted"),
    ],
)
async def test_reliability_D4_D5_D6_changed_bytes_are_never_served_found_counted_and_healed(
    tmp_path: Path, change: Callable[[random.Random, bytes], bytes] | None, count: int
) -> None:
    blobs = Blobs(4, count)
    async with served(tmp_path) as (_, client):
        await upload(client, blobs)
        await add_result(client, blobs)
    stored = len(objects(tmp_path))
    assert stored == count - count // 4
    assert any(path.suffix == ".zst" for path in objects(tmp_path))
    change_all(tmp_path, change)
    registry = CollectorRegistry()
    async with served(tmp_path, registry) as (_, client):
        await check_found_and_healed(tmp_path, client, registry, blobs)
    kept = len(list((tmp_path / "quarantine").iterdir()))
    assert (kept == 0) if change is None else (kept > 0.8 * stored)


@pytest.mark.parametrize("in_chunk", [0, 1], ids=["at the start", "after some bytes"])
async def test_reliability_D2_an_error_of_the_disk_is_a_missing_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_chunk: int
) -> None:
    """Only the objects are on the bad disk."""
    blobs = Blobs(2, 40)
    blobs.contents = {d: data for d, data in blobs.contents.items() if len(data) > INLINE_MAX_BYTES}
    if in_chunk:
        blobs.contents = dict([blobs.contents.popitem()])
    pread, preadv = os.pread, os.preadv
    is_bad = True

    def failing(descriptor: int, size: int, offset: int) -> bytes:
        if is_bad and offset >> 20 >= in_chunk:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(descriptor, size, offset)

    def not_cached(*_: object) -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    registry = CollectorRegistry()
    async with served(tmp_path, registry) as (_, client):
        await upload(client, blobs)
        monkeypatch.setattr(os, "pread", failing)
        monkeypatch.setattr(os, "preadv", not_cached)
        for digest, data in blobs.contents.items():
            assert await is_refused(client, digest, data)
        assert await missing(client, blobs.digests) == blobs.digests
        counted = registry.get_sample_value("reapi_storage_quarantined_blobs_total")
        assert counted == len(list((tmp_path / "quarantine").iterdir())) == len(blobs.digests)
        is_bad = False
        monkeypatch.setattr(os, "preadv", preadv)
        await upload(client, blobs)
        assert await missing(client, blobs.digests) == []
        for digest, data in blobs.contents.items():
            assert await read_plain(client, digest) == data


async def test_reliability_D2_a_file_that_cannot_even_be_opened_is_a_missing_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random.Random(2).randbytes(5_000)
    digest = digest_of(data)
    open_file = os.open

    def failing(path: Path | str, *arguments: int, **more: int) -> int:
        if f"/{digest.hash}-" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open_file(path, *arguments, **more)

    async with served(tmp_path) as (storage, client):
        assert await storage.blobs.write_many({digest: data}) == {}
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing)
            assert await is_refused(client, digest, data)
            assert await missing(client, [digest]) == [digest]
        assert await storage.blobs.write_many({digest: data}) == {}
        assert await read_plain(client, digest) == data


async def test_reliability_D5_a_frame_without_its_end_is_not_passed_on_after_a_plain_read(
    tmp_path: Path,
) -> None:
    """All of the blob is in it, and was found to be so."""
    data = b"to be compressed at rest\n" * 4_000
    digest = digest_of(data)
    async with served(tmp_path) as (storage, client):
        assert await storage.blobs.write_many({digest: data}) == {}
        (path,) = objects(tmp_path)
        path.write_bytes(path.read_bytes()[:-1])
        assert not await is_refused(client, digest, data)
        assert await is_refused(client, digest, data, WAYS.index(read_zstd))
        assert await missing(client, [digest]) == [digest]
