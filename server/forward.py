"""Passes the scheduler's services on to the process that has the scheduler, message by message."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2

from reapi.clients.channel import Channel
from reapi.clients.methods import WATCH_HEALTH
from reapi.core.errors import ReapiError, Relayed, Unavailable, Unimplemented
from reapi.core.health import HealthService
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, StreamHandler, UnaryHandler, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2

logger = logging.getLogger(__name__)

SERVICES: tuple[ServiceDescriptor, ...] = (
    re_pb2.DESCRIPTOR.services_by_name["Execution"],
    operations_pb2.DESCRIPTOR.services_by_name["Operations"],
    worker_pb2.DESCRIPTOR.services_by_name["WorkerService"],
)
SERVICE_NAMES = frozenset(service.full_name for service in SERVICES)

_RETRY_AFTER_SECONDS = 1.0
_HOP_BY_HOP = frozenset({"user-agent", "content-type", "te"})
"""Metadata that is about the connection, not about the call; so is all that begins `grpc-`."""


class Forwarder:
    """The services of the scheduler behind `channel`, as rows of a table.

    A call passes with its metadata and deadline, its cancellation, and whatever status the
    scheduler answers. While the scheduler cannot be reached, calls are Unavailable at once: nothing
    is queued here, and clients know how to wait.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def methods(self) -> list[Method]:
        """A row for every method, also those that the scheduler may not have."""
        return [
            row
            for service in SERVICES
            for row in bind(
                service,
                {method.name: self._handler(method) for method in service.methods},
                raw_requests=frozenset(service.methods_by_name),
            )
        ]

    @asynccontextmanager
    async def reporting(self, health: HealthService) -> AsyncIterator[None]:
        """Inside the context `health` says of the services whether the scheduler serves them."""
        health.set_available(SERVICE_NAMES, False)
        reporter = asyncio.create_task(self._report(health))
        try:
            yield
        finally:
            reporter.cancel()
            await asyncio.wait([reporter])

    async def _report(self, health: HealthService) -> None:
        following: asyncio.Task[None] | None = None
        async with (
            aclosing(self._channel.reachability()) as changes,
            asyncio.TaskGroup() as group,
        ):
            async for is_reachable in changes:
                if following is not None:
                    following.cancel()
                if is_reachable:
                    logger.info("the scheduler at %s is there", self._channel.address)
                    following = group.create_task(self._follow(health))
                else:
                    logger.warning("the scheduler at %s cannot be reached", self._channel.address)
                    health.set_available(SERVICE_NAMES, False)

    async def _follow(self, health: HealthService) -> None:
        """Says of the services what the scheduler says of itself, while it can be reached."""
        request = health_pb2.HealthCheckRequest(service=SERVICES[0].full_name)
        serving = health_pb2.HealthCheckResponse.SERVING
        while True:
            try:
                async with aclosing(self._channel.server_stream(WATCH_HEALTH, request)) as replies:
                    async for reply in replies:
                        health.set_available(SERVICE_NAMES, reply.status == serving)
            except Unimplemented:
                health.set_available(SERVICE_NAMES, True)  # as far as anybody can tell
                return
            except ReapiError as error:
                logger.info("cannot watch the scheduler's health: %s", error.message)
            await asyncio.sleep(_RETRY_AFTER_SECONDS)  # nothing tells when it would answer again

    def _handler(self, method: MethodDescriptor) -> UnaryHandler | StreamHandler:
        path = f"/{method.containing_service.full_name}/{method.name}"

        async def stream(
            request: bytes | AsyncIterator[bytes], call: Call
        ) -> AsyncGenerator[bytes, None]:
            replies = self._channel.relay(
                path, request, metadata=_end_to_end(call), timeout=call.seconds_left
            )
            try:
                async with aclosing(replies):
                    async for reply in replies:
                        yield reply
            except (Unavailable, Relayed) as error:
                if not _has_no_answer(error):
                    raise
                raise Unavailable(
                    f"the scheduler at {self._channel.address} is not available: {error.message}",
                    retry_after_seconds=_RETRY_AFTER_SECONDS,
                ) from error

        async def unary(request: bytes | AsyncIterator[bytes], call: Call) -> bytes:
            async with aclosing(stream(request, call)) as replies:
                (reply,) = [each async for each in replies]
            return reply

        return stream if method.server_streaming else unary


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
