"""Makes the google.longrunning.Operation messages that clients see, serialized."""

from typing import NamedTuple

from google.longrunning.operations_pb2 import Operation
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from reapi.core.digest import Digest
from reapi.core.log_name import log_names
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    DigestFunction,
    ExecutedActionMetadata,
    ExecuteOperationMetadata,
    ExecuteResponse,
    ExecutionStage,
)
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import ExecutionState

from .commands import Outcome
from .response_bound import serialize_bounded

_METADATA_URL = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteOperationMetadata"
_STATE_URL = "type.googleapis.com/reapi.scheduler.v1.ExecutionState"
_RESPONSE_URL = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse"


def ongoing(
    name: str,
    action_digest: Digest,
    stage: int,
    state: ExecutionState,
    partial: ExecutedActionMetadata | None = None,
) -> bytes:
    """An operation that is not done; every message carries the metadata (EX1)."""
    metadata = _metadata(name, action_digest, stage, state, partial)
    operation = Operation(
        name=name, metadata=Any(type_url=_METADATA_URL, value=metadata.SerializeToString())
    )
    return bytes(operation.SerializeToString())


def done(
    name: str,
    action_digest: Digest,
    response: ExecuteResponse,
    state: ExecutionState | None = None,
) -> bytes:
    """The last message. A failure stands in the response, never in Operation.error (EX2)."""
    executed = response.result.execution_metadata
    has_executed = response.result.HasField("execution_metadata")
    metadata = _metadata(
        name, action_digest, ExecutionStage.COMPLETED, state, executed if has_executed else None
    )
    operation = Operation(
        name=name,
        metadata=Any(type_url=_METADATA_URL, value=metadata.SerializeToString()),
        done=True,
        response=Any(type_url=_RESPONSE_URL, value=serialize_bounded(response)),
    )
    return bytes(operation.SerializeToString())


def response_of(outcome: Outcome) -> ExecuteResponse:
    """The response for an end that the scheduler itself decided."""
    status = Status(code=outcome.code, message=outcome.message)
    if outcome.violations:
        failure = error_details_pb2.PreconditionFailure()
        for one in outcome.violations:
            failure.violations.add(type=one.type, subject=one.subject, description=one.description)
        status.details.add().Pack(failure)
    if outcome.retry_after_seconds:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromSeconds(outcome.retry_after_seconds)
        status.details.add().Pack(retry)
    return ExecuteResponse(status=status)


def state_of(metadata: ExecuteOperationMetadata) -> ExecutionState:
    """What `ongoing` or `done` were told; empty when that was nothing."""
    state = ExecutionState()
    for one in metadata.partial_execution_metadata.auxiliary_metadata:
        if one.type_url == _STATE_URL:
            state.ParseFromString(one.value)
    return state


class Ended(NamedTuple):
    """What an operation that is done says of its logs; without an instance name if nothing ran."""

    instance_name: str | None
    result: ActionResult
    digest_function: DigestFunction.Value


def ended(operation: bytes) -> Ended:
    """Reads what `done` has made."""
    message = Operation.FromString(operation)
    metadata = ExecuteOperationMetadata.FromString(message.metadata.value)
    response = ExecuteResponse.FromString(message.response.value)
    has_run = bool(metadata.stdout_stream_name)
    instance_name = state_of(metadata).tenant if has_run else None
    return Ended(instance_name, response.result, metadata.digest_function)


def with_logs(operation: bytes, result: ActionResult) -> bytes:
    """The same as `done` made, of an operation without a result, with the logs of this one."""
    message = Operation.FromString(operation)
    response = ExecuteResponse.FromString(message.response.value)
    kept = response.result
    kept.exit_code = result.exit_code
    for field in ("stdout_digest", "stderr_digest", "execution_metadata"):
        if result.HasField(field):
            getattr(kept, field).CopyFrom(getattr(result, field))
    message.response.value = response.SerializeToString()
    return bytes(message.SerializeToString())


def _metadata(
    name: str,
    action_digest: Digest,
    stage: int,
    state: ExecutionState | None,
    partial: ExecutedActionMetadata | None,
) -> ExecuteOperationMetadata:
    metadata = ExecuteOperationMetadata(
        stage=stage,  # type: ignore[arg-type]  # an int is what enums are at run time
        action_digest=action_digest.to_message(),
        digest_function=action_digest.function.number,  # type: ignore[arg-type]
    )
    if partial is not None:
        metadata.partial_execution_metadata.CopyFrom(partial)
    if state is not None:
        # From the start (EX23): a reader waits until the action runs. The tenant is the instance.
        stdout, stderr = log_names(state.tenant, name)
        metadata.stdout_stream_name, metadata.stderr_stream_name = stdout, stderr
        shown = metadata.partial_execution_metadata
        shown.worker = shown.worker or state.worker_id
        shown.auxiliary_metadata.add(type_url=_STATE_URL, value=state.SerializeToString())
    return metadata
