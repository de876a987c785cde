"""Keeps each ExecuteResponse as small as clients can receive it: mostly gRPC's 4 MiB (L1, AC11)."""

from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from reapi.core.errors import FailedPrecondition, status_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteResponse

LARGEST_RESPONSE_BYTES = 4_100_000
"""Serialized: more than any result in the ActionCache, and an Operation of it is below 4 MiB."""

_MOST_VIOLATIONS = 20_000


def serialize_bounded(response: ExecuteResponse) -> bytes:
    """The response without what makes it too large; an error in its place if it cannot be less.

    Inlined bytes go first, since their digests stand beside them (AC4). Of very many missing blobs
    the first are named; the others come up when those have been uploaded.
    """
    data = bytes(response.SerializeToString())
    if len(data) <= LARGEST_RESPONSE_BYTES:
        return data
    smaller = ExecuteResponse()
    smaller.CopyFrom(response)
    if smaller.HasField("result"):
        smaller.result.ClearField("stdout_raw")
        smaller.result.ClearField("stderr_raw")
        for file in smaller.result.output_files:
            file.ClearField("contents")
    _cut_violations(smaller.status)
    data = bytes(smaller.SerializeToString())
    if len(data) <= LARGEST_RESPONSE_BYTES:
        return data
    error = FailedPrecondition(
        f"the result of this action has {len(data)} bytes, more than clients can receive: "
        "declare fewer outputs, or the directories that they are in"
    )
    return bytes(ExecuteResponse(status=status_of(error)).SerializeToString())


def _cut_violations(status: Status) -> None:
    failure = error_details_pb2.PreconditionFailure()
    for detail in status.details:
        if detail.Unpack(failure):
            del failure.violations[_MOST_VIOLATIONS:]
            detail.Pack(failure)
