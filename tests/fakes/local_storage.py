"""The embedded storage for tests: in a given directory, by a clock that only tests move."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from reapi.cas.config import StorageConfig
from reapi.cas.factory import Storage, open_storage, services
from reapi.core.instances import Instances
from reapi.core.middleware import RpcMetrics, wrap
from reapi.core.rpc import RpcServer
from tests.fakes.instances import INSTANCES

INLINE_MAX_BYTES = 1000
"""Small, so that tests reach files with few bytes."""


class ManualClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000

    def __call__(self) -> int:
        return self.seconds


def local_storage(
    data_dir: Path,
    *,
    clock: ManualClock | None = None,
    registry: CollectorRegistry | None = None,
    max_size_bytes: int = 1 << 40,
    retention_seconds: int = 24 * 3600,
    inline_max_bytes: int = INLINE_MAX_BYTES,
    upload_deadline_seconds: int = 3600,
    memory_bytes: int = 1 << 20,
) -> AbstractAsyncContextManager[Storage]:
    """An open storage with settings that suit tests."""
    config = StorageConfig(
        data_dir,
        max_size_bytes=max_size_bytes,
        retention_seconds=retention_seconds,
        inline_max_bytes=inline_max_bytes,
        upload_deadline_seconds=upload_deadline_seconds,
        memory_bytes=memory_bytes,
    )
    return open_storage(config, registry or CollectorRegistry(), now=clock or ManualClock())


@asynccontextmanager
async def serving(
    storage: Storage,
    *,
    instances: Instances = INSTANCES,
    has_execution: bool = True,
) -> AsyncIterator[str]:
    """The address of a real server of the storage's services, wrapped as in production."""
    methods = services(storage, instances, has_execution=has_execution)
    metrics = RpcMetrics(CollectorRegistry())
    async with RpcServer(wrap(methods, metrics), listen="127.0.0.1:0") as server:
        yield f"127.0.0.1:{server.port}"
