"""The timestamps of an action's metadata, in order even where clocks are not (EX24)."""

import time
from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
)


class Timestamps:
    """Sets timestamps of `metadata`, none before an earlier one nor before `not_before`.

    The scheduler's clock, whose `not_before` is, may be ahead of this machine's, and a clock may be
    set back while an action runs.
    """

    def __init__(
        self,
        metadata: ExecutedActionMetadata,
        not_before: Timestamp,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._metadata = metadata
        self._latest_ns = not_before.ToNanoseconds()
        self._clock_ns = clock_ns

    def mark(self, name: str, at_ns: int | None = None) -> None:
        """Sets `<name>_timestamp` to `at_ns`, or to now."""
        self._latest_ns = max(self._latest_ns, self._clock_ns() if at_ns is None else at_ns)
        timestamp: Timestamp = getattr(self._metadata, f"{name}_timestamp")
        timestamp.FromNanoseconds(self._latest_ns)
