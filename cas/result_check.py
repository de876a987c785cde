"""What an ActionResult from outside must be before it is stored (AC7)."""

from collections.abc import Iterator

from reapi.core.digest import DigestFunction, parse_digest
from reapi.core.directory import is_usable_target
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    OutputSymlink,
)

LONGEST_PATH_BYTES = 4095


def check_action_result(result: ActionResult, function: DigestFunction) -> None:
    """Raises InvalidArgument for bad digests, unusable paths or targets, and duplicates.

    How far a path may climb depends on the command: see `highest_climb`.
    """
    for file in result.output_files:
        _check_path(file.path)
        parse_digest(file.digest, function)
    for directory in result.output_directories:
        if directory.path:  # empty means the working directory itself (IN4)
            _check_path(directory.path)
        if not directory.HasField("tree_digest") and not directory.HasField(
            "root_directory_digest"
        ):
            raise InvalidArgument(f"output directory {directory.path!r} has no digest")
    for symlink in _symlinks(result):
        _check_path(symlink.path)
        if not is_usable_target(symlink.target):
            raise InvalidArgument(f"output symlink {symlink.path!r} has no usable target")
    _check_unique(result)


def highest_climb(result: ActionResult) -> int:
    """How many levels above the working directory the paths and link targets go at most.

    Absolute targets are not counted: they are allowed (CAP10).
    """
    climb = 0
    for file in result.output_files:
        climb = max(climb, _climb(file.path))
    for directory in result.output_directories:
        climb = max(climb, _climb(directory.path))
    for symlink in _symlinks(result):
        climb = max(climb, _climb(symlink.path))
        if not symlink.target.startswith("/"):
            parent, _, _ = symlink.path.rpartition("/")
            climb = max(climb, _climb(f"{parent}/{symlink.target}"))
    return climb


def path_depth(path: str) -> int:
    """How many levels a relative path goes down; 0 for one that also goes up."""
    segments = path.split("/")
    return 0 if ".." in segments else sum(segment not in ("", ".") for segment in segments)


def _climb(path: str) -> int:
    level = lowest = 0
    for segment in path.split("/"):
        if segment == "..":
            level -= 1
            lowest = min(lowest, level)
        elif segment not in ("", "."):
            level += 1
    return -lowest


def _check_path(path: str) -> None:
    if path.startswith("/"):
        raise InvalidArgument(
            f"output path {path[:200]!r} is absolute; "
            "output paths are relative to the working directory"
        )
    # "." is no mistake: paths repeat what the command says, and BuildStream says "." (IN4).
    if "" in path.split("/") or "\0" in path:
        raise InvalidArgument(f"output path {path[:200]!r} has an empty segment or a zero byte")
    if len(path.encode()) > LONGEST_PATH_BYTES:
        raise InvalidArgument(f"an output path is longer than {LONGEST_PATH_BYTES} bytes")


def _check_unique(result: ActionResult) -> None:
    """The same symlink may stand in the new list and in an old one (IN9)."""
    targets: dict[str, str | None] = {}
    for path in [file.path for file in result.output_files] + [
        directory.path for directory in result.output_directories
    ]:
        if path in targets:
            raise InvalidArgument(f"the output {path!r} occurs twice")
        targets[path] = None
    for symlink in _symlinks(result):
        if targets.setdefault(symlink.path, symlink.target) != symlink.target:
            raise InvalidArgument(f"the output {symlink.path!r} occurs twice and differs")


def _symlinks(result: ActionResult) -> Iterator[OutputSymlink]:
    yield from result.output_symlinks
    yield from result.output_file_symlinks
    yield from result.output_directory_symlinks
