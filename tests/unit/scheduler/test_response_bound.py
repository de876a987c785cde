"""No ExecuteResponse is larger than clients can receive."""

from google.rpc import code_pb2, error_details_pb2

from reapi.core.digest import digest_of
from reapi.core.errors import BlobsMissing, status_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecuteResponse,
    OutputFile,
)
from reapi.scheduler.response_bound import LARGEST_RESPONSE_BYTES, serialize_bounded

DIGEST = digest_of(b"x").to_message()


def _bounded(response: ExecuteResponse) -> ExecuteResponse:
    data = serialize_bounded(response)
    assert len(data) <= LARGEST_RESPONSE_BYTES
    return ExecuteResponse.FromString(data)


def test_a_response_of_usual_size_stays_as_it_is() -> None:
    response = ExecuteResponse(result=ActionResult(stdout_raw=b"x" * 1000))
    assert _bounded(response) == response


def test_AC4_inlined_bytes_go_before_anything_else() -> None:
    result = ActionResult(
        exit_code=3,
        stdout_raw=bytes(2_000_000),
        stdout_digest=DIGEST,
        stderr_raw=bytes(2_000_000),
        output_files=[OutputFile(path="a", digest=DIGEST, contents=bytes(1_000_000))],
    )
    assert _bounded(ExecuteResponse(result=result)).result == ActionResult(
        exit_code=3, stdout_digest=DIGEST, output_files=[OutputFile(path="a", digest=DIGEST)]
    )


def test_AC11_a_result_that_stays_too_large_becomes_an_error() -> None:
    files = [OutputFile(path=f"{number}-{'x' * 1000}") for number in range(5000)]
    response = _bounded(ExecuteResponse(result=ActionResult(output_files=files)))
    assert response.status.code == code_pb2.FAILED_PRECONDITION
    assert not response.HasField("result")


def test_EX7_of_very_many_missing_blobs_the_first_are_named() -> None:
    subjects = [f"blobs/{number:064}/1" for number in range(100_000)]
    response = _bounded(ExecuteResponse(status=status_of(BlobsMissing(subjects))))
    assert "100000" in response.status.message
    failure = error_details_pb2.PreconditionFailure()
    (detail,) = response.status.details
    assert detail.Unpack(failure)
    named = [violation.subject for violation in failure.violations]
    assert named == subjects[: len(named)]
    assert len(named) >= 10_000
