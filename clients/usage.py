"""What a command used, from the message that workers and the history send."""

from google.protobuf.message import Message

from reapi.protos.reapi.executor.v1 import usage_pb2

from .model import Transfer, Usage


def to_usage(message: usage_pb2.ResourceUsage | None) -> Usage | None:
    """None for none."""
    if message is None:
        return None
    return Usage(
        user_seconds=message.user_time.ToMicroseconds() / 1e6,
        system_seconds=message.system_time.ToMicroseconds() / 1e6,
        peak_memory_bytes=message.peak_memory_bytes,
        read_bytes=message.read_bytes,
        written_bytes=message.written_bytes,
        inputs_fetched=_transfer(message, "inputs_fetched"),
        inputs_reused=_transfer(message, "inputs_reused"),
        outputs_uploaded=_transfer(message, "outputs_uploaded"),
        outputs_present=_transfer(message, "outputs_present"),
    )


def _transfer(message: Message, name: str) -> Transfer | None:
    value: usage_pb2.Transfer = getattr(message, name)
    return Transfer(value.count, value.size_bytes) if message.HasField(name) else None
