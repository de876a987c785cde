"""Turns the command of an action into what starts a persistent worker, and one request to it.

The convention is Bazel's: the last arguments name files that hold arguments of one unit of work
(`@FILE`, `-flagfile=FILE`, `--flagfile=FILE`); all before them start the worker.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reapi.core.errors import FailedPrecondition
from reapi.protos.reapi.executor.v1.worker_protocol_pb2 import Input, WorkRequest

from .beneath import locate
from .command import PreparedCommand
from .input_tree import InputDirectory

START_ARGUMENT = "--persistent_worker"

_FLAG_FILE = re.compile(r"(?:@(?!@)|--?flagfile=)(.+)", re.DOTALL)
_MOST_ARGUMENT_BYTES = 16 << 20
"""Of all flag files of one request."""

_DEEPEST_FLAG_FILE = 8


class NotWork(Exception):
    """The command cannot be given to a persistent worker, for the reason that is the message."""


class WarmKey(NamedTuple):
    """What one tool, started in one way, for one instance and client key is known by."""

    instance_name: str
    client_key: str
    startup: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: tuple[str, ...]
    network: bool
    tools: bytes
    """Of the marked inputs; see InputDirectory."""


class Work(NamedTuple):
    """One unit of work, and the kind of worker that it is for."""

    key: WarmKey
    request: WorkRequest


def work_of(
    command: PreparedCommand,
    root: str,
    directory: InputDirectory,
    *,
    instance_name: str,
    client_key: str,
    network: bool,
) -> Work:
    """The work of the action whose inputs are `directory`, staged at `root`. Blocks.

    Raises NotWork when no argument at the end names a flag file, or one cannot be read.
    """
    startup, flag_files = _split(command.arguments)
    reader = _FlagFiles(root, command.working_directory)
    base = "/".join(command.working_directory)
    request = WorkRequest(
        arguments=[line for name in flag_files for line in reader.arguments(name)],
        inputs=[
            Input(path=os.path.relpath(path, base) if base else path, digest=digest)
            for path, digest in _files(directory, "")
        ],
    )
    environment = tuple(sorted(command.environment.items()))
    key = WarmKey(
        instance_name,
        client_key,
        (*startup, START_ARGUMENT),
        environment,
        command.working_directory,
        network,
        directory.tools,
    )
    return Work(key, request)


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What starts the worker, and the flag files."""
    flag_files: list[str] = []
    while match := _FLAG_FILE.fullmatch(arguments[-1 - len(flag_files)]):
        flag_files.insert(0, match[1])
        if len(flag_files) == len(arguments):
            break
    if len(flag_files) in (0, len(arguments)):
        raise NotWork("its last argument is not @FILE or --flagfile=FILE")
    return arguments[: -len(flag_files)], flag_files


class _FlagFiles:
    """Reads flag files of one request beneath the input root (S6)."""

    def __init__(self, root: str, working_directory: tuple[str, ...]) -> None:
        self._root = root
        self._working_directory = working_directory
        self._bytes_left = _MOST_ARGUMENT_BYTES

    def arguments(self, name: str, depth: int = _DEEPEST_FLAG_FILE) -> Iterator[str]:
        """One argument per line; a line `@FILE` stands for those of that file, `@@…` for itself."""
        for line in self._text(name).splitlines():
            if line.startswith("@") and not line.startswith("@@") and depth > 1:
                yield from self.arguments(line[1:], depth - 1)
            else:
                yield line

    def _text(self, name: str) -> str:
        try:
            data = self._read(name)
            self._bytes_left -= len(data)
            if self._bytes_left < 0:
                raise NotWork(f"its flag files hold more than {_MOST_ARGUMENT_BYTES} bytes")
            return data.decode()
        except (OSError, UnicodeDecodeError, FailedPrecondition) as error:
            raise NotWork(f"its flag file {name[:200]!r} cannot be read: {error}") from error

    def _read(self, name: str) -> bytes:
        segments = [*self._working_directory, *(s for s in name.split("/") if s not in ("", "."))]
        if name.startswith("/") or ".." in segments:
            raise NotWork(f"its flag file {name[:200]!r} is not below the working directory")
        root_fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            location = locate(root_fd, segments)
        finally:
            os.close(root_fd)
        if location is None:
            raise NotWork(f"its flag file {name[:200]!r} is not there")
        try:
            fd = os.open(location.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=location.parent_fd)
        finally:
            os.close(location.parent_fd)
        with open(fd, "rb") as file:
            return file.read(self._bytes_left + 1)


def _files(directory: InputDirectory, prefix: str) -> Iterator[tuple[str, bytes]]:
    for name, key in directory.files.items():
        yield prefix + name, key.digest.hash.encode()
    for name, below in directory.directories.items():
        yield from _files(below, f"{prefix}{name}/")
