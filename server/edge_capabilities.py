"""GetCapabilities of an edge frontend: what both this server and those behind it can do."""

from reapi.cas.capabilities_service import CapabilitiesService
from reapi.clients.capabilities import get_capabilities
from reapi.core.identity import Permission
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .reachability import Reachability

_SERVICE = re_pb2.DESCRIPTOR.services_by_name["Capabilities"]


class EdgeCapabilities:
    """How blobs are moved is for this server to say; results and actions are the upstream's."""

    def __init__(
        self, own: CapabilitiesService, upstream: Reachability, *, runs_actions: bool
    ) -> None:
        self._own = own
        self._upstream = upstream
        self._runs_actions = runs_actions

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(_SERVICE, {"GetCapabilities": self.get_capabilities})

    async def get_capabilities(
        self, request: re_pb2.GetCapabilitiesRequest, call: Call
    ) -> re_pb2.ServerCapabilities:
        """Unavailable when the upstream cannot be asked."""
        reply = re_pb2.ServerCapabilities.FromString(
            await self._own.get_capabilities(request, call)
        )
        theirs = await get_capabilities(await self._upstream.next_active(), request.instance_name)
        cache, their_cache = reply.cache_capabilities, theirs.cache_capabilities
        shared = [one for one in cache.digest_functions if one in their_cache.digest_functions]
        cache.digest_functions[:] = shared
        updates = cache.action_cache_update_capabilities
        their_updates = their_cache.action_cache_update_capabilities
        updates.update_enabled = updates.update_enabled and their_updates.update_enabled
        if self._runs_actions and theirs.HasField("execution_capabilities"):
            execution = reply.execution_capabilities
            execution.CopyFrom(theirs.execution_capabilities)
            may_execute = call.identity.may(Permission.EXECUTE)
            execution.exec_enabled = execution.exec_enabled and may_execute
        return reply
