"""S3Objects for tests, and short ways to write and read objects."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from reapi.cas.objects.interface import ObjectInfo
from reapi.cas.objects.names import object_name
from reapi.cas.objects.s3 import S3Objects
from reapi.cas.objects.s3_config import S3Config
from reapi.cas.objects.s3_metrics import S3Metrics
from reapi.core.digest import Digest, digest_of

MIB = 1 << 20


@asynccontextmanager
async def open_objects(
    config: S3Config,
    spool_dir: Path,
    *,
    registry: CollectorRegistry | None = None,
    upload_deadline_seconds: float = 3600,
) -> AsyncIterator[S3Objects]:
    """The store of a bucket, with threads of its own."""
    with ThreadPoolExecutor(4) as threads:
        async with S3Objects(
            config,
            spool_dir=spool_dir,
            threads=threads,
            metrics=S3Metrics(registry or CollectorRegistry()),
            upload_deadline_seconds=upload_deadline_seconds,
        ) as objects:
            yield objects


async def write(objects: S3Objects, data: bytes, chunk_bytes: int = 300_000) -> str:
    """Publishes an object; its name."""
    digest = digest_of(data)
    hasher = digest.function.new()
    writer = await objects.create(digest)
    try:
        for start in range(0, len(data), chunk_bytes):
            await writer.write([data[start : start + chunk_bytes]], hasher)
        assert hasher.hexdigest() == digest.hash
        await writer.publish()
    finally:
        await writer.discard()
    return object_name(digest, writer.suffix)


async def read(objects: S3Objects, name: str, digest: Digest) -> tuple[bytes, bool]:
    """All that comes of a whole object, and whether it hashes to its digest."""
    hasher = digest.function.new()
    reader = await objects.open(name, 0, digest.size_bytes)
    data = b"".join([chunk async for chunk in reader.chunks(hasher)])
    return data, hasher.hexdigest() == digest.hash


async def listed(objects: S3Objects) -> list[ObjectInfo]:
    """All objects."""
    return [info async for batch in objects.list() for info in batch]
