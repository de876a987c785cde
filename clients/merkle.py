"""Local files and directories as a Merkle tree of canonical Directory messages (IN13)."""

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from reapi.core.digest import Digest, DigestFunction, digest_of
from reapi.core.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory

from .file_digests import FileDigests
from .paths import DEEPEST, relative_to_root

_MOST_RECORDS = 200_000


@dataclass(slots=True)
class LocalTree:
    """A tree as it is uploaded: the digest of its root, messages in memory, files on disk."""

    root_digest: Digest
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    files: dict[Digest, str] = field(default_factory=dict)


@dataclass(slots=True)
class TreeNode:
    """A directory of a tree while that grows; each name is in one of the three."""

    files: dict[str, tuple[Digest, bool]] = field(default_factory=dict)
    symlinks: dict[str, str] = field(default_factory=dict)
    directories: dict[str, "TreeNode"] = field(default_factory=dict)


def build_tree(
    root: Path,
    inputs: Iterable[str],
    digests: FileDigests,
    *,
    empty_directories: Iterable[str] = (),
    is_stopped: Callable[[], bool] = bool,
) -> LocalTree:
    """The tree that has `inputs` (files, directories, symlinks) where they lie below `root`.

    Raises what `scan_tree` does, and blocks as it does.
    """
    top, paths = scan_tree(root, inputs, digests, is_stopped=is_stopped)
    for relative in empty_directories:
        _descend(top, relative)
    root_digest, blobs = encode_tree(top, digests.function)
    return LocalTree(root_digest, blobs, paths)


def scan_tree(
    root: Path,
    inputs: Iterable[str],
    digests: FileDigests,
    *,
    is_stopped: Callable[[], bool] = bool,
) -> tuple[TreeNode, dict[Digest, str]]:
    """The nodes of `inputs` where they lie below `root`, and the paths of the files by digest.

    Symlinks stay symlinks, except in the middle of an input's path. Raises NotFound for an input
    that is absent, InvalidArgument for one outside of the root and for what is no file, directory
    or symlink. Blocks: run it in a thread; when `is_stopped` says so it ends with an error.
    """
    scan = _Scan(digests, is_stopped)
    top = TreeNode()
    for given in inputs:
        relative = relative_to_root(root, given)
        path = os.path.join(root, relative) if relative else str(root)
        parents, name = os.path.split(relative)
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"input {given} does not exist in {root}") from error
        if not name and not stat.S_ISDIR(status.st_mode):
            raise InvalidArgument(f"{root} is not a directory")
        if name:
            scan.add(_descend(top, parents), name, path, status, depth=relative.count("/"))
        else:
            scan.add_directory(top, path, depth=0)
    return top, scan.paths


def _descend(node: TreeNode, relative: str) -> TreeNode:
    """The node at a path, made if it is not there."""
    for name in relative.split("/") if relative else ():
        node = node.directories.setdefault(name, TreeNode())
    return node


class _Scan:
    """Walks the file system into nodes; `paths` says for each digest where it lies."""

    def __init__(self, digests: FileDigests, is_stopped: Callable[[], bool]) -> None:
        self._digests = digests
        self._is_stopped = is_stopped
        self.paths: dict[Digest, str] = {}

    def add(self, node: TreeNode, name: str, path: str, status: os.stat_result, depth: int) -> None:
        """Adds one entry, with all below it."""
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{path!a} has a name that is not UTF-8") from error
        mode = status.st_mode
        try:
            if stat.S_ISREG(mode):
                digest = self._digests.digest(path, status)
                node.files[name] = digest, bool(mode & stat.S_IXUSR)
                self.paths[digest] = path
            elif stat.S_ISLNK(mode):
                node.symlinks[name] = os.readlink(path)
            elif stat.S_ISDIR(mode):
                child = node.directories.setdefault(name, TreeNode())
                self.add_directory(child, path, depth + 1)
            else:
                raise InvalidArgument(f"{path} is neither a file nor a directory nor a symlink")
        except FileNotFoundError as error:
            raise FailedPrecondition(f"{path} went away while it was read: try again") from error
        except PermissionError as error:
            raise PermissionDenied(f"cannot read {path}: permission denied") from error

    def add_directory(self, node: TreeNode, path: str, depth: int) -> None:
        """Adds all that a directory holds: files first, whose known digests lie together."""
        if depth > DEEPEST:
            raise InvalidArgument(f"{path} lies more than {DEEPEST} directories deep")
        if self._is_stopped():
            raise FailedPrecondition("the upload was given up")
        with os.scandir(path) as entries:
            found = [(entry, entry.stat(follow_symlinks=False)) for entry in entries]
        for entry, status in sorted(found, key=lambda one: stat.S_ISDIR(one[1].st_mode)):
            self.add(node, entry.name, entry.path, status, depth)


class TreeEncoder:
    """Encodes trees that have much in common: equal entries are put into words only once.

    Memory: about 250 bytes for each of the last 200,000 entries.
    """

    def __init__(self, function: DigestFunction) -> None:
        self._function = function
        self._records: dict[tuple[str, Digest, bool | None], bytes] = {}

    def encode(self, top: TreeNode) -> tuple[Digest, dict[Digest, bytes]]:
        """The digest of the root, and the Directories, each before those that it is in.

        Raises InvalidArgument when a name is both a directory and something else.
        """
        if len(self._records) > _MOST_RECORDS:
            self._records.clear()
        blobs: dict[Digest, bytes] = {}
        return self._encode(top, blobs), blobs

    def _encode(self, node: TreeNode, blobs: dict[Digest, bytes]) -> Digest:
        directories = node.directories
        for others in (node.files, node.symlinks):
            if not directories.keys().isdisjoint(others):
                twice = min(directories.keys() & others.keys())
                raise InvalidArgument(f"inputs lie both at and below the symlink {twice!r}")
        # The encoding of a message is that of its fields one after the other, and strings are in
        # the order of their UTF-8 bytes.
        parts = [self._record(name, *node.files[name]) for name in sorted(node.files)]
        for name in sorted(directories):
            parts.append(self._record(name, self._encode(directories[name], blobs), None))
        for name in sorted(node.symlinks):
            link = Directory()
            link.symlinks.add(name=name, target=node.symlinks[name])
            parts.append(link.SerializeToString())
        data = b"".join(parts)
        digest = digest_of(data, self._function)
        blobs[digest] = data
        return digest

    def _record(self, name: str, digest: Digest, is_executable: bool | None) -> bytes:
        """A Directory with one file, or with one directory if nothing is said of executing it."""
        key = name, digest, is_executable
        record = self._records.get(key)
        if record is None:
            message = Directory()
            if is_executable is None:
                message.directories.add(name=name, digest=digest.to_message())
            else:
                message.files.add(
                    name=name, digest=digest.to_message(), is_executable=is_executable
                )
            record = self._records[key] = message.SerializeToString()
        return record


def encode_tree(top: TreeNode, function: DigestFunction) -> tuple[Digest, dict[Digest, bytes]]:
    """As TreeEncoder.encode, for a single tree."""
    return TreeEncoder(function).encode(top)
