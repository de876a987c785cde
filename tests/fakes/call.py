"""A Call that says what a test wants."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reapi.core.identity import EVERYBODY, Identity
from reapi.core.request_metadata import REQUEST_METADATA_KEY
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    RequestMetadata,
    ToolDetails,
)


@dataclass
class FakeCall:
    """See Call."""

    peer: str = "ipv4:127.0.0.1:1"
    metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    seconds_left: float | None = None
    identity: Identity = EVERYBODY


def call_of(
    invocation_id: str = "", *, tool: str = "", version: str = "", peer: str = "ipv4:127.0.0.1:1"
) -> FakeCall:
    """A call with RequestMetadata."""
    details = ToolDetails(tool_name=tool, tool_version=version)
    metadata = RequestMetadata(tool_invocation_id=invocation_id, tool_details=details)
    return FakeCall(peer, {REQUEST_METADATA_KEY: metadata.SerializeToString()})
