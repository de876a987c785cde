"""The embedded storage for tests: in a given directory, by a clock that only tests move."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from reapi.cas.config import StorageConfig
from reapi.cas.factory import open_storage
from reapi.cas.services import services
from reapi.cas.storage import Storage
from reapi.core.instances import Instances
from reapi.core.middleware import wrap
from reapi.core.rpc_metrics import RpcMetrics
from tests.fakes.instances import INSTANCES
from tests.transport import rpc_server

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
    member: int = 0,
    max_size_bytes: int = 1 << 40,
    retention_seconds: int = 24 * 3600,
    inline_max_bytes: int = INLINE_MAX_BYTES,
    memory_bytes: int = 1 << 20,
    **more: Any,
) -> AbstractAsyncContextManager[Storage]:
    """An open storage with settings that suit tests; `more` are further ones."""
    config = StorageConfig(
        data_dir,
        max_size_bytes=max_size_bytes,
        retention_seconds=retention_seconds,
        inline_max_bytes=inline_max_bytes,
        memory_bytes=memory_bytes,
        **more,
    )
    return open_storage(
        config, registry or CollectorRegistry(), member=member, now=clock or ManualClock()
    )


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
    async with rpc_server(wrap(methods, metrics)) as server:
        yield f"127.0.0.1:{server.port}"
