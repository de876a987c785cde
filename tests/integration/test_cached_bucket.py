"""A cache on the local disk in front of a bucket (config.py: cache_max_size_bytes)."""

import random
from pathlib import Path

from prometheus_client import CollectorRegistry

from reapi.cas.config import StorageConfig
from reapi.cas.factory import open_storage
from reapi.cas.objects.s3_config import S3Config
from reapi.core.digest import digest_of

SIZE = 300_000
CACHED = 4


def _blob(number: int) -> bytes:
    return random.Random(number).randbytes(SIZE)


def _config(data_dir: Path, bucket: S3Config) -> StorageConfig:
    return StorageConfig(data_dir, s3=bucket, cache_max_size_bytes=CACHED * SIZE)


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
    files = [file for file in (tmp_path / "cache" / "blobs").rglob("*") if file.is_file()]
    assert 0 < len(files) <= CACHED


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
