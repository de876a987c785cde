"""grpc.health.v1 through the method table."""

import asyncio
from collections.abc import AsyncGenerator

from grpc_health.v1 import health_pb2

from .errors import NotFound
from .interfaces import Call
from .rpc import Method, bind

_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"]


class HealthService:
    """Says SERVING for the whole server ("") and for each named service until `stop_serving`.

    Single services may be away meanwhile (`set_available`); the server as a whole serves on.
    """

    def __init__(self, service_names: frozenset[str]) -> None:
        self._names = service_names | {""}
        self._unavailable: frozenset[str] = frozenset()
        self._is_stopping = False
        self._changed = asyncio.Event()

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(_SERVICE, {"Check": self.check, "Watch": self.watch}, at_once=("Check",))

    def stop_serving(self) -> None:
        """From now on the answer is NOT_SERVING: load balancers look elsewhere."""
        self._is_stopping = True
        self._tell()

    def set_available(self, service_names: frozenset[str], is_available: bool) -> None:
        """Says of some services whether they can do their work; at first all can."""
        if is_available:
            self._unavailable -= service_names
        else:
            self._unavailable |= service_names
        self._tell()

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
        """The state now and at every change, until the caller hangs up or `stop_serving`: a server
        that drains waits for its calls to end."""
        last = None
        while True:
            changed, is_last = self._changed, self._is_stopping
            response = self._response(request.service)
            if response != last:
                last = response
                yield response
            if is_last:
                return
            await changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _response(self, service: str) -> health_pb2.HealthCheckResponse:
        response = health_pb2.HealthCheckResponse
        if service not in self._names:
            return response(status=response.SERVICE_UNKNOWN)
        is_away = self._is_stopping or service in self._unavailable
        return response(status=response.NOT_SERVING if is_away else response.SERVING)
