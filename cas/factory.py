"""Builds the storage from its settings, and takes it down again."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from reapi.core.errors import ResourceExhausted
from reapi.core.interfaces import BlobStore

from .action_cache import IndexedActionCache
from .blob_memory import BlobMemory
from .blob_store import IndexedBlobStore
from .capacity import Capacity
from .chunk_records import ChunkRecords
from .config import StorageConfig
from .eviction import Evictor
from .indexed_upload import IndexedUploads
from .invocations import Invocations
from .metrics import StorageMetrics
from .objects.interface import ObjectStore
from .objects.opened import OpenObjects, open_objects
from .pins import Pins
from .presence import Presence
from .quarantine import Quarantine
from .recovery import Recovery
from .result_lifetimes import ResultLifetimes
from .state.interface import ResultTable
from .state.opened import OpenState, open_state
from .state.sqlite import SqliteState
from .storage import Parts, Storage
from .stores.metrics import TierMetrics
from .stores.tiered import TieredStore
from .upload import Uploads
from .write_health import OBJECTS, STATE, WriteHealth

if TYPE_CHECKING:
    from reapi.core.postgresql.pool import PostgresqlPool
    from reapi.core.postgresql.term import Term

_THREADS = 4
"""For what moves bytes to and from the disk; two cores cannot hash faster with more."""

_PROBE_SECONDS = 5.0
_CACHE_MEMORY_BYTES = 1 << 20
"""Small blobs are in the memory of the storage behind the cache already."""
_CACHE_FREE_DISK_SHARE = 0.1
"""Uploads wait on the same disk for the bucket, and the state may be there."""


@asynccontextmanager
async def open_storage(
    config: StorageConfig,
    registry: CollectorRegistry,
    *,
    member: int = 0,
    recovers: bool = True,
    now: Callable[[], int] = lambda: int(time.time()),
) -> AsyncIterator[Storage]:
    """The stores of `config.data_dir`, ready on entry; `now` is the clock of promises, in seconds.

    What a crash left undone is done in the background if it `recovers`. Process 0 of
    `config.processes` comes first and goes last. Raises FailedPrecondition when another server uses
    the directory, or a newer version wrote it.
    """
    async with AsyncExitStack() as stack:
        base = await _open_base(config, registry, member, now, stack)
        evictor = _evictor(base, config)
        recovery = None
        if base.state.sqlite is not None and member == 0 and recovers:
            recovery = await stack.enter_async_context(
                _recovering(base.state.sqlite, base.opened.objects, evictor)
            )
        capacity = _capacity(base, config, evictor)
        stack.push_async_callback(capacity.aclose)
        health = _write_health(base, capacity)
        stack.push_async_callback(health.aclose)
        quarantine = Quarantine(
            index=base.state.index,
            objects=base.opened.objects,
            memory=base.memory,
            metrics=base.metrics,
        )
        blobs = IndexedBlobStore(
            index=base.state.index,
            objects=base.opened.objects,
            memory=base.memory,
            presence=base.presence,
            capacity=capacity,
            quarantine=quarantine,
            health=health,
            inline_max_bytes=config.inline_max_bytes,
        )
        uploads = Uploads(
            IndexedUploads(blobs),
            deadline_seconds=config.upload_deadline_seconds,
            idle_seconds=config.upload_idle_seconds,
        )
        stack.push_async_callback(uploads.aclose)
        action_cache = partial(_action_cache, base, config, blobs, capacity, health, now)
        yield Storage(
            parts=_parts(base, quarantine, evictor),
            blobs=blobs,
            reads=await _cached(config, blobs, registry, member, stack),
            action_cache=action_cache(base.state.results),
            action_cache_in=_action_cache_in(base.state.postgresql, action_cache),
            uploads=uploads,
            chunk_records=ChunkRecords(base.state.results, base.presence),
            invocations=base.invocations,
            health=health,
            presence=base.presence,
            filter=base.state.filter,
            postgresql=base.state.postgresql,
            recovery=recovery,
        )


@dataclass(frozen=True, slots=True)
class _Base:
    """What everything else is made of."""

    state: OpenState
    opened: OpenObjects
    presence: Presence
    metrics: StorageMetrics
    memory: BlobMemory
    invocations: Invocations


async def _open_base(
    config: StorageConfig,
    registry: CollectorRegistry,
    member: int,
    now: Callable[[], int],
    stack: AsyncExitStack,
) -> _Base:
    data_dir = config.data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    state = await stack.enter_async_context(open_state(config, data_dir, member=member))
    if member == 0 and state.sqlite is not None:
        shutil.rmtree(data_dir / "incoming", ignore_errors=True)
    threads = stack.enter_context(ThreadPoolExecutor(_THREADS, "storage"))
    opened = await stack.enter_async_context(open_objects(config, data_dir, threads, registry))
    invocations = Invocations(
        state.invocations,
        now,
        idle_seconds=config.pin_idle_seconds,
        longest_seconds=config.pin_max_seconds,
    )
    stack.push_async_callback(invocations.aclose)
    return _Base(
        state,
        opened,
        Presence(now, config.retention_seconds, state.index.losses),
        StorageMetrics(registry),
        BlobMemory(config.memory_bytes),
        invocations,
    )


def _evictor(base: _Base, config: StorageConfig) -> Evictor:
    pins = Pins(
        invocations=base.invocations,
        index=base.state.index,
        presence=base.presence,
        max_bytes=int(config.max_size_bytes * config.pin_max_share),
        metrics=base.metrics,
    )
    return Evictor(
        index=base.state.index,
        objects=base.opened.objects,
        memory=base.memory,
        results=base.state.results,
        presence=base.presence,
        pins=pins,
        metrics=base.metrics,
    )


def _capacity(base: _Base, config: StorageConfig, evictor: Evictor) -> Capacity:
    return Capacity(
        max_size_bytes=config.max_size_bytes,
        quotas=config.quotas,
        high_watermark=config.high_watermark,
        low_watermark=config.low_watermark,
        index=base.state.index,
        result_bytes=base.state.results.total_bytes,
        free_bytes=base.opened.free_bytes,
        has_inodes=base.opened.has_inodes,
        evictor=evictor,
        reservations=base.state.reservations,
        metrics=base.metrics,
    )


def _write_health(base: _Base, capacity: Capacity) -> WriteHealth:
    async def check_objects() -> None:
        # Eviction makes inodes, and no write comes to a server that is not ready to begin one.
        with suppress(ResourceExhausted):
            async with capacity.reserved(1, None):
                pass
        await base.opened.objects.check()

    checks = {OBJECTS: check_objects, STATE: base.state.index.check}
    return WriteHealth(checks, probe_seconds=_PROBE_SECONDS)


def _action_cache(
    base: _Base,
    config: StorageConfig,
    blobs: IndexedBlobStore,
    capacity: Capacity,
    health: WriteHealth,
    now: Callable[[], int],
    table: ResultTable,
) -> IndexedActionCache:
    lifetimes = ResultLifetimes(
        now, ttl_seconds=config.result_ttl_seconds, results_since=config.results_since
    )
    return IndexedActionCache(
        table=table,
        blobs=blobs,
        blobs_for=blobs.for_instance,
        presence=base.presence,
        capacity=capacity,
        lifetimes=lifetimes,
        health=health,
    )


def _action_cache_in(
    pool: "PostgresqlPool | None", action_cache: Callable[[ResultTable], IndexedActionCache]
) -> Callable[["Term"], AbstractAsyncContextManager[IndexedActionCache]]:
    @asynccontextmanager
    async def action_cache_in(term: "Term") -> AsyncIterator[IndexedActionCache]:
        from .state.postgresql_results import PostgresqlResults

        assert pool is not None, "terms are in PostgreSQL"
        async with PostgresqlResults(pool, term) as table:
            yield action_cache(table)

    return action_cache_in


def _parts(base: _Base, quarantine: Quarantine, evictor: Evictor) -> Parts:
    state, objects = base.state, base.opened.objects
    return Parts(state.index, objects, state.results, base.presence, quarantine, evictor)


async def _cached(
    config: StorageConfig,
    blobs: IndexedBlobStore,
    registry: CollectorRegistry,
    member: int,
    stack: AsyncExitStack,
) -> BlobStore:
    """`blobs` with an embedded storage in front of them, if that is wanted: a cache keeps no
    promises, so it may always evict."""
    if not config.cache_max_size_bytes:
        return blobs
    cache_config = StorageConfig(
        config.data_dir / "cache",
        processes=config.processes,
        max_size_bytes=config.cache_max_size_bytes,
        retention_seconds=1,
        pin_max_share=0,
        inline_max_bytes=config.inline_max_bytes,
        memory_bytes=_CACHE_MEMORY_BYTES,
        is_cache=True,
        free_disk_share=_CACHE_FREE_DISK_SHARE,
    )
    # Its own counters would look like those of the storage.
    cache = await stack.enter_async_context(
        open_storage(cache_config, CollectorRegistry(), member=member)
    )
    # Only what the storage has verified is copied: hashing it again is most of the work.
    copies = cache.blobs.for_verified()
    return await stack.enter_async_context(TieredStore(copies, blobs, TierMetrics(registry)))


@asynccontextmanager
async def _recovering(
    state: SqliteState, objects: ObjectStore, evictor: Evictor
) -> AsyncIterator[asyncio.Task[None]]:
    was_clean = await state.index.begin_run()
    if not was_clean:
        await state.inline.skip_ids()
    recovery = Recovery(state, objects, evictor, is_sweep_due=not was_clean)
    task = asyncio.create_task(recovery.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))
        if not recovery.is_sweep_due:
            await state.index.end_run()
