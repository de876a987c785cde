"""The one error tree of service and client, and its mapping to and from google.rpc.Status.

Nothing here knows gRPC: codes are the numbers of google.rpc.Code. The middleware turns an error
into the status of a whole call, batch methods put `status_of` into each entry, and the client maps
a status back with `error_of`, so both sides catch the same names.
"""

from collections.abc import Collection, Iterable

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status

MISSING = "MISSING"


class ReapiError(Exception):
    """A failure that its receiver can understand; the message is written for a person."""

    code: int = code_pb2.UNKNOWN

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def details(
        self,
    ) -> Iterable[error_details_pb2.PreconditionFailure | error_details_pb2.RetryInfo]:
        """The google.rpc detail messages; at most one, since clients refuse more (Q-DETAIL)."""
        return ()


class Cancelled(ReapiError):
    """Somebody asked for the operation to be cancelled."""

    code = code_pb2.CANCELLED


class Unknown(ReapiError):
    """A status whose code has no class here."""

    code = code_pb2.UNKNOWN


class InvalidArgument(ReapiError):
    """The client's bytes are wrong; a retry cannot help."""

    code = code_pb2.INVALID_ARGUMENT


class DeadlineExceeded(ReapiError):
    """The time allowed is over."""

    code = code_pb2.DEADLINE_EXCEEDED


class NotFound(ReapiError):
    """A blob, action result or operation that is not there."""

    code = code_pb2.NOT_FOUND


class AlreadyExists(ReapiError):
    """Something else of that name exists."""

    code = code_pb2.ALREADY_EXISTS


class PermissionDenied(ReapiError):
    """The caller is known and may not do this."""

    code = code_pb2.PERMISSION_DENIED


class Unauthenticated(ReapiError):
    """The caller is not known."""

    code = code_pb2.UNAUTHENTICATED


class FailedPrecondition(ReapiError):
    """The state of the service, not the request alone, forbids this."""

    code = code_pb2.FAILED_PRECONDITION


class BlobsMissing(FailedPrecondition):
    """Blobs that an action needs are absent: upload them and try again (EX7).

    `subjects` are `blobs/[function/]hash/size`, as they stand in the violations.
    """

    def __init__(self, subjects: Collection[str], message: str = "") -> None:
        self.subjects = tuple(subjects)
        shown = ", ".join(self.subjects[:3]) + (", …" if len(self.subjects) > 3 else "")
        super().__init__(message or f"{len(self.subjects)} blobs are missing: {shown}")

    def details(self) -> Iterable[error_details_pb2.PreconditionFailure]:
        failure = error_details_pb2.PreconditionFailure()
        for subject in self.subjects:
            failure.violations.add(type=MISSING, subject=subject, description="blob not found")
        return (failure,)


class Aborted(ReapiError):
    """The call lost a race; start again."""

    code = code_pb2.ABORTED


class OutOfRange(ReapiError):
    """An offset beyond the end."""

    code = code_pb2.OUT_OF_RANGE


class Unimplemented(ReapiError):
    """A method or feature that this server does not have."""

    code = code_pb2.UNIMPLEMENTED


class Internal(ReapiError):
    """A bug of ours; the trace is in the server's log."""

    code = code_pb2.INTERNAL


class DataLoss(ReapiError):
    """Stored bytes turned out to be damaged."""

    code = code_pb2.DATA_LOSS


class _Later(ReapiError):
    """An error that may go away: says after how many seconds a retry makes sense."""

    def __init__(self, message: str = "", *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds

    def details(self) -> Iterable[error_details_pb2.RetryInfo]:
        if self.retry_after_seconds is None:
            return ()
        delay = Duration()
        delay.FromMicroseconds(round(self.retry_after_seconds * 1_000_000))
        return (error_details_pb2.RetryInfo(retry_delay=delay),)


class ResourceExhausted(_Later):
    """No room: a full store, a quota, a full queue."""

    code = code_pb2.RESOURCE_EXHAUSTED


class Unavailable(_Later):
    """The service itself is down or going down. It aborts a whole Bazel build (B4)."""

    code = code_pb2.UNAVAILABLE


class Relayed(ReapiError):
    """What another server answered to a call that was passed on to it: told on unchanged."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.code = status.code
        self.status = status


_BY_CODE: dict[int, type[ReapiError]] = {
    error.code: error
    for error in (
        Cancelled,
        Unknown,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        Unauthenticated,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        DataLoss,
        ResourceExhausted,
        Unavailable,
    )
}


def status_of(error: ReapiError) -> Status:
    """The google.rpc.Status that says `error`, details included."""
    if isinstance(error, Relayed):
        return error.status
    status = Status(code=error.code, message=error.message)
    for detail in error.details():
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def error_of(status: Status) -> ReapiError:
    """The error that `status` says; its code must not be OK."""
    for packed in status.details:
        failure = error_details_pb2.PreconditionFailure()
        if packed.Unpack(failure) and failure.violations:
            missing = [v.subject for v in failure.violations if v.type == MISSING]
            if len(missing) == len(failure.violations):
                return BlobsMissing(missing, status.message)
    error_class = _BY_CODE.get(status.code, Unknown)
    if not issubclass(error_class, _Later):
        return error_class(status.message)
    return error_class(status.message, retry_after_seconds=_retry_after(status))


def _retry_after(status: Status) -> float | None:
    retry = error_details_pb2.RetryInfo()
    for packed in status.details:
        if packed.Unpack(retry):
            return float(retry.retry_delay.ToMicroseconds()) / 1_000_000
    return None
