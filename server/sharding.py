"""Several schedulers behind one frontend: each call goes to the one whose business it is."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from google.longrunning.operations_pb2 import ListOperationsRequest, ListOperationsResponse
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from reapi.clients.methods import EXECUTE, GET_CLUSTER, LIST_OPERATIONS, LIST_WORKERS
from reapi.core.digest import parse_digest
from reapi.core.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ReapiError,
    Unimplemented,
)
from reapi.core.instances import Instances
from reapi.core.interfaces import BlobStore, Call
from reapi.core.rpc import Method, StreamHandler, UnaryHandler
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteRequest
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import GetClusterResponse
from reapi.protos.reapi.worker.v1.worker_pb2 import ListWorkersResponse
from reapi.scheduler.model import Properties
from reapi.scheduler.operation_name import shard_of
from reapi.scheduler.validation import (
    check_size,
    parse_action,
    parse_command,
    platform_properties,
    required_properties,
)

from .cluster_health import ClusterView
from .forward import SchedulerForwarder, bind_services, path_of

Request = TypeVar("Request", bound=Message)


@dataclass(frozen=True)
class Shard:
    """A scheduler and what it is for; without `instance_names`, for all of them.

    `name` is its own scheduler.shard_name. It gets actions whose platform has all of `platform`.
    """

    name: str
    forwarder: SchedulerForwarder
    instance_names: frozenset[str] | None
    platform: Mapping[str, str]

    def takes_instance(self, name: str) -> bool:
        return self.instance_names is None or name in self.instance_names

    def takes_platform(self, properties: Properties) -> bool:
        return self.platform.items() <= set(properties)


class ShardedForwarder:
    """The services of all `shards`: an action goes to the first one that takes it, all that is
    about an operation to the one that named it. Lists are those of all.

    `blobs` are read where a shard is for a platform only.
    """

    def __init__(self, shards: Sequence[Shard], blobs: BlobStore, instances: Instances) -> None:
        self._shards = shards
        self._by_name = {shard.name: shard for shard in sorted(shards, key=lambda one: one.name)}
        self._blobs = blobs
        self._instances = instances

    def methods(self) -> list[Method]:
        """A row for every method, also those that no scheduler may have."""
        return bind_services(self._handler, is_raw=True)

    async def ask(self) -> ClusterView:
        """The workers and queues of all; raises ReapiError when one gives no answer."""
        views = await asyncio.gather(*(shard.forwarder.ask() for shard in self._shards))
        workers = [worker for view in views for worker in view.workers]
        return ClusterView(
            sorted(workers, key=lambda worker: worker.worker_id),
            _sum([view.cluster for view in views]),
        )

    @asynccontextmanager
    async def reporting(self, tell: Callable[[bool], None]) -> AsyncIterator[None]:
        """Inside the context `tell` hears whether any scheduler is active."""
        active: set[str] = set()

        def changed(name: str, is_active: bool) -> None:
            (active.add if is_active else active.discard)(name)
            tell(bool(active))

        async with AsyncExitStack() as stack:
            for shard in self._shards:
                reporting = shard.forwarder.reporting(partial(changed, shard.name))
                await stack.enter_async_context(reporting)
            yield

    def _handler(self, method: MethodDescriptor) -> UnaryHandler | StreamHandler:
        path = path_of(method)
        if path == LIST_OPERATIONS.path:
            return partial(self._list_operations, method)
        if path == LIST_WORKERS.path:
            return partial(self._list_workers, method)
        if path == GET_CLUSTER.path:
            return self._get_cluster
        if path == EXECUTE.path:
            return self._streaming(method, self._shard_of_action)
        if not method.client_streaming and "name" in method.input_type.fields_by_name:
            find = partial(self._shard_of_operation, method)
            return (self._streaming if method.server_streaming else self._calling)(method, find)

        def refuse(request: Any, call: Call) -> Any:
            raise Unimplemented(
                f"{path} is about one scheduler of several: call the scheduler itself"
            )

        return refuse

    def _streaming(self, method: MethodDescriptor, find: Callable[[bytes], Any]) -> StreamHandler:
        async def stream(request: bytes, call: Call) -> AsyncGenerator[bytes, None]:
            shard = await find(request)
            handler = cast(Callable[..., AsyncGenerator[bytes, None]], _handler_of(shard, method))
            async with aclosing(handler(request, call)) as replies:
                async for reply in replies:
                    yield reply

        return stream

    def _calling(self, method: MethodDescriptor, find: Callable[[bytes], Any]) -> UnaryHandler:
        async def call_shard(request: bytes, call: Call) -> bytes:
            return await _call(await find(request), method, request, call)

        return call_shard

    async def _shard_of_operation(self, method: MethodDescriptor, request: bytes) -> Shard:
        name: str = _parsed(GetMessageClass(method.input_type), request).name  # type: ignore[attr-defined]
        shard = self._by_name.get(shard_of(name))
        if shard is None:
            raise NotFound(f"operation {name[:200]!r} is not known: no scheduler here named it")
        return shard

    async def _shard_of_action(self, data: bytes) -> Shard:
        request = _parsed(ExecuteRequest, data)
        shards = [one for one in self._shards if one.takes_instance(request.instance_name)]
        if any(shard.platform for shard in shards):
            properties = await self._properties(request)
            shards = [one for one in shards if one.takes_platform(properties)]
        if not shards:
            raise FailedPrecondition(
                f"no scheduler takes this action of instance {request.instance_name!r}: see "
                "instance_names and platform in scheduler.shards"
            )
        return shards[0]

    async def _properties(self, request: ExecuteRequest) -> Properties:
        """Of an action that is absent or not valid none: the scheduler finds the words for it."""
        try:
            function = self._instances.parse_function(
                request.instance_name, request.digest_function, len(request.action_digest.hash)
            )
            digest = parse_digest(request.action_digest, function)
            check_size(digest, "action")
            blobs = await self._blobs.read_many([digest])
            action, command_digest, _ = parse_action(blobs[digest], digest)
            if action.HasField("platform"):
                return platform_properties(action.platform)
            blobs = await self._blobs.read_many([command_digest])
            return required_properties(action, parse_command(blobs[command_digest], command_digest))
        except (ReapiError, KeyError):
            return ()

    async def _list_operations(self, method: MethodDescriptor, data: bytes, call: Call) -> Message:
        """One shard after the other, in the order of their names, which is that of operations."""
        request = _parsed(ListOperationsRequest, data)
        names = list(self._by_name)
        name, separator, request.page_token = request.page_token.partition(":")
        if separator and name not in names:
            raise InvalidArgument("page_token is not one that this server gave")
        name = name if separator else names[0]
        shard = self._by_name[name]
        reply = await _call(shard, method, request.SerializeToString(), call)
        response = ListOperationsResponse()
        response.ParseFromString(reply)
        following = names[names.index(name) + 1 :]
        if response.next_page_token:
            response.next_page_token = f"{name}:{response.next_page_token}"
        elif following:
            response.next_page_token = f"{following[0]}:"
        return cast(Message, response)

    async def _get_cluster(self, data: bytes, call: Call) -> GetClusterResponse:
        return (await self.ask()).cluster

    async def _list_workers(self, method: MethodDescriptor, data: bytes, call: Call) -> Message:
        response = ListWorkersResponse()
        for shard in self._shards:
            response.MergeFromString(await _call(shard, method, data, call))
        response.workers.sort(key=lambda worker: worker.worker_id)
        return response


def _sum(clusters: Sequence[GetClusterResponse]) -> GetClusterResponse:
    """All as one. Each scheduler has a generation of its own, so there is none of all."""
    return GetClusterResponse(
        queues=[queue for one in clusters for queue in one.queues],
        queued=sum(one.queued for one in clusters),
        executing=sum(one.executing for one in clusters),
        expected_workers=sum(one.expected_workers for one in clusters),
        absent_workers=sorted(name for one in clusters for name in one.absent_workers),
    )


def _handler_of(shard: Shard, method: MethodDescriptor) -> UnaryHandler | StreamHandler:
    return shard.forwarder.handler(method)


async def _call(shard: Shard, method: MethodDescriptor, request: bytes, call: Call) -> bytes:
    handler = cast(UnaryHandler, _handler_of(shard, method))
    return cast(bytes, await handler(request, call))


def _parsed(kind: type[Request], data: bytes) -> Request:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"the request is not a {kind.DESCRIPTOR.full_name}") from error
