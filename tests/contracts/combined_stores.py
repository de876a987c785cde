"""Stores made of stores, for the contract suites: a name, and how to open one in a directory."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from reapi.cas.stores.metrics import MirrorMetrics, TierMetrics
from reapi.cas.stores.mirrored import MirroredStore
from reapi.cas.stores.sharded import Shard, ShardedStore
from reapi.cas.stores.tiered import TieredStore
from reapi.cas.stores.write_back import WriteBackStore
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.patient_blobs import PatientBlobStore
from reapi.core.interfaces import BlobStore
from tests.fakes.local_storage import local_storage, serving
from tests.fakes.memory_store import MemoryBlobStore


@asynccontextmanager
async def _remote(path: Path) -> AsyncIterator[BlobStore]:
    async with (
        local_storage(path) as storage,
        serving(storage) as address,
        Channel(address) as channel,
    ):
        yield RemoteBlobStore(channel, "main")


@asynccontextmanager
async def _memory_over_local(path: Path) -> AsyncIterator[BlobStore]:
    async with (
        local_storage(path) as slow,
        TieredStore(MemoryBlobStore(), slow.blobs, TierMetrics(CollectorRegistry())) as store,
    ):
        yield store


@asynccontextmanager
async def _local_over_remote(path: Path) -> AsyncIterator[BlobStore]:
    async with (
        local_storage(path / "fast") as fast,
        _remote(path / "slow") as slow,
        TieredStore(fast.blobs, slow, TierMetrics(CollectorRegistry())) as store,
    ):
        yield store


@asynccontextmanager
async def _sharded(path: Path) -> AsyncIterator[BlobStore]:
    async with local_storage(path / "local") as local, _remote(path / "remote") as remote:
        shards = [
            Shard("memory", 1, MemoryBlobStore()),
            Shard("local", 2, local.blobs),
            Shard("remote", 1.5, remote),
        ]
        yield ShardedStore(shards)


@asynccontextmanager
async def _mirrored(path: Path) -> AsyncIterator[BlobStore]:
    async with (
        local_storage(path) as local,
        MirroredStore(local.blobs, MemoryBlobStore(), MirrorMetrics(CollectorRegistry())) as store,
    ):
        yield store


@asynccontextmanager
async def _write_back(path: Path) -> AsyncIterator[BlobStore]:
    async with (
        local_storage(path / "fast") as fast,
        local_storage(path / "slow") as slow,
        WriteBackStore(
            fast.blobs,
            slow.blobs,
            path / "owed.db",
            TierMetrics(CollectorRegistry()),
            max_owed_bytes=4_000_000,
            renew_seconds=600,
        ) as store,
    ):
        yield store


@asynccontextmanager
async def _patient(path: Path) -> AsyncIterator[BlobStore]:
    async with local_storage(path) as local:
        yield PatientBlobStore(local.blobs, patience_seconds=60)


COMBINED: dict[str, Callable[[Path], AbstractAsyncContextManager[BlobStore]]] = {
    "memory over local": _memory_over_local,
    "local over remote": _local_over_remote,
    "write-back": _write_back,
    "sharded": _sharded,
    "mirrored": _mirrored,
    "patient": _patient,
}
