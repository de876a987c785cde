"""Every sentence of cas/objects/interface.py, for a bucket of a real S3 server."""

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from reapi.cas.objects.interface import CHUNK_BYTES, NoObject
from reapi.cas.objects.names import object_name, parse_object_name
from reapi.cas.objects.s3 import S3Objects
from reapi.cas.objects.s3_config import S3Config
from reapi.cas.objects.s3_requests import PART_BYTES
from reapi.cas.objects.s3_writer import S3Writer
from reapi.core.digest import digest_of
from reapi.core.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from tests.fakes.fault_proxy import FaultProxy
from tests.integration.s3_system import MIB, listed, open_objects, read, write
from tests.minio import S3Server, minio_client

SIZES = [
    *(1, 1000, 256 << 10, (256 << 10) + 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1),
    *(2 * PART_BYTES, 2 * PART_BYTES + 3, 21 * MIB),
]


@pytest.fixture
async def objects(s3_config: S3Config, tmp_path: Path) -> AsyncIterator[S3Objects]:
    async with open_objects(s3_config, tmp_path / "spool") as made:
        yield made


async def _begun(objects: S3Objects, size_bytes: int) -> S3Writer:
    """A writer that has got so many bytes."""
    data = os.urandom(size_bytes)
    digest = digest_of(data)
    writer = await objects.create(digest)
    await writer.write([data], digest.function.new())
    return writer


def _keys(server: S3Server, config: S3Config) -> set[str]:
    found = minio_client(server).list_objects(config.bucket, recursive=True)
    return {str(one.object_name) for one in found}


def _uploads(server: S3Server, config: S3Config) -> int:
    return len(minio_client(server)._list_multipart_uploads(config.bucket).uploads)


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_what_was_written_is_read(objects: S3Objects, size_bytes: int) -> None:
    data = os.urandom(size_bytes)
    name = await write(objects, data)
    assert await read(objects, name, digest_of(data)) == (data, True)


async def test_one_write_may_bring_more_than_fits_into_the_spool(objects: S3Objects) -> None:
    data = os.urandom(40 * MIB)
    name = await write(objects, data, len(data))
    assert await read(objects, name, digest_of(data)) == (data, True)


async def test_a_write_may_bring_many_chunks_and_views(objects: S3Objects) -> None:
    data = os.urandom(3 * MIB)
    digest = digest_of(data)
    hasher = digest.function.new()
    writer = await objects.create(digest)
    chunks = [memoryview(data)[start : start + 70_001] for start in range(0, len(data), 70_001)]
    await writer.write(chunks[:2], hasher)
    await writer.write(chunks[2:], hasher)
    assert hasher.hexdigest() == digest.hash
    await writer.publish()
    assert await read(objects, object_name(digest, writer.suffix), digest) == (data, True)
    await writer.discard()


@pytest.mark.parametrize(
    ("offset", "end"), [(0, 1), (5, 6), (0, 21 * MIB), (MIB, 20 * MIB), (21 * MIB - 1, 21 * MIB)]
)
async def test_a_range_is_read(objects: S3Objects, offset: int, end: int) -> None:
    data = os.urandom(21 * MIB)
    name = await write(objects, data)
    reader = await objects.open(name, offset, end)
    chunks = [chunk async for chunk in reader.chunks(None)]
    assert b"".join(chunks) == data[offset:end]
    assert max(map(len, chunks)) <= CHUNK_BYTES


async def test_each_chunk_was_hashed_before_it_is_yielded(objects: S3Objects) -> None:
    data = os.urandom(5 * MIB)
    digest = digest_of(data)
    reader = await objects.open(await write(objects, data), 0, len(data))
    hasher = digest.function.new()
    received, seen = [b""], [hasher.digest()]
    async for chunk in reader.chunks(hasher):
        received.append(received[-1] + chunk)
        seen.append(hasher.digest())
    expected = [bytes.fromhex(digest_of(part).hash) for part in received]
    assert all(
        digest in expected[index : index + 2]  # the next one may be there already
        for index, digest in enumerate(seen)
    )


@pytest.mark.parametrize("size_bytes", [300_000, MIB])
async def test_what_is_short_comes_in_one_piece_so_that_no_byte_of_a_damaged_one_leaves(
    objects: S3Objects, size_bytes: int
) -> None:
    data = os.urandom(size_bytes)
    reader = await objects.open(await write(objects, data), 0, size_bytes)
    assert [chunk async for chunk in reader.chunks(None)] == [data]


@pytest.mark.parametrize("size_bytes", [1000, MIB, 20 * MIB])
async def test_nobody_sees_an_object_before_it_is_published(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config, size_bytes: int
) -> None:
    writer = await _begun(objects, size_bytes)
    # Others that begin later and are published give it time to appear, if it would.
    others = {await write(objects, os.urandom(size_bytes)) for _ in range(2)}
    assert {info.name for info in await listed(objects)} == others
    assert _keys(s3_server, s3_config) == {s3_config.key("cas", name) for name in others}
    await writer.publish()
    before = time.time()
    (info,) = [info for info in await listed(objects) if info.name not in others]
    assert info.size_bytes == size_bytes
    assert abs(info.modified - before) < 3600
    parsed = parse_object_name(info.name)
    assert parsed is not None
    assert parsed[1] == writer.suffix
    await writer.discard()


@pytest.mark.parametrize("size_bytes", [0, 1000, MIB, PART_BYTES + 1, 20 * MIB])
async def test_discard_leaves_nothing_behind(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config, tmp_path: Path, size_bytes: int
) -> None:
    writer = await _begun(objects, size_bytes)
    await writer.discard()
    assert _keys(s3_server, s3_config) == set()
    assert _uploads(s3_server, s3_config) == 0
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_cancelled_upload_would_stay_in_the_bucket_which_is_why_none_is_cancelled(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config
) -> None:
    writer = await _begun(objects, 40 * MIB)  # more than the spool takes: the upload has begun
    assert _uploads(s3_server, s3_config) == 1
    discarding = asyncio.create_task(writer.discard())
    await asyncio.sleep(0)
    discarding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await discarding
    await writer.discard()
    assert _uploads(s3_server, s3_config) == 0


async def test_discard_after_publish_does_nothing(objects: S3Objects) -> None:
    data = os.urandom(1000)
    name = await write(objects, data)
    assert await read(objects, name, digest_of(data)) == (data, True)


@pytest.mark.parametrize("size_bytes", [1000, MIB, 20 * MIB])
async def test_an_object_whose_publication_was_cancelled_is_gone_after_discard(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config, size_bytes: int
) -> None:
    writer = await _begun(objects, size_bytes)
    publishing = asyncio.create_task(writer.publish())
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    await writer.discard()
    assert _keys(s3_server, s3_config) == set()
    assert _uploads(s3_server, s3_config) == 0


async def test_two_writers_of_one_blob_make_two_objects(objects: S3Objects) -> None:
    data = os.urandom(1000)
    names = await asyncio.gather(write(objects, data), write(objects, data))
    assert len(set(names)) == 2
    assert {info.name for info in await listed(objects)} == set(names)


async def test_an_object_that_is_not_there_cannot_be_opened(objects: S3Objects) -> None:
    digest = digest_of(b"never written")
    with pytest.raises(NoObject):
        await objects.open(object_name(digest, ".0123456789abcdef"), 0, digest.size_bytes)


async def test_a_range_behind_the_end_cannot_be_opened(objects: S3Objects) -> None:
    name = await write(objects, b"short")
    with pytest.raises(NoObject):
        await objects.open(name, 5, 6)


async def test_a_stamp_changes_with_the_bytes_and_only_then(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config
) -> None:
    name = await write(objects, b"one")
    stamps = [(await objects.open(name, 0, 3)).stamp for _ in range(2)]
    assert stamps[0] == stamps[1]
    _put(s3_server, s3_config, name, b"two")
    assert (await objects.open(name, 0, 3)).stamp != stamps[0]


def _put(server: S3Server, config: S3Config, name: str, data: bytes) -> None:
    """Somebody else writes to the bucket."""
    key = config.key("cas", name)
    minio_client(server).put_object(config.bucket, key, BytesIO(data), len(data))


async def test_a_connection_is_free_again_when_a_reader_is_closed_early(
    s3_config: S3Config, tmp_path: Path
) -> None:
    async with (
        FaultProxy(s3_config.endpoint) as proxy,
        open_objects(replace(s3_config, endpoint=proxy.endpoint), tmp_path / "spool") as objects,
    ):
        name = await write(objects, os.urandom(40 * MIB))
        proxy.ended.clear()
        chunks = (await objects.open(name, 0, 40 * MIB)).chunks(None)
        await anext(chunks)
        await chunks.aclose()  # type: ignore[attr-defined]
        await proxy.ended.wait()


async def test_a_connection_is_used_again(
    minio_server: S3Server, s3_config: S3Config, tmp_path: Path
) -> None:
    async with (
        FaultProxy(s3_config.endpoint) as proxy,
        open_objects(replace(s3_config, endpoint=proxy.endpoint), tmp_path / "spool") as objects,
    ):
        data = os.urandom(5 * MIB)
        name = await write(objects, data)
        before = proxy.connections
        for _ in range(5):
            await read(objects, name, digest_of(data))
        assert proxy.connections - before <= 1


async def test_objects_are_deleted_and_those_that_are_not_there_are_no_error(
    objects: S3Objects,
) -> None:
    names = [await write(objects, os.urandom(100)) for _ in range(3)]
    kept = await write(objects, b"kept")
    await objects.delete([*names, *names, "ab/never-1.00"])
    await objects.delete([])
    assert [info.name for info in await listed(objects)] == [kept]


async def test_more_objects_than_one_request_takes_are_listed_and_deleted(
    objects: S3Objects,
) -> None:
    names: list[str] = []
    for _ in range(21):
        names += await asyncio.gather(*(write(objects, os.urandom(10)) for _ in range(50)))
    batches = [batch async for batch in objects.list()]
    assert sorted(info.name for batch in batches for info in batch) == sorted(names)
    assert max(map(len, batches)) <= 1000
    await objects.delete(names)
    assert await listed(objects) == []


async def test_an_object_in_quarantine_is_kept_and_no_longer_an_object(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config
) -> None:
    name = await write(objects, b"damaged")
    await objects.quarantine(name)
    await objects.quarantine(name)  # by another process, which found out too
    assert await listed(objects) == []
    with pytest.raises(NoObject):
        await objects.open(name, 0, 7)
    assert _keys(s3_server, s3_config) == {s3_config.key("quarantine", name)}


@pytest.mark.parametrize("key_prefix", ["", "one", "one/two"])
async def test_keys_are_below_the_prefix(
    s3_server: S3Server, s3_config: S3Config, tmp_path: Path, key_prefix: str
) -> None:
    config = replace(s3_config, key_prefix=key_prefix)
    async with open_objects(config, tmp_path / "spool") as objects:
        name = await write(objects, b"x")
        assert [info.name for info in await listed(objects)] == [name]
    expected = f"{key_prefix}/cas/{name}" if key_prefix else f"cas/{name}"
    assert _keys(s3_server, s3_config) == {expected}


async def test_two_prefixes_of_one_bucket_do_not_see_each_other(
    s3_config: S3Config, tmp_path: Path
) -> None:
    async with (
        open_objects(replace(s3_config, key_prefix="a"), tmp_path / "spool") as one,
        open_objects(replace(s3_config, key_prefix="ab"), tmp_path / "spool") as other,
    ):
        name = await write(one, b"x")
        assert await listed(other) == []
        with pytest.raises(NoObject):
            await other.open(name, 0, 1)


async def test_the_store_is_asked_to_encrypt(
    minio_server: S3Server, s3_config: S3Config, tmp_path: Path
) -> None:
    config = replace(s3_config, server_side_encryption="AES256")
    client = minio_client(minio_server)
    async with open_objects(config, tmp_path / "spool") as objects:
        for size in (1000, 20 * MIB):
            data = os.urandom(size)
            name = await write(objects, data)
            assert (await read(objects, name, digest_of(data)))[1]
            headers = client.stat_object(config.bucket, config.key("cas", name)).metadata
            assert headers is not None
            assert headers["x-amz-server-side-encryption"] == "AES256"


async def test_a_check_of_a_good_bucket_leaves_nothing(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config
) -> None:
    await objects.check()
    assert _keys(s3_server, s3_config) == set()


async def test_a_bucket_that_is_gone_is_no_reason_to_give_blobs_up(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config
) -> None:
    name = await write(objects, b"x")
    await objects.delete([name])
    minio_client(s3_server).remove_bucket(s3_config.bucket)
    expected = f"there is no bucket {s3_config.bucket}"
    with pytest.raises(Unavailable, match=expected):
        await objects.open(name, 0, 1)
    with pytest.raises(Unavailable, match=expected):
        await objects.delete([name])
    with pytest.raises(Unavailable, match=expected):
        await listed(objects)
    with pytest.raises(Unavailable, match=expected):
        await objects.check()
    with pytest.raises(Unavailable, match=expected):
        await write(objects, b"y")


async def test_refused_credentials_are_named(
    minio_server: S3Server, s3_config: S3Config, tmp_path: Path
) -> None:
    assert s3_config.secret_access_key_file is not None
    s3_config.secret_access_key_file.write_text("another")
    async with open_objects(s3_config, tmp_path / "spool") as objects:
        with pytest.raises(Unavailable, match=r"refuses our credentials.*SignatureDoesNotMatch"):
            await objects.check()


async def test_a_store_without_credentials_does_not_open(
    s3_config: S3Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    config = replace(s3_config, access_key_id_file=None, secret_access_key_file=None)
    with pytest.raises(FailedPrecondition, match="no credentials"):
        async with open_objects(config, tmp_path / "spool"):
            pass


async def test_a_full_disk_of_the_spool_is_said_and_leaves_nothing(
    objects: S3Objects,
    s3_server: S3Server,
    s3_config: S3Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = os.urandom(20 * MIB)
    writer = await objects.create(digest_of(data))
    hasher = digest_of(data).function.new()
    await writer.write([data[: 10 * MIB]], hasher)

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(ResourceExhausted):
        await writer.write([data[10 * MIB :]], hasher)
    await writer.discard()
    assert _keys(s3_server, s3_config) == set()
    assert _uploads(s3_server, s3_config) == 0


async def test_a_blob_of_more_parts_than_s3_takes_is_refused_at_once(objects: S3Objects) -> None:
    digest = digest_of(b"x")._replace(size_bytes=10_000 * PART_BYTES + 1)
    with pytest.raises(InvalidArgument, match="too large"):
        await objects.create(digest)
