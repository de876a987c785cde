"""What an action used is found in metadata, whatever else is there."""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration

from reapi.core.resource_usage import usage_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
)
from reapi.protos.reapi.executor.v1.usage_pb2 import ResourceUsage

TYPE = "type.googleapis.com/reapi.executor.v1.ResourceUsage"


def test_it_is_found_among_messages_of_others() -> None:
    metadata = ExecutedActionMetadata()
    metadata.auxiliary_metadata.add().Pack(Duration(seconds=1))
    metadata.auxiliary_metadata.add().Pack(ResourceUsage(read_bytes=5))
    assert usage_of(metadata) == ResourceUsage(read_bytes=5)


def test_none_is_none() -> None:
    assert usage_of(ExecutedActionMetadata()) is None


def test_what_cannot_be_read_is_none() -> None:
    broken = AnyMessage(type_url=TYPE, value=b"\xff\xff")
    assert usage_of(ExecutedActionMetadata(auxiliary_metadata=[broken])) is None
