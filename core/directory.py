"""Reads Directory messages from outside; no unsafe name passes (IN13, IN14).

Sortedness is not asked for: a Directory in another order is just another blob.
"""

from collections.abc import Iterable

from google.protobuf.message import DecodeError

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Directory,
    DirectoryNode,
    FileNode,
    SymlinkNode,
)

from .digest import Digest, DigestFunction, parse_digest
from .errors import InvalidArgument

LONGEST_NAME_BYTES = 255
"""Of one path segment: what Linux file systems can hold."""

LONGEST_TARGET_BYTES = 4095
"""Of a symlink's target, for the same reason."""

LARGEST_TREE_BYTES = 64 << 20
"""Of the Tree of an image: more than half a million different files."""


def parse_directory(data: bytes, digest: Digest) -> Directory:
    """The Directory that the blob `digest` holds, safe to materialise.

    Raises InvalidArgument when the bytes are no Directory, when a name is not one safe path segment
    or occurs twice, when a digest inside is malformed, or a symlink has no usable target. The
    caller bounds the size of `data`.
    """
    try:
        directory = Directory.FromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"blob {digest} is not a Directory") from error
    check_directory(directory, digest.function, f"directory {digest}")
    return directory


def check_directory(directory: Directory, function: DigestFunction, label: str) -> None:
    """What `parse_directory` asks of the content; `label` names the directory in messages."""
    _check_names(directory, label)
    nodes: Iterable[FileNode | DirectoryNode]
    for nodes in (directory.files, directory.directories):
        for node in nodes:
            try:
                parse_digest(node.digest, function)
            except InvalidArgument as error:
                raise InvalidArgument(f"{label}, entry {node.name!r}: {error.message}") from error
    for symlink in directory.symlinks:
        if not is_usable_target(symlink.target):
            raise InvalidArgument(f"{label}: symlink {symlink.name!r} has no usable target")


def is_safe_name(name: str) -> bool:
    """Whether `name` is one path segment that stays where it is put."""
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and "\0" not in name
        and len(name.encode()) <= LONGEST_NAME_BYTES
    )


def is_usable_target(target: str) -> bool:
    """Whether a symlink can be made that points to `target`; where it leads is not judged here."""
    return target != "" and "\0" not in target and len(target.encode()) <= LONGEST_TARGET_BYTES


def _check_names(directory: Directory, label: str) -> None:
    seen: set[str] = set()
    nodes: Iterable[FileNode | DirectoryNode | SymlinkNode]
    for nodes in (directory.files, directory.directories, directory.symlinks):
        for node in nodes:
            name = node.name
            if not is_safe_name(name):
                raise InvalidArgument(
                    f"{label}: {name[:LONGEST_NAME_BYTES]!r} is not a safe name; a name is one "
                    f"path segment of 1 to {LONGEST_NAME_BYTES} bytes, not '.' or '..'"
                )
            if name in seen:
                raise InvalidArgument(f"{label}: the name {name!r} occurs twice")
            seen.add(name)
