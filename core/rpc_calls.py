"""What every binding of the method table to a transport does alike, call by call."""

from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message

from .errors import InvalidArgument, ReapiError, status_of
from .rpc import Method, Reply

# Statuses travel as headers, for which clients have 8 KiB; a larger one would replace the error.
_LARGEST_DETAILS_BYTES = 4 << 10
_LONGEST_MESSAGE_CHARACTERS = 1 << 10


class CallEnd(NamedTuple):
    """The status of a call that failed, as it fits into headers."""

    code: int
    message: str
    trailers: tuple[tuple[str, bytes], ...]


def end_of(error: ReapiError) -> CallEnd:
    """How a call ends that raised `error`: details that are too large are left out."""
    status = status_of(error)
    details = status.SerializeToString()
    fits = status.details and len(details) <= _LARGEST_DETAILS_BYTES
    return CallEnd(
        error.code,
        error.message[:_LONGEST_MESSAGE_CHARACTERS],
        (("grpc-status-details-bin", details),) if fits else (),
    )


def serialized(reply: Reply) -> bytes:
    """The bytes of a reply, which may be bytes already."""
    return reply if isinstance(reply, bytes) else reply.SerializeToString()


def parser_of(method: Method) -> Callable[[bytes], Any]:
    """From the bytes of one request to what the handler takes; InvalidArgument for other bytes."""
    request_type = method.request_type
    if request_type is None:
        return lambda request: request

    def parse(request: bytes) -> Message:
        try:
            return request_type.FromString(request)
        except DecodeError as error:
            raise InvalidArgument(
                f"the request is not a {request_type.DESCRIPTOR.full_name}"
            ) from error

    return parse
