"""The ActionCache of a server."""

from reapi.core.digest import Digest
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    GetActionResultRequest,
    UpdateActionResultRequest,
)

from .channel import CALL_SECONDS, Channel
from .methods import GET_ACTION_RESULT, UPDATE_ACTION_RESULT


class RemoteActionCache:
    """An ActionCache (core/interfaces.py) over the network."""

    def __init__(self, channel: Channel, *, timeout: float | None = CALL_SECONDS) -> None:
        self._channel = channel
        self._timeout = timeout

    async def get(
        self, instance_name: str, action_digest: Digest, *, inline_stdout: bool = False
    ) -> ActionResult:
        """See ActionCache. The server may keep stdout to itself in spite of `inline_stdout`."""
        request = GetActionResultRequest(
            instance_name=instance_name,
            action_digest=action_digest.to_message(),
            digest_function=action_digest.function.name,
            inline_stdout=inline_stdout,
        )
        return await self._channel.unary(GET_ACTION_RESULT, request, timeout=self._timeout)

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult, *, writer: str = ""
    ) -> ActionResult:
        """See ActionCache. The server says by itself who the writer is."""
        request = UpdateActionResultRequest(
            instance_name=instance_name,
            action_digest=action_digest.to_message(),
            action_result=result,
            digest_function=action_digest.function.name,
        )
        return await self._channel.unary(UPDATE_ACTION_RESULT, request, timeout=self._timeout)
