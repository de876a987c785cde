"""Reads the RequestMetadata that clients attach to their calls (G8, Q-HDR)."""

from google.protobuf.message import DecodeError

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import RequestMetadata

from .interfaces import Call

REQUEST_METADATA_KEY = "build.bazel.remote.execution.v2.requestmetadata-bin"
_KEYS = (REQUEST_METADATA_KEY, "google.devtools.remoteexecution.v1test.requestmetadata-bin")


def request_metadata_header(call: Call) -> bytes | None:
    """What the caller says about itself, as it came."""
    metadata = call.metadata
    for key in _KEYS:
        value = metadata.get(key)
        if isinstance(value, bytes):
            return value
    return None


def parse_request_metadata(header: bytes) -> RequestMetadata | None:
    """What the header says; None for nonsense."""
    try:
        return RequestMetadata.FromString(header)
    except DecodeError:
        return None


def request_metadata(call: Call) -> RequestMetadata:
    """What the caller says about itself; empty when it says nothing or nonsense: never an error."""
    header = request_metadata_header(call)
    parsed = None if header is None else parse_request_metadata(header)
    return RequestMetadata() if parsed is None else parsed
