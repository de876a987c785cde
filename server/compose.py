"""The composition root: makes the objects of all components from the settings.

The only file that knows concrete classes of several components.
"""

import asyncio
import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from reapi.cas.config import StorageConfig
from reapi.cas.factory import open_storage
from reapi.cas.services import services
from reapi.cas.storage import Storage
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import LOST_SECONDS, Channel
from reapi.clients.patient_blobs import PatientBlobStore
from reapi.core.database import Database
from reapi.core.digest import function_named
from reapi.core.errors import FailedPrecondition, ReapiError
from reapi.core.health import HealthService
from reapi.core.instances import Instance, Instances
from reapi.core.interfaces import BlobStore
from reapi.core.reflection import ReflectionService
from reapi.core.rpc import Method
from reapi.executor.config import ExecutorConfig
from reapi.executor.worker import Worker
from reapi.scheduler.config import SchedulerConfig
from reapi.scheduler.dispatcher import Dispatcher
from reapi.scheduler.execution_service import ExecutionService
from reapi.scheduler.journal_store import JournalStore
from reapi.scheduler.operations_service import OperationsService
from reapi.scheduler.sqlite_journal import MIGRATIONS as JOURNAL_MIGRATIONS
from reapi.scheduler.sqlite_journal import SqliteJournal
from reapi.scheduler.worker_service import WorkerService

from .config import ServerConfig
from .edge import open_edge
from .forward import SERVICE_NAMES, SERVICES, Forwarder
from .reachability import Reachability

_DEFAULT_SCHEDULER = "127.0.0.1:8980"

_STORAGE_SERVICES = frozenset(
    (
        "",
        "build.bazel.remote.execution.v2.ActionCache",
        "build.bazel.remote.execution.v2.ContentAddressableStorage",
        "google.bytestream.ByteStream",
    )
)
"""Whose health is that of the storage; so is that of the server as a whole."""


@dataclass(frozen=True)
class Api:
    """What a listening process serves: all of it, and of that what the scheduler does."""

    methods: list[Method]
    scheduler_methods: list[Method]
    health: HealthService
    why_not_ready: Callable[[], str | None]
    """In words for a person; None while new work is welcome."""
    failure: "asyncio.Future[ReapiError]"
    """Why this process must end, once that is so: another scheduler has taken its place."""


async def compose(
    config: ServerConfig, registry: CollectorRegistry, stack: AsyncExitStack, *, member: int = 0
) -> Api:
    """The services of the roles in `config`; what they hold open is closed with `stack`.

    `member` is the number of this process among those that share a data directory.
    """
    roles = config.server.roles
    instances = _instances(config)
    if config.upstream is not None:
        return await _compose_edge(config, instances, registry, stack, member)
    storage = await stack.enter_async_context(
        open_storage(storage_config(config), registry, member=member)
    )
    reachability = None
    scheduler_methods: list[Method] = []
    journal = None
    if "scheduler" in roles:
        journal = await _journal(config, storage, stack)
        scheduler_methods = await _scheduler_methods(config, journal, storage, instances, stack)
    elif config.scheduler.endpoint is not None:
        channel = await stack.enter_async_context(
            Channel(config.scheduler.endpoint, tool_name="reapi-frontend", is_invocation=False)
        )
        reachability = await stack.enter_async_context(
            Reachability([channel], "the scheduler", SERVICES[0].full_name)
        )
        scheduler_methods = Forwarder(reachability).methods()
    methods = list(scheduler_methods)
    if "frontend" in roles:
        has_execution = bool(scheduler_methods)
        methods += services(storage, instances, has_execution=has_execution)
    health = _health(methods)
    storage.health.add_listener(
        lambda problem: health.set_available(_STORAGE_SERVICES, problem is None)
    )
    failure: asyncio.Future[ReapiError] = asyncio.get_running_loop().create_future()
    if journal is not None:
        journal.add_listener(partial(_report_journal, health, failure))
    if reachability is not None:
        reachability.add_listener(lambda lost: health.set_available(SERVICE_NAMES, not lost))
    return Api(
        _described(methods, health),
        scheduler_methods,
        health,
        lambda: storage.health.problem,
        failure,
    )


def _report_journal(
    health: HealthService, failure: "asyncio.Future[ReapiError]", problem: ReapiError | None
) -> None:
    """What a scheduler cannot journal it refuses; whoever asks for blobs need not care (F9)."""
    health.set_available(SERVICE_NAMES, problem is None)
    if isinstance(problem, FailedPrecondition):
        failure.set_result(problem)


async def _compose_edge(
    config: ServerConfig,
    instances: Instances,
    registry: CollectorRegistry,
    stack: AsyncExitStack,
    member: int,
) -> Api:
    edge = await open_edge(
        config, storage_config(config), instances, registry, stack, member=member
    )
    health = _health(edge.methods)
    edge.upstream.servers.add_listener(
        lambda lost: health.set_available(
            _STORAGE_SERVICES | SERVICE_NAMES, edge.upstream.problem(lost) is None
        )
    )
    never: asyncio.Future[ReapiError] = asyncio.get_running_loop().create_future()
    return Api(_described(edge.methods, health), [], health, edge.why_not_ready, never)


def _health(methods: Sequence[Method]) -> HealthService:
    """The health of the services that have `methods`."""
    return HealthService(frozenset(method.path.split("/")[1] for method in methods))


def _described(methods: Sequence[Method], health: HealthService) -> list[Method]:
    """The same with health and reflection, which tell of them."""
    served = [*methods, *health.methods()]
    reflection = ReflectionService(sorted({method.path.split("/")[1] for method in served}))
    return [*served, *reflection.methods()]


async def _scheduler_methods(
    config: ServerConfig,
    journal: JournalStore,
    storage: Storage,
    instances: Instances,
    stack: AsyncExitStack,
) -> list[Method]:
    settings = _scheduler_config(config)
    dispatcher = await stack.enter_async_context(
        Dispatcher(settings, journal, storage.reads, storage.action_cache)
    )
    execution = ExecutionService(
        settings, dispatcher, storage.reads, storage.action_cache, instances
    )
    return [
        *storage.invocations.watched(execution.methods()),
        *OperationsService(dispatcher).methods(),
        *WorkerService(settings, dispatcher).methods(),
    ]


async def _journal(config: ServerConfig, storage: Storage, stack: AsyncExitStack) -> JournalStore:
    """Where the state is, there is the journal."""
    if storage.postgresql is None:
        database = await stack.enter_async_context(
            Database(config.data_dir / "scheduler.db", JOURNAL_MIGRATIONS)
        )
        return SqliteJournal(database)
    from reapi.scheduler.postgresql_journal import PostgresqlJournal

    return await stack.enter_async_context(PostgresqlJournal(storage.postgresql))


async def run_executor(
    config: ServerConfig,
    stop: asyncio.Event,
    on_joined: Callable[[], None],
    registry: CollectorRegistry,
) -> None:
    """Runs actions for the scheduler at `config.scheduler.endpoint` until told to stop and done.

    Blobs come from and go to `config.executor.frontend_endpoint`, or the storage itself. Calls
    `on_joined` when the scheduler has welcomed it.
    """
    async with AsyncExitStack() as stack:
        endpoint = config.scheduler.endpoint or _DEFAULT_SCHEDULER
        to_scheduler = await stack.enter_async_context(_executor_channel(endpoint))
        blob_store = await _executor_blobs(config, endpoint, to_scheduler, registry, stack)
        worker = await stack.enter_async_context(
            Worker(_executor_config(config), to_scheduler, blob_store)
        )
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
    to_scheduler: Channel,
    registry: CollectorRegistry,
    stack: AsyncExitStack,
) -> Callable[[str], BlobStore]:
    """Makes the store of an instance name, for inputs and outputs."""
    if config.executor.storage == "direct":
        # The executor has a cache of input files, and no use for a second one of their blobs.
        uncached = dataclasses.replace(storage_config(config), cache_max_size_bytes=0)
        storage = await stack.enter_async_context(open_storage(uncached, registry))
        return lambda instance_name: PatientBlobStore(
            storage.blobs.for_instance(instance_name), patience_seconds=LOST_SECONDS
        )
    to_frontend = to_scheduler
    frontend = config.executor.frontend_endpoint
    if frontend is not None and frontend != scheduler:
        to_frontend = await stack.enter_async_context(_executor_channel(frontend))
    return partial(RemoteBlobStore, to_frontend)


def _executor_channel(endpoint: str) -> Channel:
    return Channel(endpoint, tool_name="reapi-executor", is_invocation=False)


async def _when_joined(worker: Worker, on_joined: Callable[[], None]) -> None:
    await worker.has_joined.wait()
    on_joined()


def _instances(config: ServerConfig) -> Instances:
    settings = {
        name: Instance(digest_function=function_named(section.digest_function))
        for name, section in config.instances.items()
    }
    names = config.server.instance_names
    return Instances({name: settings.get(name, Instance()) for name in names})


def storage_config(config: ServerConfig) -> StorageConfig:
    return StorageConfig(
        data_dir=config.storage_dir,
        processes=config.server.processes,
        max_size_bytes=config.storage.max_size_bytes,
        quotas={
            name: section.max_size_bytes
            for name, section in config.instances.items()
            if section.max_size_bytes is not None
        },
        high_watermark=config.storage.high_watermark,
        low_watermark=config.storage.low_watermark,
        retention_seconds=config.storage.retention_seconds,
        pin_idle_seconds=config.storage.pin_idle_seconds,
        pin_max_seconds=config.storage.pin_max_seconds,
        pin_max_share=config.storage.pin_max_share,
        result_ttl_seconds=config.results.ttl_seconds,
        results_since={
            name: math.ceil(section.results_since.timestamp())
            for name, section in config.instances.items()
            if section.results_since is not None
        },
        dsn_file=config.storage.state.dsn_file,
        s3=config.storage.blobs.s3() if config.storage.blobs.kind == "s3" else None,
        inline_max_bytes=config.storage.inline_max_bytes,
        survives_power_loss=config.storage.survives_power_loss,
        compresses=config.storage.compression == "zstd",
        cache_max_size_bytes=config.storage.cache_max_size_bytes,
    )


def _scheduler_config(config: ServerConfig) -> SchedulerConfig:
    return SchedulerConfig(
        heartbeat_seconds=config.scheduler.heartbeat_seconds,
        worker_timeout_seconds=config.scheduler.worker_timeout_seconds,
        max_attempts=config.scheduler.max_attempts,
        unwatched_seconds=config.scheduler.unwatched_seconds,
        default_timeout_seconds=config.scheduler.default_timeout_seconds,
        max_timeout_seconds=config.scheduler.max_timeout_seconds,
    )


def _executor_config(config: ServerConfig) -> ExecutorConfig:
    return ExecutorConfig(
        worker_id=config.executor.worker_id,
        cache_dir=config.executor.cache_dir or config.data_dir / "executor",
        slots=config.executor.slots,
        platform=config.executor.platform,
        cache_max_size_bytes=config.executor.cache_max_size_bytes,
    )
