"""Timestamps stay in order whatever clocks do (EX24)."""

from google.protobuf.timestamp_pb2 import Timestamp

from reapi.executor.timestamps import Timestamps
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
)


def test_EX24_a_clock_that_goes_back_does_not_show() -> None:
    metadata = ExecutedActionMetadata()
    clock = iter((100, 50, 200))
    timestamps = Timestamps(metadata, Timestamp(nanos=70), lambda: next(clock))
    timestamps.mark("worker_start")
    timestamps.mark("input_fetch_start")
    timestamps.mark("input_fetch_completed")
    timestamps.mark("execution_start", 150)
    assert metadata.worker_start_timestamp.nanos == 100
    assert metadata.input_fetch_start_timestamp.nanos == 100
    assert metadata.input_fetch_completed_timestamp.nanos == 200
    assert metadata.execution_start_timestamp.nanos == 200


def test_EX24_nothing_happens_before_the_action_was_queued() -> None:
    metadata = ExecutedActionMetadata()
    timestamps = Timestamps(metadata, Timestamp(seconds=9), lambda: 5)
    timestamps.mark("worker_start")
    assert metadata.worker_start_timestamp.seconds == 9
