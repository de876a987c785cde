"""The object store of a storage, in the kind that its settings name."""

import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from reapi.cas.config import StorageConfig

from .compressed import CompressedObjects
from .disk import DiskObjects


@dataclass(frozen=True, slots=True)
class OpenObjects:
    """Objects, compressed or not, and the room that is left for them."""

    objects: CompressedObjects
    free_bytes: Callable[[], int]
    has_inodes: Callable[[], bool]
    """Whether there is room for one more object of any size."""


@asynccontextmanager
async def open_objects(
    config: StorageConfig, data_dir: Path, threads: Executor, registry: CollectorRegistry
) -> AsyncIterator[OpenObjects]:
    """Raises FailedPrecondition when there are no credentials for the bucket."""
    if config.s3 is None:
        disk = DiskObjects(
            data_dir,
            threads,
            survives_power_loss=config.survives_power_loss,
            is_cache=config.is_cache,
            free_disk_share=config.free_disk_share,
        )
        yield OpenObjects(
            CompressedObjects(disk, threads, compresses=config.compresses),
            disk.free_bytes,
            disk.has_inodes,
        )
        return
    # Here, since loading the client takes time that a server without a bucket need not spend.
    from .s3 import S3Objects
    from .s3_metrics import S3Metrics

    bucket = S3Objects(
        config.s3,
        spool_dir=data_dir / "spool",
        threads=threads,
        metrics=S3Metrics(registry),
        upload_deadline_seconds=config.upload_deadline_seconds,
    )
    async with bucket:
        yield OpenObjects(
            CompressedObjects(bucket, threads, compresses=config.compresses),
            lambda: sys.maxsize,
            lambda: True,
        )
