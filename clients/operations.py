"""Operations by name: look at one, list them, cancel one."""

from collections.abc import AsyncGenerator
from datetime import UTC

from google.longrunning import operations_pb2

from reapi.core.digest import (
    SHA256,
    Digest,
    DigestFunction,
    functions_led_by,
    parse_digest,
    parse_function,
)
from reapi.core.errors import Internal, error_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
    ExecuteOperationMetadata,
    ExecuteResponse,
)
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import ExecutionState

from .channel import CALL_SECONDS, Channel
from .methods import CANCEL_OPERATION, GET_OPERATION, LIST_OPERATIONS
from .model import Operation, Stage

_PAGE_SIZE = 500


async def get_operation(
    channel: Channel,
    name: str,
    *,
    function: DigestFunction = SHA256,
    timeout: float | None = CALL_SECONDS,
) -> Operation:
    """The operation as it is now; raises NotFound when the server does not know the name.

    `function` as in `operation_of`.
    """
    request = operations_pb2.GetOperationRequest(name=name)
    message = await channel.unary(GET_OPERATION, request, timeout=timeout)
    return operation_of(message, function)


async def list_operations(
    channel: Channel,
    instance_name: str,
    *,
    wanted: str = "",
    function: DigestFunction = SHA256,
    timeout: float | None = CALL_SECONDS,
) -> AsyncGenerator[Operation, None]:
    """All operations that the server still knows; `timeout` is for each page of them.

    `wanted` is a filter such as `stage=QUEUED AND tenant=main`. `function` as in `operation_of`.
    """
    request = operations_pb2.ListOperationsRequest(
        name=instance_name, filter=wanted, page_size=_PAGE_SIZE
    )
    while True:
        page = await channel.unary(LIST_OPERATIONS, request, timeout=timeout)
        for message in page.operations:
            yield operation_of(message, function)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def cancel_operation(
    channel: Channel, name: str, *, timeout: float | None = CALL_SECONDS
) -> None:
    """Asks for an operation to be cancelled; one that is done stays as it is (OP2)."""
    request = operations_pb2.CancelOperationRequest(name=name)
    await channel.unary(CANCEL_OPERATION, request, timeout=timeout)


def operation_of(message: operations_pb2.Operation, function: DigestFunction = SHA256) -> Operation:
    """Reads an Operation as Execution sends it; raises its error if it has one (EX2).

    `function` is meant by an action digest of its length whose function is not stated (D10).
    """
    if message.HasField("error"):
        raise error_of(message.error)
    metadata = ExecuteOperationMetadata()
    message.metadata.Unpack(metadata)
    response: ExecuteResponse | None = None
    if message.done:
        response = ExecuteResponse()
        if not message.response.Unpack(response):
            raise Internal(f"operation {message.name!r} is done without an ExecuteResponse")
    partial = metadata.partial_execution_metadata
    state = _state(partial)
    has_start = state.HasField("expected_start")
    return Operation(
        name=message.name,
        stage=Stage(metadata.stage),
        action_digest=_action_digest(metadata, function),
        worker=response.result.execution_metadata.worker if response else partial.worker,
        response=response,
        position=state.position,
        expected_start=state.expected_start.ToDatetime(UTC) if has_start else None,
        attempts=state.attempts,
        reason=state.reason,
        invocation=state.invocation,
        target=state.target,
        stdout_name=metadata.stdout_stream_name,
        stderr_name=metadata.stderr_stream_name,
    )


def _state(partial: ExecutedActionMetadata) -> ExecutionState:
    """What our scheduler says beyond REAPI; empty when another one speaks."""
    state = ExecutionState()
    for one in partial.auxiliary_metadata:
        if one.Unpack(state):
            break
    return state


def _action_digest(metadata: ExecuteOperationMetadata, default: DigestFunction) -> Digest | None:
    if not metadata.HasField("action_digest"):
        return None
    function = parse_function(
        metadata.digest_function, len(metadata.action_digest.hash), functions_led_by(default)
    )
    return parse_digest(metadata.action_digest, function)
