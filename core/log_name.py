"""Names under which ByteStream serves what commands print, to and from typed values (BS24, GO4).

`[instance/]logstreams/ID`, where ID is one segment: the operation without `operations/`, its
slashes as dots, and the stream, as in `logstreams/9b0c7f6e-8f55-4a3e-9d4f-0f3b6d1c2a77.stdout`.
Who knows the name of an operation knows its logs', and nobody else: both have the same random part.
"""

import re
from typing import NamedTuple

from reapi.protos.reapi.worker.v1.worker_pb2 import LogStream

from .errors import InvalidArgument
from .resource_name import LONGEST_NAME

_KEYWORD = "logstreams"
_OPERATIONS = "operations/"
_STREAMS: dict[str, LogStream] = {
    "stdout": LogStream.LOG_STREAM_STDOUT,
    "stderr": LogStream.LOG_STREAM_STDERR,
}
_ID = re.compile(r"((?:[a-z0-9-]+\.)?[0-9a-f-]{36})\.(stdout|stderr)", re.ASCII)


def log_names(instance_name: str, operation_name: str) -> tuple[str, str]:
    """The resource names of stdout and stderr of an operation."""
    operation = operation_name.removeprefix(_OPERATIONS).replace("/", ".")
    prefix = f"{instance_name}/" if instance_name else ""
    return f"{prefix}{_KEYWORD}/{operation}.stdout", f"{prefix}{_KEYWORD}/{operation}.stderr"


class LogName(NamedTuple):
    """What the command of an operation prints to a stream."""

    instance_name: str
    operation_name: str
    stream: LogStream

    def __str__(self) -> str:
        """The whole resource name, as REAPI wants it in `stdout_stream_name`."""
        stdout, stderr = log_names(self.instance_name, self.operation_name)
        return stdout if self.stream == LogStream.LOG_STREAM_STDOUT else stderr


def is_log_name(name: str) -> bool:
    """Whether it is to be the name of a log, or of another stream in a server not of ours."""
    return _KEYWORD in name and _KEYWORD in name.split("/")


def parse_log_name(name: str) -> LogName | None:
    """None for a name without `logstreams`; InvalidArgument for other names with it, those that are
    for writing included.

    The SDK for Go puts `[instance/]logstreams/` before the name that it is given, which may thus be
    there twice (GO4).
    """
    if not is_log_name(name) or len(name) > LONGEST_NAME:
        return None
    head, _, log_id = name.rpartition("/")
    *instance, keyword = head.split("/")
    if _KEYWORD in instance:
        first = instance.index(_KEYWORD)
        if instance[:first] == instance[first + 1 :]:
            instance = instance[:first]
    match = _ID.fullmatch(log_id)
    if match is None or keyword != _KEYWORD or "" in instance or _KEYWORD in instance:
        raise InvalidArgument(
            f"malformed resource name {name[:200]!r}: expected [INSTANCE/]logstreams/ID, to read, "
            "as in stdout_stream_name of a running operation"
        )
    operation, word = match.groups()
    return LogName("/".join(instance), _OPERATIONS + operation.replace(".", "/"), _STREAMS[word])
