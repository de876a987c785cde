"""Checks of Action and Command as they come from outside (conformance 1.8; EX17, IN1-IN5).

What passes here is safe to queue. The input tree is checked where it is read, by the worker.
"""

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message

from reapi.core.digest import Digest, parse_digest
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    Command,
    Platform,
)

from .model import Properties

LARGEST_MESSAGE_BYTES = 16 << 20
"""Of a serialized Action or Command."""

_MOST_OUTPUTS = 50_000
_MOST_ARGUMENT_BYTES = 8 << 20
_MOST_PROPERTIES = 200
_LONGEST_PATH_BYTES = 4096


def check_size(digest: Digest, what: str) -> None:
    """Refuses a digest of an Action or Command that would be too large to read."""
    if digest.size_bytes > LARGEST_MESSAGE_BYTES:
        raise InvalidArgument(
            f"{what} {digest} is too large: at most {LARGEST_MESSAGE_BYTES} bytes are read"
        )


def parse_action(data: bytes, digest: Digest) -> tuple[Action, Digest, Digest]:
    """The Action in `data`, its Command's digest and its input root's; or InvalidArgument."""
    action = Action()
    _parse(action, data, digest)
    try:
        command_digest = parse_digest(action.command_digest, digest.function)
        input_root_digest = parse_digest(action.input_root_digest, digest.function)
    except InvalidArgument as error:
        raise InvalidArgument(f"action {digest}: {error.message}") from error
    check_size(command_digest, "command")
    return action, command_digest, input_root_digest


def timeout_seconds(action: Action, *, default: float, maximum: float) -> float:
    """How long the command may run (EX17); InvalidArgument for what no clock can keep."""
    if not action.HasField("timeout"):
        return min(default, maximum)
    timeout = action.timeout
    if timeout.seconds < 0 or not 0 <= timeout.nanos < 1_000_000_000:
        raise InvalidArgument(
            f"action.timeout of {_shown(timeout)} is not valid: give a positive duration"
        )
    seconds = float(timeout.seconds) + timeout.nanos / 1e9
    if seconds > maximum:
        raise InvalidArgument(
            f"action.timeout of {_shown(timeout)} is above this server's maximum of {maximum:g} s"
        )
    # A zero duration says as little as none.
    return seconds or min(default, maximum)


def parse_command(data: bytes, digest: Digest) -> Command:
    """The Command in `data`, checked; raises InvalidArgument with the field at fault."""
    command = Command()
    _parse(command, data, digest)
    if not command.arguments or not command.arguments[0]:
        raise InvalidArgument("command.arguments is empty: name the program to run")
    _check_strings(command)
    depth = _working_directory_depth(command.working_directory)
    outputs = (command.output_paths, command.output_files, command.output_directories)
    if sum(map(len, outputs)) > _MOST_OUTPUTS:
        raise InvalidArgument(f"command declares more than {_MOST_OUTPUTS} outputs")
    for paths in outputs:
        for path in paths:
            _check_output(path, depth)
    if not command.output_paths:
        _check_overlap(command)
    if command.output_node_properties:
        # Capabilities announce no node property (CAP15, IN16).
        raise InvalidArgument(
            f"command.output_node_properties: {command.output_node_properties[0]!r} is not served"
        )
    return command


def required_properties(action: Action, command: Command) -> Properties:
    """What the action asks of its worker: Action.platform when present, else Command's (EX21)."""
    if action.HasField("platform"):
        return platform_properties(action.platform)
    return platform_properties(command.platform)


def platform_properties(platform: Platform) -> Properties:
    """The properties in one order, each pair once; InvalidArgument for too many or a nameless."""
    if len(platform.properties) > _MOST_PROPERTIES:
        raise InvalidArgument(f"a platform of more than {_MOST_PROPERTIES} properties")
    pairs = sorted({(one.name, one.value) for one in platform.properties})
    if any(not name for name, _ in pairs):
        raise InvalidArgument("a platform property has no name")
    return tuple(pairs)


def _parse(message: Message, data: bytes, digest: Digest) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"blob {digest} is not a {message.DESCRIPTOR.name}") from error


def _check_strings(command: Command) -> None:
    """No NUL can be in what becomes argv and environ, and the whole must be in bounds."""
    names = [variable.name for variable in command.environment_variables]
    values = [variable.value for variable in command.environment_variables]
    for texts, field in ((command.arguments, "arguments"), (names, "name"), (values, "value")):
        _check_text(texts, field)
    if any(not name or "=" in name for name in names):
        raise InvalidArgument("an environment variable's name is empty or contains '='")
    total = sum(map(len, command.arguments)) + sum(map(len, names)) + sum(map(len, values))
    if total > _MOST_ARGUMENT_BYTES:
        raise InvalidArgument(
            f"arguments and environment are above {_MOST_ARGUMENT_BYTES} characters together; "
            "put long lists into an input file"
        )


def _check_text(texts: Iterable[str], field: str) -> None:
    for text in texts:
        if "\0" in text:
            raise InvalidArgument(f"command: NUL in {field} {text[:80]!r}")


def _working_directory_depth(path: str) -> int:
    """How deep below the input root the command runs (IN2)."""
    _check_path(path, "working_directory")
    lowest, depth = _lowest_and_final_depth(path, 0)
    if lowest < 0:
        raise InvalidArgument(f"command.working_directory {path!r} leaves the input root")
    return depth


def _check_output(path: str, depth: int) -> None:
    """Relative to the working directory; `..` may go up, but not out of the input root (IN4)."""
    _check_path(path, "output path")
    if path.endswith("/"):
        raise InvalidArgument(f"command: output path {path!r} ends with a slash")
    if _lowest_and_final_depth(path, depth)[0] < 0:
        raise InvalidArgument(f"command: output path {path!r} leaves the input root")


def _check_path(path: str, field: str) -> None:
    if path.startswith("/") or "\0" in path or len(path.encode()) > _LONGEST_PATH_BYTES:
        raise InvalidArgument(
            f"command: {field} {path[:200]!r} must be relative, without NUL, and of at most "
            f"{_LONGEST_PATH_BYTES} bytes"
        )


def _lowest_and_final_depth(path: str, depth: int) -> tuple[int, int]:
    """How far up the path leads on its way, and where it ends, started `depth` below the root."""
    lowest = depth
    for segment in path.split("/"):
        if segment == "..":
            depth -= 1
            lowest = min(lowest, depth)
        elif segment not in ("", "."):
            depth += 1
    return lowest, depth


def _check_overlap(command: Command) -> None:
    """A file can be neither a directory nor the parent of another output."""
    files = set(command.output_files)
    if "" in files:
        raise InvalidArgument("command.output_files names the empty path: a file needs a name")
    for path in command.output_directories:
        if path in files:
            raise InvalidArgument(f"command: output {path!r} is declared a file and a directory")
    for path in (*command.output_files, *command.output_directories):
        parent = path.rpartition("/")[0]
        while parent:
            if parent in files:
                raise InvalidArgument(f"command: output file {parent!r} is a parent of {path!r}")
            parent = parent.rpartition("/")[0]


def _shown(duration: Duration) -> str:
    return (
        f"{duration.seconds} s {duration.nanos} ns" if duration.nanos else f"{duration.seconds} s"
    )
