"""The composition root: makes the objects of all components from the settings.

With its neighbours *_role.py the only file that knows concrete classes of several components.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from reapi.cas.factory import open_storage
from reapi.cas.services import services
from reapi.cas.storage import Storage
from reapi.clients.schedulers import Schedulers
from reapi.core.access import guard
from reapi.core.digest import function_named
from reapi.core.health import HealthService
from reapi.core.instances import Instance, Instances
from reapi.core.reflection import ReflectionService
from reapi.core.rpc import Method

from .access_rules import RULES
from .cluster_health import ClusterHealth, ClusterView
from .cluster_metrics import ClusterMetrics
from .config import ServerConfig
from .edge import open_edge
from .forward import SERVICE_NAMES, SchedulerForwarder
from .office import Office
from .scheduler_logs import SchedulerLogs
from .scheduler_role import open_term
from .sharding import Shard, ShardedForwarder
from .storage_config import storage_config
from .tokens import Tokens, make_tokens

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
    cluster_health: ClusterHealth
    why_not_ready: Callable[[], str | None]
    """In words for a person; None while new work is welcome."""
    standby: Callable[[], str | None]
    """In words for a person; None unless another scheduler is active in place of this one."""
    resign: Callable[[], Awaitable[None]]
    """Lets another scheduler take over, if there can be one."""


async def compose(
    config: ServerConfig,
    registry: CollectorRegistry,
    stack: AsyncExitStack,
    *,
    member: int = 0,
    own_token: str | None = None,
) -> Api:
    """The services of the roles in `config`; what they hold open is closed with `stack`.

    `member` is the number of this process among those that share a data directory; `own_token` is
    what these show each other, and their scheduler.
    """
    tokens = make_tokens(config.auth, own_token)
    instances = _instances(config)
    if config.upstream is not None:
        return await _compose_edge(config, instances, registry, stack, member, tokens)
    storage = await stack.enter_async_context(
        open_storage(storage_config(config), registry, member=member)
    )
    scheduling = await _scheduling(config, storage, instances, registry, stack, own_token)
    office = scheduling.office
    methods = list(scheduling.methods)
    if "frontend" in config.server.roles:
        logs = SchedulerLogs(scheduling.methods) if scheduling.methods else None
        methods += services(storage, instances, has_execution=logs is not None, logs=logs)
    health = _health(methods)
    storage.health.add_listener(
        lambda problem: health.set_available(_STORAGE_SERVICES, problem is None)
    )
    if scheduling.forwarder is not None:
        tell = partial(health.set_available, SERVICE_NAMES)
        await stack.enter_async_context(scheduling.forwarder.reporting(tell))
    if office is not None:
        await stack.enter_async_context(office.serving(health))
    return Api(
        _described(_guarded(methods, tokens), health),
        [*_guarded(scheduling.methods, tokens), *health.methods()],
        health,
        ClusterHealth(
            {"blobs": storage.parts.objects.check, "state": storage.parts.index.check},
            scheduling.ask,
        ),
        lambda: (office.problem if office else None) or storage.health.problem,
        lambda: office.standby if office else None,
        _resignation(office, storage),
    )


@dataclass(frozen=True)
class _Scheduling:
    """Who schedules: this process when it is in office, others behind a forwarder, or nobody."""

    methods: list[Method]
    ask: Callable[[], Awaitable[ClusterView]] | None
    office: Office | None = None
    forwarder: SchedulerForwarder | ShardedForwarder | None = None


async def _scheduling(
    config: ServerConfig,
    storage: Storage,
    instances: Instances,
    registry: CollectorRegistry,
    stack: AsyncExitStack,
    token: str | None,
) -> _Scheduling:
    forwarder: SchedulerForwarder | ShardedForwarder
    if "scheduler" in config.server.roles:
        office = Office(partial(open_term, config, storage, instances), registry)
        registry.register(ClusterMetrics(office.view))
        return _Scheduling(office.methods(), office.ask, office=office)
    if config.scheduler.shards:
        forwarder = await _sharded(config, storage, instances, stack, token)
    elif config.scheduler.endpoint is not None:
        forwarder = await _forwarder(config.scheduler.endpoint, config, stack, token)
    else:
        return _Scheduling([], None)
    return _Scheduling(forwarder.methods(), forwarder.ask, forwarder=forwarder)


async def _forwarder(
    endpoint: str, config: ServerConfig, stack: AsyncExitStack, token: str | None
) -> SchedulerForwarder:
    tls = config.connections.tls()
    schedulers = Schedulers(endpoint, tool_name="reapi-frontend", token=token, tls=tls)
    return SchedulerForwarder(await stack.enter_async_context(schedulers))


async def _sharded(
    config: ServerConfig,
    storage: Storage,
    instances: Instances,
    stack: AsyncExitStack,
    token: str | None,
) -> ShardedForwarder:
    shards = [
        Shard(
            section.name,
            await _forwarder(section.endpoint, config, stack, token),
            None if section.instance_names is None else frozenset(section.instance_names),
            section.platform,
        )
        for section in config.scheduler.shards
    ]
    return ShardedForwarder(shards, storage.reads, instances)


def _resignation(office: Office | None, storage: Storage) -> Callable[[], Awaitable[None]]:
    """A journal on the local disk has no other scheduler: calls may take their time to end."""

    return _stay if office is None or storage.postgresql is None else office.resign


async def _stay() -> None:
    return


async def _compose_edge(
    config: ServerConfig,
    instances: Instances,
    registry: CollectorRegistry,
    stack: AsyncExitStack,
    member: int,
    tokens: Tokens | None,
) -> Api:
    edge = await open_edge(
        config,
        storage_config(config),
        instances,
        registry,
        stack,
        member=member,
    )
    health = _health(edge.methods)
    edge.upstream.servers.add_listener(
        lambda lost: health.set_available(
            _STORAGE_SERVICES | SERVICE_NAMES, edge.upstream.problem(lost) is None
        )
    )
    return Api(
        _described(_guarded(edge.methods, tokens), health),
        [],
        health,
        ClusterHealth({"upstream": edge.check}, None),
        edge.why_not_ready,
        lambda: None,
        _stay,
    )


def _guarded(methods: Sequence[Method], tokens: Tokens | None) -> list[Method]:
    """The same, for those who may; health and reflection are for all."""
    return list(methods) if tokens is None else guard(methods, tokens, RULES)


def _health(methods: Sequence[Method]) -> HealthService:
    """The health of the services that have `methods`."""
    return HealthService(frozenset(method.path.split("/")[1] for method in methods))


def _described(methods: Sequence[Method], health: HealthService) -> list[Method]:
    """The same with health and reflection, which tell of them."""
    served = [*methods, *health.methods()]
    reflection = ReflectionService(sorted({method.path.split("/")[1] for method in served}))
    return [*served, *reflection.methods()]


def _instances(config: ServerConfig) -> Instances:
    settings = {
        name: Instance(digest_function=function_named(section.digest_function))
        for name, section in config.instances.items()
    }
    names = config.server.instance_names
    return Instances({name: settings.get(name, Instance()) for name in names})
