"""Times and durations of messages from outside, in the core's unit."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_LATEST = 253_402_300_799_000_000
"""The end of the year 9999: later ones have no place in messages and databases."""


def to_microseconds(message: Timestamp | Duration) -> int:
    """From 0 to what messages can hold, whatever is in `message`: the library's own refuse much."""
    return max(0, min(message.seconds * 1_000_000 + message.nanos // 1000, _LATEST))
