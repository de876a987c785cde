"""The executor of this process: makes its objects from the settings and runs it."""

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from reapi.cas.factory import open_storage
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.schedulers import Schedulers
from reapi.core.interfaces import BlobStore
from reapi.executor.config import ExecutorConfig
from reapi.executor.worker import Worker

from .config import ServerConfig
from .storage_config import storage_config

_DEFAULT_SCHEDULER = "127.0.0.1:8980"
_EXECUTOR = "reapi-executor"


async def run_executor(
    config: ServerConfig,
    stop: asyncio.Event,
    on_joined: Callable[[], None],
    registry: CollectorRegistry,
    token: str | None,
) -> None:
    """Runs actions for the scheduler at `config.scheduler.endpoint` until told to stop and done.

    Blobs come from and go to `config.executor.frontend_endpoint`, or the storage itself. Calls
    `on_joined` when the scheduler has welcomed it. `token` is shown to both.
    """
    async with AsyncExitStack() as stack:
        endpoint = config.scheduler.endpoint or _DEFAULT_SCHEDULER
        tls = config.connections.tls()
        schedulers = Schedulers(endpoint, tool_name=_EXECUTOR, token=token, tls=tls)
        await stack.enter_async_context(schedulers)
        blob_store = await _executor_blobs(config, endpoint, token, registry, stack)
        worker = await stack.enter_async_context(
            Worker(_executor_config(config), schedulers, blob_store)
        )
        Gauge(
            "reapi_executor_sandbox",
            "1 for the sandbox that actions run in",
            ["kind"],
            registry=registry,
        ).labels(worker.sandbox.kind).set(1)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(worker.run())
            stopping = group.create_task(stop.wait())
            joining = group.create_task(_when_joined(worker, on_joined))
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            worker.drain()
            stopping.cancel()
            joining.cancel()


async def _executor_blobs(
    config: ServerConfig,
    scheduler: str,
    token: str | None,
    registry: CollectorRegistry,
    stack: AsyncExitStack,
) -> Callable[[str], BlobStore]:
    """Makes the store of an instance name, for inputs and outputs."""
    if config.executor.storage == "direct":
        # The executor has a cache of input files, and no use for a second one of their blobs.
        uncached = dataclasses.replace(storage_config(config), cache_max_size_bytes=0)
        storage = await stack.enter_async_context(open_storage(uncached, registry))
        return storage.blobs.for_instance
    frontend = config.executor.frontend_endpoint or scheduler
    channel = Channel(
        frontend,
        tool_name=_EXECUTOR,
        token=token,
        tls=config.connections.tls(),
        is_invocation=False,
        patience_seconds=config.executor.storage_patience_seconds,
    )
    return partial(RemoteBlobStore, await stack.enter_async_context(channel))


async def _when_joined(worker: Worker, on_joined: Callable[[], None]) -> None:
    await worker.has_joined.wait()
    on_joined()


def _executor_config(config: ServerConfig) -> ExecutorConfig:
    return ExecutorConfig(
        worker_id=config.executor.worker_id,
        cache_dir=config.executor_dir,
        slots=config.executor.slots,
        platform=config.executor.platform,
        resources=dict(config.executor.offered()),
        sandbox=config.executor.sandbox,
        sandbox_paths=config.executor.sandbox_paths,
        ordinal=config.executor.number(),
        persistent_worker_idle_seconds=config.executor.persistent_worker_idle_seconds,
        cache_max_size_bytes=config.executor.cache_max_size_bytes,
        limits=config.executor.limits.limits(),
        storage_patience_seconds=config.executor.storage_patience_seconds,
        delivery_seconds=config.server.drain_seconds,
    )
