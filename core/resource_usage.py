"""Finds what an action used in the metadata of its result, where its worker told."""

from google.protobuf.message import DecodeError

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
)
from reapi.protos.reapi.executor.v1.usage_pb2 import ResourceUsage

_MOST_LOOKED_AT = 20


def usage_of(metadata: ExecutedActionMetadata) -> ResourceUsage | None:
    """The first one; None where there is none, or one that cannot be read."""
    for any_message in metadata.auxiliary_metadata[:_MOST_LOOKED_AT]:
        if any_message.type_url.endswith("/reapi.executor.v1.ResourceUsage"):
            try:
                return ResourceUsage.FromString(any_message.value)
            except DecodeError:
                return None
    return None
