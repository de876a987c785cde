"""What grpc.aio says of a call that failed."""

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

_STATUS_DETAILS_KEY = "grpc-status-details-bin"
_UNREACHABLE_TEXTS = ("failed to connect", "DNS resolution failed", "Failed to pick subchannel")


def is_unreachable(error: grpc.aio.AioRpcError) -> bool:
    """Whether there was no connection to make the call on."""
    text = error.details() or ""
    return error.code() is grpc.StatusCode.UNAVAILABLE and text.startswith(_UNREACHABLE_TEXTS)


def status_of(error: grpc.aio.AioRpcError) -> Status:
    """What the server answered, with its details if it sent any that belong to the code."""
    code = error.code().value[0]
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                status = Status.FromString(value)
            except DecodeError:
                break
            if status.code == code:
                return status
    return Status(code=code, message=error.details() or "")
