"""Makes the google.longrunning.Operation messages that clients see, serialized."""

from google.longrunning.operations_pb2 import Operation
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from reapi.core.digest import Digest
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
    ExecuteOperationMetadata,
    ExecuteResponse,
    ExecutionStage,
)

from .commands import Outcome
from .response_bound import serialize_bounded

_METADATA_URL = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteOperationMetadata"
_RESPONSE_URL = "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse"


def ongoing(
    name: str, action_digest: Digest, stage: int, partial: ExecutedActionMetadata | None = None
) -> bytes:
    """An operation that is not done; every message carries the metadata (EX1)."""
    metadata = _metadata(action_digest, stage)
    if partial is not None:
        metadata.partial_execution_metadata.CopyFrom(partial)
    operation = Operation(
        name=name, metadata=Any(type_url=_METADATA_URL, value=metadata.SerializeToString())
    )
    return bytes(operation.SerializeToString())


def done(name: str, action_digest: Digest, response: ExecuteResponse) -> bytes:
    """The last message. A failure stands in the response, never in Operation.error (EX2)."""
    metadata = _metadata(action_digest, ExecutionStage.COMPLETED)
    if response.result.HasField("execution_metadata"):
        metadata.partial_execution_metadata.CopyFrom(response.result.execution_metadata)
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
    return ExecuteResponse(status=status)


def _metadata(action_digest: Digest, stage: int) -> ExecuteOperationMetadata:
    return ExecuteOperationMetadata(
        stage=stage,  # type: ignore[arg-type]  # an int is what enums are at run time
        action_digest=action_digest.to_message(),
        digest_function=action_digest.function.number,  # type: ignore[arg-type]
    )
