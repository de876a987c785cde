"""Composes an edge frontend: a server near its users, with a cache in front of other servers.

Which blobs and results there are, the servers behind it alone say. Here they are cached, or kept
until the servers have them.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NamedTuple, cast

from prometheus_client import CollectorRegistry

from reapi.cas.action_cache_service import ActionCacheService
from reapi.cas.bytestream_service import ByteStreamService
from reapi.cas.capabilities_service import CapabilitiesService
from reapi.cas.cas_service import CasService
from reapi.cas.config import StorageConfig
from reapi.cas.factory import open_storage
from reapi.cas.fed_upload import FedUploads
from reapi.cas.find_missing import MissingBlobsFinder
from reapi.cas.hash_filter import NoFilter
from reapi.cas.presence import Presence
from reapi.cas.storage import Storage
from reapi.cas.stores.debts import has_debts
from reapi.cas.stores.metrics import TierMetrics
from reapi.cas.stores.paid_results import PaidResults
from reapi.cas.stores.tiered import TieredStore
from reapi.cas.stores.write_back import WriteBackStore
from reapi.cas.upload import Uploads
from reapi.core.errors import Unavailable, Unimplemented
from reapi.core.instances import Instances
from reapi.core.interfaces import Call
from reapi.core.log_name import is_log_name
from reapi.core.request_metadata import request_metadata_header
from reapi.core.rpc import Method, StreamHandler, bind
from reapi.protos.google.bytestream import bytestream_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest
from reapi.protos.reapi.admin.v1 import admin_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2

from .config import ServerConfig
from .edge_capabilities import EdgeCapabilities
from .forward import SERVICES, Forwarder, path_of
from .upstream import Upstream, open_upstream

_CACHE_RETENTION_SECONDS = 1
_OWED_RETENTION_SECONDS = 600
_RENEW_SECONDS = 200
"""The cache promises nothing, except to keep what is owed until it is asked again."""

_MOST_IDLE_UPLOADS = 64
_IDLE_UPLOAD_SECONDS = 600
"""An upload that waits for its client keeps one to the upstream open."""

_EXECUTE = "/build.bazel.remote.execution.v2.Execution/Execute"
_JOIN = f"/{worker_pb2.DESCRIPTOR.services_by_name['WorkerService'].full_name}/Connect"
_READ = bytestream_pb2.DESCRIPTOR.services_by_name["ByteStream"].methods_by_name["Read"]
_ADMIN = admin_pb2.DESCRIPTOR.services_by_name["ResultAdminService"]


Tiers = TieredStore | WriteBackStore


class Edge(NamedTuple):
    """What an edge frontend serves, and of what it is made."""

    methods: list[Method]
    upstream: Upstream

    def why_not_ready(self) -> str | None:
        """In words for a person; None while new work is welcome."""
        return self.upstream.problem(self.upstream.servers.unreachable())

    async def check(self) -> None:
        """Raises Unavailable when what should be there is not."""
        problem = self.why_not_ready()
        if problem is not None:
            raise Unavailable(problem)


async def open_edge(
    config: ServerConfig,
    cache_config: StorageConfig,
    instances: Instances,
    registry: CollectorRegistry,
    stack: AsyncExitStack,
    *,
    member: int,
) -> Edge:
    """The services over the servers of `config.upstream`; what they hold open is closed with
    `stack`. `cache_config` says where the cache lies and how large it may be."""
    assert config.upstream is not None
    instance_name = config.upstream.instance_name
    if instance_name is None:
        instance_name = config.server.instance_names[0]
    caller = ContextVar[bytes | None]("caller", default=None)
    token = config.auth.read_token()
    tls = config.connections.tls()
    upstream = await open_upstream(
        config.upstream, instance_name, caller, token, tls, registry, stack
    )
    record = config.data_dir / "owed.db"
    is_owing = config.upstream.write_back_max_bytes > 0
    if member == 0 and not is_owing and record.exists():
        is_owing = await has_debts(record)  # from before that was turned off
    cache_config = replace(
        cache_config,
        retention_seconds=_OWED_RETENTION_SECONDS if is_owing else _CACHE_RETENTION_SECONDS,
        pin_max_share=0,
    )
    cache = await stack.enter_async_context(open_storage(cache_config, registry, member=member))
    metrics = TierMetrics(registry)
    blobs: Tiers = TieredStore(cache.blobs, upstream.blobs, metrics)
    if is_owing:
        blobs = WriteBackStore(
            cache.blobs,
            upstream.blobs,
            record,
            metrics,
            max_owed_bytes=config.upstream.write_back_max_bytes,
            renew_seconds=_RENEW_SECONDS,
            survives_power_loss=cache_config.survives_power_loss,
        )
    await stack.enter_async_context(blobs)
    uploads = Uploads(
        FedUploads(blobs),
        deadline_seconds=_IDLE_UPLOAD_SECONDS,
        idle_seconds=cache_config.upload_idle_seconds,
        most_idle=_MOST_IDLE_UPLOADS,
    )
    stack.push_async_callback(uploads.aclose)
    methods = _methods(cache, blobs, uploads, upstream, instances)
    return Edge([_noting(method, caller) for method in methods], upstream)


def _methods(
    cache: Storage,
    blobs: Tiers,
    uploads: Uploads,
    upstream: Upstream,
    instances: Instances,
) -> list[Method]:
    # Nothing that is known here says what the upstream has.
    no_presence = Presence(lambda: 0, _CACHE_RETENTION_SECONDS, lambda: None)
    finder = MissingBlobsFinder(blobs, no_presence, NoFilter(), instances)
    results = upstream.results(blobs)
    forwarded = _forwarded(upstream)
    if isinstance(blobs, WriteBackStore):
        results = PaidResults(results, blobs)
        forwarded = _paid(forwarded, blobs)
    capabilities = EdgeCapabilities(
        CapabilitiesService(instances, has_execution=False),
        upstream.servers,
        runs_actions=upstream.section.runs_actions,
    )
    return [
        *capabilities.methods(),
        *CasService(blobs, lambda _: blobs, finder, instances, cache.chunk_records).methods(),
        *_with_logs(ByteStreamService(blobs, uploads, instances).methods(), upstream),
        *ActionCacheService(results, blobs, instances).methods(),
        *forwarded,
    ]


def _with_logs(methods: Sequence[Method], upstream: Upstream) -> list[Method]:
    """The same; what the names of logs mean, only the servers know that gave them."""
    if not upstream.section.runs_actions:
        return list(methods)
    relay = cast(StreamHandler, Forwarder(upstream.servers).handler(_READ))

    def reading(read: StreamHandler) -> StreamHandler:
        def handle(request: ReadRequest, call: Call) -> AsyncGenerator[Any, None]:
            if is_log_name(request.resource_name):
                return relay(request.SerializeToString(), call)
            return read(request, call)

        return handle

    return [
        replace(method, handler=reading(cast(StreamHandler, method.handler)))
        if method.path == path_of(_READ)
        else method
        for method in methods
    ]


def _forwarded(upstream: Upstream) -> list[Method]:
    """What a server does on its own. Results are listed and revoked at each of several servers."""
    if len(upstream.section.servers) == 1:
        return Forwarder(upstream.servers, (*SERVICES, _ADMIN)).methods()
    addresses = ", ".join(server.endpoint for server in upstream.section.servers)

    async def refuse(request: object, call: Call) -> AsyncGenerator[bytes, None]:
        raise Unimplemented(f"ask the servers behind this one, each for its results: {addresses}")
        yield

    refused = bind(_ADMIN, {"ListResults": refuse, "RevokeResults": refuse})
    if not upstream.section.runs_actions:
        return refused
    return [*Forwarder(upstream.servers).methods(), *refused]


def _paid(methods: Sequence[Method], blobs: WriteBackStore) -> list[Method]:
    """The same, for an upstream that does not know all blobs that were acknowledged here.

    Actions are passed on once it does. Workers may not join: their results would be refused.
    """
    return [
        replace(method, handler=_paying(cast(StreamHandler, method.handler), blobs))
        if method.path == _EXECUTE
        else method
        for method in methods
        if method.path != _JOIN
    ]


def _paying(handler: StreamHandler, blobs: WriteBackStore) -> StreamHandler:
    async def paying(request: Any, call: Call) -> AsyncGenerator[Any, None]:
        await blobs.pay()
        async with aclosing(handler(request, call)) as replies:
            async for reply in replies:
                yield reply

    return paying


def _noting(method: Method, caller: ContextVar[bytes | None]) -> Method:
    """The same; what the upstream is asked for such a call is asked in the name of its caller."""
    handler = cast(Callable[[Any, Call], Any], method.handler)

    def noting(request: Any, call: Call) -> Any:
        caller.set(request_metadata_header(call))
        return handler(request, call)

    # Nothing is answered from memory: the upstream is asked.
    return replace(method, handler=noting, starts_at_once=False)
