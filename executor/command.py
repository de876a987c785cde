"""A Command, checked and made ready to run: arguments, environment, working directory, outputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest
from reapi.core.errors import FailedPrecondition, InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Command

from .input_links import follow_links
from .input_tree import DEEPEST_TREE, LONGEST_PATH_BYTES, InputDirectory
from .staged_directory import OutputParents

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
MOST_OUTPUTS = 50_000
_LARGEST_COMMAND_BYTES = 4 << 20
"""Of argument and environment bytes; Linux itself takes about 2 MiB."""


@dataclass(frozen=True, slots=True)
class DeclaredOutput:
    """A path as the Command spells it (IN4), and its segments from the input root on.

    `kind` is what it must be: "file", "directory", or "any" for output_paths (IN8).
    """

    path: str
    segments: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class PreparedCommand:
    """What to run; everything in it is checked."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    working_directory: tuple[str, ...]
    outputs: Sequence[DeclaredOutput]
    output_directory_format: Command.OutputDirectoryFormat

    def output_parents(self, root: InputDirectory) -> OutputParents:
        """The directories to make before the run: the parents of all outputs (IN6).

        Where symlinks of the input root are on the way, that is where these lead. What would lie
        outside of the root is not made; an output there is refused when it is collected.
        """
        parents: OutputParents = {}
        made = 0
        for output in self.outputs:
            below = parents
            for segment in follow_links(root, output.segments[:-1]):
                made += segment not in below
                below = below.setdefault(segment, {})
            if made > MOST_OUTPUTS:
                raise InvalidArgument(
                    f"the outputs have more than the {MOST_OUTPUTS} parent directories allowed"
                )
        return parents

    def check_working_directory(self, root: InputDirectory) -> None:
        """Raises FailedPrecondition when it is not in the input root (IN2)."""
        directory: InputDirectory | None = root
        for segment in self.working_directory:
            directory = directory.directories.get(segment) if directory else None
        if directory is None:
            shown = "/".join(self.working_directory)
            raise FailedPrecondition(
                f"working directory {shown!r} is not a directory of the input root"
            )


def prepare_command(data: bytes, digest: Digest, defaults: Mapping[str, str]) -> PreparedCommand:
    """Reads the blob of a Command; `defaults` are the variables it may override (IN3).

    Raises InvalidArgument for what no worker could run (IN1, IN2, B14, B15).
    """
    try:
        command = Command.FromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"blob {digest} is not a Command") from error
    if not command.arguments or not command.arguments[0]:
        raise InvalidArgument("the command has no arguments; the first one says what to run")
    environment = {**defaults, **{v.name: v.value for v in command.environment_variables}}
    _check_texts(command.arguments, environment)
    if command.output_node_properties:
        names = ", ".join(sorted(command.output_node_properties))[:200]
        raise InvalidArgument(f"output node properties are not served: {names}")
    if command.output_directory_format not in Command.OutputDirectoryFormat.values():
        raise InvalidArgument(f"unknown output directory format {command.output_directory_format}")
    working_directory = resolve(command.working_directory, (), "working directory")
    return PreparedCommand(
        tuple(command.arguments),
        environment,
        working_directory,
        _declared_outputs(command, working_directory),
        command.output_directory_format,
    )


def resolve(path: str, base: tuple[str, ...], label: str) -> tuple[str, ...]:
    """The segments of `path`, relative to `base`, from the input root on; `..` may not leave it."""
    if path.startswith("/") or "\0" in path or len(path.encode()) > LONGEST_PATH_BYTES:
        raise InvalidArgument(f"{label} {path[:200]!r} is not a relative path of this system")
    segments = list(base)
    for segment in path.split("/"):
        if segment == "..":
            if not segments:
                raise InvalidArgument(f"{label} {path[:200]!r} leaves the input root")
            segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    if len(segments) > DEEPEST_TREE or any(len(s.encode()) > 255 for s in segments):
        raise InvalidArgument(f"{label} {path[:200]!r} is deeper or has longer names than allowed")
    return tuple(segments)


def _declared_outputs(
    command: Command, working_directory: tuple[str, ...]
) -> tuple[DeclaredOutput, ...]:
    """Those of output_paths; of the older two lists only when it is empty (IN5)."""
    if command.output_paths:
        declared = dict.fromkeys((path, "any") for path in command.output_paths)
    else:
        declared = dict.fromkeys((path, "file") for path in command.output_files)
        declared |= dict.fromkeys((path, "directory") for path in command.output_directories)
    if len(declared) > MOST_OUTPUTS:
        raise InvalidArgument(
            f"the command declares {len(declared)} outputs; at most {MOST_OUTPUTS} are allowed"
        )
    return tuple(
        DeclaredOutput(path, resolve(path, working_directory, "output path"), kind)
        for path, kind in declared
    )


def _check_texts(arguments: Iterable[str], environment: Mapping[str, str]) -> None:
    total = 0
    for text in (*arguments, *environment, *environment.values()):
        total += len(text)
        if "\0" in text:
            raise InvalidArgument(f"{text[:80]!r} in the command holds a NUL")
    if total > _LARGEST_COMMAND_BYTES:
        raise InvalidArgument(
            f"the command's arguments and environment have {total} bytes; "
            f"at most {_LARGEST_COMMAND_BYTES} are allowed"
        )
    for name in environment:
        if not name or "=" in name:
            raise InvalidArgument(f"{name[:80]!r} cannot be the name of an environment variable")
