"""The ActionCache service (conformance 1.6)."""

from reapi.core.digest import Digest, parse_digest
from reapi.core.errors import InvalidArgument
from reapi.core.inlining import with_inlined_outputs
from reapi.core.instances import Instances
from reapi.core.interfaces import ActionCache, BlobStore, Call
from reapi.core.rpc import Method, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

from .provenance import writer_of

_SERVICE = re_pb2.DESCRIPTOR.services_by_name["ActionCache"]


class ActionCacheService:
    """Results for clients. Neither Action nor Command has to be stored for an update (AC6)."""

    def __init__(self, results: ActionCache, blobs: BlobStore, instances: Instances) -> None:
        self._results = results
        self._blobs = blobs
        self._instances = instances

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(
            _SERVICE,
            {
                "GetActionResult": self.get_action_result,
                "UpdateActionResult": self.update_action_result,
            },
            at_once=("GetActionResult",),
        )

    async def get_action_result(
        self, request: re_pb2.GetActionResultRequest, call: Call
    ) -> ActionResult:
        """A complete result, or NotFound, which means a miss and nothing else (AC1, AC2)."""
        digest = self._action_digest(request)
        result = await self._results.get(request.instance_name, digest)
        if request.inline_stdout or request.inline_stderr or request.inline_output_files:
            return await with_inlined_outputs(
                self._blobs,
                result,
                digest.function,
                stdout=request.inline_stdout,
                stderr=request.inline_stderr,
                output_files=request.inline_output_files,
            )
        return result

    async def update_action_result(
        self, request: re_pb2.UpdateActionResultRequest, call: Call
    ) -> ActionResult:
        """Stores a result whose blobs are all present (AC6 to AC8)."""
        digest = self._action_digest(request)
        if not request.HasField("action_result"):
            raise InvalidArgument("action_result is not set")
        return await self._results.put(
            request.instance_name, digest, request.action_result, writer=writer_of(call)
        )

    def _action_digest(
        self, request: re_pb2.GetActionResultRequest | re_pb2.UpdateActionResultRequest
    ) -> Digest:
        message = request.action_digest
        function = self._instances.parse_function(
            request.instance_name, request.digest_function, len(message.hash)
        )
        return parse_digest(message, function)
