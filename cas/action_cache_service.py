"""The ActionCache service (conformance 1.6)."""

from reapi.core.digest import Digest, parse_digest, parse_function
from reapi.core.errors import InvalidArgument
from reapi.core.inlining import with_inlined_outputs
from reapi.core.instance_names import check_instance_name
from reapi.core.interfaces import ActionCache, BlobStore, Call
from reapi.core.rpc import Method, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

_SERVICE = re_pb2.DESCRIPTOR.services_by_name["ActionCache"]


class ActionCacheService:
    """Results for clients. Neither Action nor Command has to be stored for an update (AC6)."""

    def __init__(
        self, results: ActionCache, blobs: BlobStore, instance_names: frozenset[str]
    ) -> None:
        self._results = results
        self._blobs = blobs
        self._instance_names = instance_names

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(
            _SERVICE,
            {
                "GetActionResult": self.get_action_result,
                "UpdateActionResult": self.update_action_result,
            },
        )

    async def get_action_result(
        self, request: re_pb2.GetActionResultRequest, call: Call
    ) -> ActionResult:
        """A complete result, or NotFound, which means a miss and nothing else (AC1, AC2)."""
        check_instance_name(request.instance_name, self._instance_names)
        digest = _action_digest(request.action_digest, request.digest_function)
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
        check_instance_name(request.instance_name, self._instance_names)
        digest = _action_digest(request.action_digest, request.digest_function)
        if not request.HasField("action_result"):
            raise InvalidArgument("action_result is not set")
        return await self._results.put(request.instance_name, digest, request.action_result)


def _action_digest(message: re_pb2.Digest, function_number: int) -> Digest:
    return parse_digest(message, parse_function(function_number, len(message.hash)))
