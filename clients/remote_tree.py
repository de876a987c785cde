"""Reads trees out of a store: as a flat list of what is to be made on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest, digest_of, parse_digest
from reapi.core.directory import check_directory, parse_directory
from reapi.core.errors import InvalidArgument, NotFound
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory, Tree

from .paths import DEEPEST, check_path, check_symlink

_LARGEST_TREE_BYTES = 512 << 20
_LARGEST_DIRECTORY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file that is to be made, relative to the target directory."""

    path: str
    digest: Digest
    is_executable: bool


@dataclass(slots=True)
class Entries:
    """All that is to be made below one target directory. Paths are checked when they are added.

    More than `most` of them are refused: a tree can have more places than the world has disks.
    """

    most: int = 1_000_000
    files: list[FileEntry] = field(default_factory=list)
    symlinks: dict[str, str] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    _paths: set[str] = field(default_factory=set)

    def add_file(self, path: str, digest: Digest, is_executable: bool) -> None:
        self._add(path)
        self.files.append(FileEntry(path, digest, is_executable))

    def add_symlink(self, path: str, target: str) -> None:
        """A symlink may be named twice: results have old and new lists of them (Q-SYMLINK)."""
        if self.symlinks.get(path) != target:
            check_symlink(path, target)
            self._add(path)
            self.symlinks[path] = target

    def add_directory(self, path: str) -> None:
        self._add(path)
        self.directories.append(path)

    def _add(self, path: str) -> None:
        check_path(path)
        if path in self._paths:
            raise InvalidArgument(f"refused to write {path} twice")
        self._paths.add(path)
        if len(self._paths) > self.most:
            raise InvalidArgument(f"refused to write more than {self.most} files")

    def add_tree(self, path: str, root: Digest, directories: Mapping[Digest, Directory]) -> None:
        """Adds all that is below the directory `root` at `path`, where "" is the target itself."""
        todo = [(path, root)]
        while todo:
            at, digest = todo.pop()
            if at:
                self.add_directory(at)
            prefix = f"{at}/" if at else ""
            directory = directories.get(digest)
            if directory is None:
                raise NotFound(f"directory {digest} is missing")
            for file in directory.files:
                file_digest = parse_digest(file.digest, root.function)
                self.add_file(prefix + file.name, file_digest, file.is_executable)
            for link in directory.symlinks:
                self.add_symlink(prefix + link.name, link.target)
            for child in directory.directories:
                todo.append((prefix + child.name, parse_digest(child.digest, root.function)))


async def read_directories(
    store: BlobStore, root: Digest, *, levels: int = DEEPEST
) -> dict[Digest, Directory]:
    """The Directory `root` and what is below it, level by level; raises NotFound."""
    found: dict[Digest, Directory] = {}
    level = [root]
    for _ in range(levels):
        for digest in level:
            if digest.size_bytes > _LARGEST_DIRECTORY_BYTES:
                raise InvalidArgument(f"blob {digest} is too large to be a Directory")
        blobs = await store.read_many(level)
        below: dict[Digest, None] = {}
        for digest in level:
            if digest not in blobs:
                raise NotFound(f"directory {digest} is not on the server")
            directory = found[digest] = parse_directory(blobs[digest], digest)
            for node in directory.directories:
                below[parse_digest(node.digest, root.function)] = None
        level = [digest for digest in below if digest not in found]
        if not level:
            break
    return found


async def read_tree(store: BlobStore, digest: Digest) -> tuple[Digest, dict[Digest, Directory]]:
    """The Directories of the Tree message in the blob `digest`, and the digest of its root."""
    if digest.size_bytes > _LARGEST_TREE_BYTES:
        raise InvalidArgument(f"blob {digest} is too large to be a Tree")
    data = (await store.read_many([digest])).get(digest)
    if data is None:
        raise NotFound(f"tree {digest} is not on the server")
    try:
        tree = Tree.FromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"blob {digest} is not a Tree") from error
    found = {}
    for directory in (*tree.children, tree.root):
        check_directory(directory, digest.function, f"tree {digest}")
        root = digest_of(directory.SerializeToString(deterministic=True), digest.function)
        found[root] = directory
    return root, found
