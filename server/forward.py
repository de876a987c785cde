"""Passes services on to the server that has them, message by message."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import code_pb2

from reapi.core.errors import Relayed, Unavailable
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, StreamHandler, UnaryHandler, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2

from .reachability import Reachability

SERVICES: tuple[ServiceDescriptor, ...] = (
    re_pb2.DESCRIPTOR.services_by_name["Execution"],
    operations_pb2.DESCRIPTOR.services_by_name["Operations"],
    worker_pb2.DESCRIPTOR.services_by_name["WorkerService"],
)
"""Those of the scheduler."""
SERVICE_NAMES = frozenset(service.full_name for service in SERVICES)

_RETRY_AFTER_SECONDS = 1.0
_HOP_BY_HOP = frozenset({"user-agent", "content-type", "te"})
"""Metadata that is about the connection, not about the call; so is all that begins `grpc-`."""


class Forwarder:
    """The services of the server that `reachability` leads to, as rows of a table.

    A call passes with its metadata and deadline, its cancellation, and whatever status the server
    answers. While it cannot be reached, calls are Unavailable at once: nothing is queued here, and
    clients know how to wait.
    """

    def __init__(
        self, reachability: Reachability, services: Sequence[ServiceDescriptor] = SERVICES
    ) -> None:
        self._reachability = reachability
        self._services = services

    def methods(self) -> list[Method]:
        """A row for every method, also those that the server may not have."""
        return [
            row
            for service in self._services
            for row in bind(
                service,
                {method.name: self._handler(method) for method in service.methods},
                raw_requests=frozenset(service.methods_by_name),
            )
        ]

    def _handler(self, method: MethodDescriptor) -> UnaryHandler | StreamHandler:
        path = f"/{method.containing_service.full_name}/{method.name}"

        async def stream(
            request: bytes | AsyncIterator[bytes], call: Call
        ) -> AsyncGenerator[bytes, None]:
            channel = self._reachability.first()
            replies = channel.relay(
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
                    f"{self._reachability.what} at {channel.address} is not available: "
                    f"{error.message}",
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
