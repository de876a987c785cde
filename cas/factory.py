"""Builds the embedded storage from its settings, and takes it down again."""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from reapi.core.database import Database
from reapi.core.errors import FailedPrecondition
from reapi.core.rpc import Method

from . import index, inline, result_table
from .action_cache import LocalActionCache
from .action_cache_service import ActionCacheService
from .blob_memory import BlobMemory
from .bytestream_service import ByteStreamService
from .capabilities_service import CapabilitiesService
from .capacity import Capacity
from .cas_service import CasService
from .config import StorageConfig
from .eviction import Evictor
from .find_missing import MissingBlobsFinder
from .index import BlobIndex
from .inline import InlineStore
from .local_store import LocalBlobStore
from .metrics import StorageMetrics
from .presence import Presence
from .publishing import Publishing
from .quarantine import Quarantine
from .recovery import Recovery
from .result_table import ResultTable
from .stores.disk import DiskStore
from .upload import Uploads

_THREADS = 4
"""For what moves bytes to and from the disk; two cores cannot hash faster with more."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What an open data directory offers."""

    blobs: LocalBlobStore
    action_cache: LocalActionCache
    uploads: Uploads
    presence: Presence
    recovery: asyncio.Task[None]
    """What is left to do after a start; everything is served meanwhile."""


@asynccontextmanager
async def open_storage(
    config: StorageConfig,
    registry: CollectorRegistry,
    *,
    now: Callable[[], int] = lambda: int(time.time()),
) -> AsyncIterator[Storage]:
    """The stores of `config.data_dir`, ready on entry; `now` is the clock of promises, in seconds.

    Raises FailedPrecondition when another process uses the directory, or a newer version wrote it.
    """
    data_dir = config.data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        _lock(data_dir, stack)
        threads = stack.enter_context(ThreadPoolExecutor(_THREADS, "storage"))
        index_database = await stack.enter_async_context(
            Database(data_dir / "index.db", index.MIGRATIONS, page_size_bytes=index.PAGE_SIZE_BYTES)
        )
        inline_database = await stack.enter_async_context(
            Database(
                data_dir / "inline.db", inline.MIGRATIONS, page_size_bytes=inline.PAGE_SIZE_BYTES
            )
        )
        result_database = await stack.enter_async_context(
            Database(data_dir / "results.db", result_table.MIGRATIONS)
        )
        presence = Presence(now, config.retention_seconds)
        parts = _Parts(
            index=BlobIndex(index_database, presence.filter),
            index_path=index_database.path,
            inline=InlineStore(inline_database),
            inline_path=inline_database.path,
            disk=DiskStore(data_dir),
            memory=BlobMemory(config.memory_bytes),
            presence=presence,
            publishing=Publishing(),
            results=ResultTable(result_database),
            threads=threads,
            metrics=StorageMetrics(registry),
        )
        storage = await _start(parts, config, stack)
        yield storage


def services(
    storage: Storage, instance_names: frozenset[str], *, has_execution: bool
) -> list[Method]:
    """The rows of all services that storage offers; `has_execution` is for GetCapabilities."""
    blobs = storage.blobs
    finder = MissingBlobsFinder(blobs, storage.presence, instance_names)
    return [
        *CapabilitiesService(instance_names, has_execution=has_execution).methods(),
        *CasService(blobs, finder, instance_names).methods(),
        *ByteStreamService(blobs, storage.uploads, instance_names).methods(),
        *ActionCacheService(storage.action_cache, blobs, instance_names).methods(),
    ]


@dataclass(frozen=True, slots=True)
class _Parts:
    """The leaves, of which the rest is built."""

    index: BlobIndex
    index_path: Path
    inline: InlineStore
    inline_path: Path
    disk: DiskStore
    memory: BlobMemory
    presence: Presence
    publishing: Publishing
    results: ResultTable
    threads: ThreadPoolExecutor
    metrics: StorageMetrics


async def _start(parts: _Parts, config: StorageConfig, stack: AsyncExitStack) -> Storage:
    """Finishes what the last run left undone, and starts the rest of that in the background."""
    evictor = Evictor(
        index=parts.index,
        index_path=parts.index_path,
        inline=parts.inline,
        disk=parts.disk,
        memory=parts.memory,
        presence=parts.presence,
        publishing=parts.publishing,
        threads=parts.threads,
        metrics=parts.metrics,
        forget_results=parts.results.remove_unused,
    )
    was_clean = await parts.index.begin_run()
    await evictor.delete(parts.index.marked())
    capacity = Capacity(
        config.max_size_bytes,
        total_bytes=lambda: parts.index.total_bytes + parts.results.total_bytes,
        free_bytes=parts.disk.free_bytes,
        evict=evictor.evict,
        metrics=parts.metrics,
    )
    blobs = _blob_store(parts, config, capacity)
    uploads = Uploads(blobs, deadline_seconds=config.upload_deadline_seconds)
    recovery = await stack.enter_async_context(_recovering(parts, is_sweep_due=not was_clean))
    stack.push_async_callback(uploads.aclose)
    action_cache = LocalActionCache(parts.results, blobs, parts.presence, capacity)
    return Storage(blobs, action_cache, uploads, parts.presence, recovery)


def _blob_store(parts: _Parts, config: StorageConfig, capacity: Capacity) -> LocalBlobStore:
    quarantine = Quarantine(
        index=parts.index,
        inline=parts.inline,
        disk=parts.disk,
        memory=parts.memory,
        presence=parts.presence,
        threads=parts.threads,
        metrics=parts.metrics,
    )
    return LocalBlobStore(
        index=parts.index,
        inline=parts.inline,
        disk=parts.disk,
        memory=parts.memory,
        presence=parts.presence,
        publishing=parts.publishing,
        capacity=capacity,
        threads=parts.threads,
        quarantine=quarantine,
        inline_max_bytes=config.inline_max_bytes,
    )


@asynccontextmanager
async def _recovering(parts: _Parts, *, is_sweep_due: bool) -> AsyncIterator[asyncio.Task[None]]:
    recovery = Recovery(
        index=parts.index,
        index_path=parts.index_path,
        inline=parts.inline,
        inline_path=parts.inline_path,
        disk=parts.disk,
        hash_filter=parts.presence.filter,
        publishing=parts.publishing,
        threads=parts.threads,
        is_sweep_due=is_sweep_due,
    )
    task = asyncio.create_task(recovery.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))
        if not recovery.is_sweep_due:
            await parts.index.end_run()


def _lock(data_dir: Path, stack: AsyncExitStack) -> None:
    """Held until the stack is left; the kernel lets go of it when the process ends."""
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise FailedPrecondition(
            f"another process uses {data_dir}: stop it, or choose another data_dir"
        ) from error
