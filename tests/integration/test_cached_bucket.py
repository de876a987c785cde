"""A cache on the local disk in front of a bucket (config.py: cache_max_size_bytes)."""

import random
from io import BytesIO
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas import factory
from reapi.cas.config import StorageConfig
from reapi.cas.factory import open_storage
from reapi.cas.objects.names import object_name
from reapi.cas.objects.s3_config import S3Config
from reapi.core.digest import digest_of
from reapi.core.errors import DataLoss, NotFound
from tests.minio import S3Server, minio_client

SIZE = 300_000
CACHED = 4


def _blob(number: int) -> bytes:
    return random.Random(number).randbytes(SIZE)


def _config(data_dir: Path, bucket: S3Config) -> StorageConfig:
    return StorageConfig(data_dir, s3=bucket, cache_max_size_bytes=CACHED * SIZE)


def _cached_files(data_dir: Path) -> list[Path]:
    return [file for file in (data_dir / "cache" / "blobs").rglob("*") if file.is_file()]


async def test_what_was_read_once_comes_from_the_local_disk(
    tmp_path: Path, s3_config: S3Config
) -> None:
    registry = CollectorRegistry()
    blobs = [_blob(number) for number in range(3 * CACHED)]
    digests = [digest_of(data) for data in blobs]
    async with open_storage(_config(tmp_path, s3_config), registry) as storage:
        assert await storage.blobs.write_many(dict(zip(digests, blobs, strict=True))) == {}
        for _ in range(2):
            for digest, data in zip(digests, blobs, strict=True):
                read = b"".join([chunk async for chunk in storage.reads.read(digest)])
                assert read == data
        for _ in range(2):
            read = b"".join([chunk async for chunk in storage.reads.read(digests[-1])])
            assert read == blobs[-1]
        assert registry.get_sample_value("reapi_tier_hits_total", {"tier": "fast"}) >= 2
        assert await storage.reads.find_missing(digests) == []
    assert 0 < len(_cached_files(tmp_path)) <= CACHED


async def test_a_blob_that_is_gone_from_the_index_is_missing_though_it_is_cached(
    tmp_path: Path, s3_config: S3Config
) -> None:
    data = _blob(1)
    digest = digest_of(data)
    async with open_storage(_config(tmp_path, s3_config), CollectorRegistry()) as storage:
        await storage.blobs.write_many({digest: data})
        assert [chunk async for chunk in storage.reads.read(digest)]
        (entry,) = (await storage.parts.index.find([digest.key])).values()
        assert await storage.parts.quarantine.take(digest, entry)
        assert await storage.reads.find_missing([digest]) == [digest]


async def test_reliability_F8_what_is_damaged_in_the_bucket_is_not_cached(
    tmp_path: Path, s3_server: S3Server, s3_config: S3Config
) -> None:
    data = random.Random(2).randbytes(2 << 20)
    digest = digest_of(data)
    config = StorageConfig(tmp_path, s3=s3_config, cache_max_size_bytes=4 * len(data))
    async with open_storage(config, CollectorRegistry()) as storage:
        await storage.blobs.write_many({digest: data})
        (entry,) = (await storage.parts.index.find([digest.key])).values()
        key = s3_config.key("cas", object_name(digest, entry.suffix))
        damaged = data[:-1] + bytes((data[-1] ^ 1,))
        minio_client(s3_server).put_object(s3_config.bucket, key, BytesIO(damaged), len(damaged))
        with pytest.raises(DataLoss):
            async for _ in storage.reads.read(digest):
                pass
        with pytest.raises(NotFound):
            await anext(aiter(storage.reads.read(digest)))
    assert _cached_files(tmp_path) == []


async def test_a_cache_on_a_disk_that_others_need_takes_nothing_and_fails_nothing(
    tmp_path: Path, s3_config: S3Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "_CACHE_FREE_DISK_SHARE", 1.0)
    data = _blob(3)
    digest = digest_of(data)
    async with open_storage(_config(tmp_path, s3_config), CollectorRegistry()) as storage:
        await storage.blobs.write_many({digest: data})
        for _ in range(2):
            assert b"".join([chunk async for chunk in storage.reads.read(digest)]) == data
    assert _cached_files(tmp_path) == []
