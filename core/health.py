"""grpc.health.v1 through the method table."""

import asyncio
from collections.abc import AsyncGenerator

from grpc_health.v1 import health_pb2

from .errors import NotFound
from .interfaces import Call
from .rpc import Method, bind

_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"]


class HealthService:
    """Says SERVING for the whole server ("") and for each named service until `stop_serving`."""

    def __init__(self, service_names: frozenset[str]) -> None:
        self._names = service_names | {""}
        self._stopping = asyncio.Event()

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(_SERVICE, {"Check": self.check, "Watch": self.watch})

    def stop_serving(self) -> None:
        """From now on the answer is NOT_SERVING: load balancers look elsewhere."""
        self._stopping.set()

    async def check(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> health_pb2.HealthCheckResponse:
        """The state now; NotFound for a service that this server does not have."""
        if request.service not in self._names:
            raise NotFound(f"no service {request.service[:200]!r} here")
        return self._response(request.service)

    async def watch(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse]:
        """The state now and at every change, until the caller hangs up."""
        yield self._response(request.service)
        if not self._stopping.is_set():
            await self._stopping.wait()
            yield self._response(request.service)
        await asyncio.get_running_loop().create_future()

    def _response(self, service: str) -> health_pb2.HealthCheckResponse:
        response = health_pb2.HealthCheckResponse
        if service not in self._names:
            return response(status=response.SERVICE_UNKNOWN)
        return response(
            status=response.NOT_SERVING if self._stopping.is_set() else response.SERVING
        )
