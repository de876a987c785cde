"""Passes the scheduler's services on to the process that has the scheduler, message by message."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Protocol

from google.longrunning import operations_pb2
from google.longrunning.operations_pb2 import Operation
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import code_pb2

from reapi.clients.channel import Channel
from reapi.clients.methods import EXECUTE, WAIT_EXECUTION
from reapi.clients.retry import Retries
from reapi.clients.schedulers import Schedulers
from reapi.core.errors import ReapiError, Relayed, Unavailable
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, StreamHandler, UnaryHandler, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import WaitExecutionRequest
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2

from .cluster_health import ClusterView, ask_scheduler

logger = logging.getLogger(__name__)

SERVICES: tuple[ServiceDescriptor, ...] = (
    re_pb2.DESCRIPTOR.services_by_name["Execution"],
    operations_pb2.DESCRIPTOR.services_by_name["Operations"],
    scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"],
    worker_pb2.DESCRIPTOR.services_by_name["WorkerService"],
)
SERVICE_NAMES = frozenset(service.full_name for service in SERVICES)

_RETRY_AFTER_SECONDS = 1.0
_TAKE_OVER_SECONDS = 15.0
_FOLLOW_SECONDS = 30.0
_FOLLOWING = frozenset((EXECUTE.path, WAIT_EXECUTION.path))
_GONE = frozenset((code_pb2.UNAVAILABLE, code_pb2.CANCELLED))
"""How streams end whose server goes away. Nobody else cancels them: a caller's own cancellation is
not a status."""

_HOP_BY_HOP = frozenset({"user-agent", "content-type", "te"})
"""Metadata that is about the connection, not about the call; so is all that begins `grpc-`."""


class Servers(Protocol):
    """One server or several, of which calls go to one."""

    what: str
    """They are, as in `the scheduler`."""

    @property
    def endpoint(self) -> str:
        """Where they are, for a person."""

    @property
    def are_several(self) -> bool:
        """Whether one can take over from another."""

    async def next_active(self, seconds: float | None = None) -> Channel:
        """To the one that calls go to now. Raises Unavailable when there is none for so long."""


class Forwarder:
    """The services of the active one of `servers`, as rows of a table.

    A call passes with its metadata and deadline, its cancellation, and whatever status the
    scheduler answers. A stream that follows an operation is taken up again by WaitExecution when
    its scheduler goes away, for half a minute: callers notice nothing of a restart, or of another
    scheduler that takes over. Other calls that get no answer are Unavailable. While nobody is
    active, calls wait where a scheduler can take over from another; else they are Unavailable at
    once, and clients know how to wait.
    """

    def __init__(self, servers: Servers, services: Sequence[ServiceDescriptor] = SERVICES) -> None:
        self._servers = servers
        self._services = services

    def methods(self) -> list[Method]:
        """A row for every method, also those that the scheduler may not have."""
        return bind_services(self.handler, self._services, is_raw=True)

    def handler(self, method: MethodDescriptor) -> UnaryHandler | StreamHandler:
        """For serialized requests."""
        path = path_of(method)

        async def unary(request: bytes | AsyncIterator[bytes], call: Call) -> bytes:
            async with aclosing(self._once(path, request, call)) as replies:
                (reply,) = [each async for each in replies]
            return reply

        async def stream(
            request: bytes | AsyncIterator[bytes], call: Call
        ) -> AsyncGenerator[bytes, None]:
            async with aclosing(self._once(path, request, call)) as replies:
                async for reply in replies:
                    yield reply

        if path in _FOLLOWING:
            return partial(self._follow, path)
        return stream if method.server_streaming else unary

    async def _once(
        self, path: str, request: bytes | AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        patience = _TAKE_OVER_SECONDS if self._servers.are_several else 0
        try:
            channel = await self._servers.next_active(patience)
            replies = channel.relay(
                path, request, metadata=_end_to_end(call), timeout=call.seconds_left
            )
            async with aclosing(replies):
                async for reply in replies:
                    yield reply
        except (Unavailable, Relayed) as error:
            if not _has_no_answer(error):
                raise
            raise Unavailable(
                f"{self._servers.what} at {self._servers.endpoint} is not available: "
                f"{error.message}",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            ) from error

    async def _follow(self, path: str, request: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        """Execute or WaitExecution: from the first reply on, the operation has a name."""
        operation = Operation()
        retries = Retries(_FOLLOW_SECONDS)
        lost: Unavailable | None = None
        while not operation.done:
            try:
                async with aclosing(self._once(path, request, call)) as replies:
                    async for reply in replies:
                        operation = Operation.FromString(reply)
                        retries.progressed()
                        yield reply
                return
            except (Unavailable, Relayed) as error:
                if lost is not None and error.code == code_pb2.NOT_FOUND:
                    # It is not the caller's word for it, who is to find out by WaitExecution.
                    raise lost from error
                if not operation.name or error.code not in _GONE:
                    raise
                lost = _lost(operation.name, error)
                await retries.wait(lost)
                path = WAIT_EXECUTION.path
                request = WaitExecutionRequest(name=operation.name).SerializeToString()


class SchedulerForwarder(Forwarder):
    """The services of the active one of `schedulers`."""

    def __init__(self, schedulers: Schedulers) -> None:
        super().__init__(schedulers)
        self._schedulers = schedulers

    async def ask(self) -> ClusterView:
        """The workers and queues of the active one; raises ReapiError when there is no answer."""
        return await ask_scheduler(await self._schedulers.next_active(0))

    @asynccontextmanager
    async def reporting(self, tell: Callable[[bool], None]) -> AsyncIterator[None]:
        """Inside the context `tell` hears whether a scheduler is active, and of each change."""
        tell(False)
        reporter = asyncio.create_task(self._report(tell))
        try:
            yield
        finally:
            reporter.cancel()
            await asyncio.wait([reporter])

    async def _report(self, tell: Callable[[bool], None]) -> None:
        endpoint = self._schedulers.endpoint
        async with aclosing(self._schedulers.changes()) as changes:
            async for active in changes:
                tell(active is not None)
                if active is not None:
                    logger.info("the active scheduler is %s", active.address)
                else:
                    logger.warning("no scheduler is active at %s", endpoint)


def path_of(method: MethodDescriptor) -> str:
    """As it stands in a request."""
    return f"/{method.containing_service.full_name}/{method.name}"


def _lost(name: str, error: ReapiError) -> Unavailable:
    return Unavailable(f"the scheduler of {name[:200]} went away: {error.message}")


def bind_services(
    handler: Callable[[MethodDescriptor], UnaryHandler | StreamHandler],
    services: Sequence[ServiceDescriptor] = SERVICES,
    *,
    is_raw: bool = False,
) -> list[Method]:
    """A row for every method of the services; raw ones get requests as bytes."""
    return [
        row
        for service in services
        for row in bind(
            service,
            {method.name: handler(method) for method in service.methods},
            raw_requests=frozenset(service.methods_by_name if is_raw else ()),
        )
    ]


def _has_no_answer(error: Unavailable | Relayed) -> bool:
    """Whether nobody answered, as far as one can tell.

    The status that gRPC makes of a lost connection has no details, and words that help nobody.
    """
    if isinstance(error, Relayed):
        return error.code == code_pb2.UNAVAILABLE and not error.status.details
    return True


def _end_to_end(call: Call) -> list[tuple[str, str | bytes]]:
    return [
        (key, value)
        for key, value in call.metadata.items()
        if key not in _HOP_BY_HOP and not key.startswith(("grpc-", ":"))
    ]
