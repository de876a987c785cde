"""Reads the RequestMetadata that clients attach to their calls (G8, Q-HDR)."""

from google.protobuf.message import DecodeError

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import RequestMetadata

from .interfaces import Call

REQUEST_METADATA_KEY = "build.bazel.remote.execution.v2.requestmetadata-bin"
_KEYS = (REQUEST_METADATA_KEY, "google.devtools.remoteexecution.v1test.requestmetadata-bin")


def request_metadata(call: Call) -> RequestMetadata:
    """What the caller says about itself; empty when it says nothing or nonsense: never an error."""
    metadata = call.metadata
    for key in _KEYS:
        value = metadata.get(key)
        if isinstance(value, bytes):
            try:
                return RequestMetadata.FromString(value)
            except DecodeError:
                continue
    return RequestMetadata()
