"""What an input root is to hold: Directories read, checked, bounded and linked up in memory.

Nothing here touches a disk; staged_tree.py makes it so.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from weakref import WeakValueDictionary

from reapi.core.digest import SHA256, Digest, digest_of
from reapi.core.directory import parse_directory
from reapi.core.errors import BlobsMissing, InvalidArgument, ResourceExhausted
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Directory,
    DirectoryNode,
    FileNode,
)

from .cached_file import FileKey
from .local_cache import LocalCache

DEEPEST_TREE = 256
MOST_NODES = 1_000_000
LONGEST_PATH_BYTES = 3_500
"""Of an input below the input root; the rest of Linux' 4,096 is for where the root is."""

LARGEST_DIRECTORY_BYTES = 64 << 20
_TOOL_MARK = "bazel_tool_input"
_BATCH_BYTES = 3_500_000
_REMEMBERED_NODES = 250_000


class InputDirectory:
    """One Directory with all below it; never changed, and shared by all trees that hold it.

    `nodes`, `depth`, `path_bytes` (the longest), `file_bytes` and `file_count` are of the whole
    tree below, every occurrence counted. `tools` is a hash of the files below that are marked as
    parts of the tool, with their places; empty when none are.
    """

    __slots__ = (
        "__weakref__",
        "depth",
        "digest",
        "directories",
        "file_bytes",
        "file_count",
        "files",
        "nodes",
        "path_bytes",
        "symlinks",
        "tools",
    )

    def __init__(
        self,
        digest: Digest,
        files: dict[str, FileKey],
        directories: "dict[str, InputDirectory]",
        symlinks: dict[str, str],
        marked: Collection[str] = (),
    ) -> None:
        self.digest = digest
        self.files = files
        self.directories = directories
        self.symlinks = symlinks
        self.nodes = len(files) + len(symlinks) + len(directories)
        self.file_bytes = sum(key.digest.size_bytes for key in files.values())
        self.file_count = len(files)
        self.depth = 1
        self.path_bytes = max((len(name.encode()) for name in (*files, *symlinks)), default=0)
        for name, directory in directories.items():
            self.nodes += directory.nodes
            self.file_bytes += directory.file_bytes
            self.file_count += directory.file_count
            self.depth = max(self.depth, directory.depth + 1)
            self.path_bytes = max(self.path_bytes, len(name.encode()) + 1 + directory.path_bytes)
        self.tools = self._hash_of_tools(marked)

    def _hash_of_tools(self, marked: Collection[str]) -> bytes:
        tools = {name: self.files[name].digest.hash.encode() for name in marked}
        tools |= {name: below.tools for name, below in self.directories.items() if below.tools}
        if not tools:
            return b""
        hasher = hashlib.sha256()
        for name, tool in sorted(tools.items()):
            hasher.update(b"%s\0%s\0" % (name.encode(), tool.hex().encode()))
        return hasher.digest()


EMPTY_DIRECTORY = InputDirectory(digest_of(b"", SHA256), {}, {}, {})


class InputTrees:
    """Loads input roots, and remembers the last ones, so that a Directory is seldom parsed twice.

    Memory: what is remembered shares all equal subtrees; without sharing it would be at most
    250,000 nodes and the last root. For tasks of one event loop.
    """

    def __init__(self) -> None:
        self._directories: WeakValueDictionary[Digest, InputDirectory] = WeakValueDictionary()
        self._roots: OrderedDict[Digest, InputDirectory] = OrderedDict()
        self._remembered_nodes = 0

    async def load(
        self,
        root: Digest,
        inline: Mapping[Digest, bytes],
        store: BlobStore,
        cache: LocalCache,
    ) -> InputDirectory:
        """The tree of `root`, from memory, `inline` and `store`.

        Raises BlobsMissing naming all absent Directories and, where some are, all absent files of
        those present (EX7); InvalidArgument for a Directory or a tree that cannot be made on a file
        system; ResourceExhausted for one larger than is allowed (B12, B13).
        """
        directory = self._known(root)
        if directory is None:
            parsed, known, missing = await self._read(root, inline, store)
            if missing:
                files = {key for message in parsed.values() for key in _files(message, root)}
                for below in known.values():
                    files |= _distinct_files(below)
                missing += await _absent(files, store, cache)
                raise BlobsMissing([digest.subject for digest in dict.fromkeys(missing)])
            directory = self._link(root, parsed, known)
        _check_bounds(directory, cache.max_size_bytes)
        self._remember(directory)
        return directory

    async def missing(
        self, root: Digest, inline: Mapping[Digest, bytes], store: BlobStore, cache: LocalCache
    ) -> list[str]:
        """The subjects of all blobs of the tree of `root` that are absent; raises as `load`."""
        try:
            directory = await self.load(root, inline, store, cache)
        except BlobsMissing as error:
            return list(error.subjects)
        absent = await _absent(_distinct_files(directory), store, cache)
        return [digest.subject for digest in absent]

    def _known(self, digest: Digest) -> InputDirectory | None:
        return self._directories.get(digest) if digest.size_bytes else EMPTY_DIRECTORY

    async def _read(
        self, root: Digest, inline: Mapping[Digest, bytes], store: BlobStore
    ) -> tuple[dict[Digest, Directory], dict[Digest, InputDirectory], list[Digest]]:
        """What is reachable from `root`: Directories read now, those in memory, those absent.

        Level by level and each digest once, so the number of distinct blobs bounds the work.
        """
        parsed: dict[Digest, Directory] = {}
        known: dict[Digest, InputDirectory] = {}
        missing: list[Digest] = []
        level = [root]
        nodes = 0
        for _ in range(DEEPEST_TREE):
            blobs = await _read_level(level, inline, store)
            missing += [digest for digest in level if digest not in blobs]
            below: list[Digest] = []
            for digest, data in blobs.items():
                directory = parsed[digest] = parse_directory(data, digest)
                nodes += len(directory.files) + len(directory.symlinks) + len(directory.directories)
                if nodes > MOST_NODES:
                    raise _too_many_nodes(nodes)
                below += [_digest(node, root) for node in directory.directories]
            level = []
            for digest in dict.fromkeys(below):
                if digest in parsed:
                    continue
                in_memory = self._known(digest)
                if in_memory is None:
                    level.append(digest)
                else:
                    known[digest] = in_memory
            if not level:
                return parsed, known, missing
        raise _too_deep()

    def _link(
        self,
        root: Digest,
        parsed: Mapping[Digest, Directory],
        known: Mapping[Digest, InputDirectory],
    ) -> InputDirectory:
        """Makes InputDirectories bottom-up; each refers to its children, which keeps them alive."""
        made = dict(known)
        todo = [root]
        while todo:
            digest = todo[-1]
            message = parsed[digest]
            below = {node.name: _digest(node, root) for node in message.directories}
            unmade = {child for child in below.values() if child not in made}
            if unmade:
                todo += unmade
                continue
            todo.pop()
            if digest not in made:
                directory = made[digest] = InputDirectory(
                    digest,
                    {
                        n.name: key
                        for n, key in zip(message.files, _files(message, root), strict=True)
                    },
                    {name: made[child] for name, child in below.items()},
                    {node.name: node.target for node in message.symlinks},
                    [node.name for node in message.files if _is_tool(node)],
                )
                self._directories[digest] = directory
        return made[root]

    def _remember(self, root: InputDirectory) -> None:
        if root.digest not in self._roots:
            self._remembered_nodes += root.nodes + 1
        self._roots[root.digest] = root
        self._roots.move_to_end(root.digest)
        while self._remembered_nodes > _REMEMBERED_NODES and len(self._roots) > 1:
            _, forgotten = self._roots.popitem(last=False)
            self._remembered_nodes -= forgotten.nodes + 1


def _digest(node: FileNode | DirectoryNode, root: Digest) -> Digest:
    """The digest in a Directory that `parse_directory` found good; all are of one function (D5)."""
    digest = node.digest
    return Digest(digest.hash, digest.size_bytes, root.function)


def _is_tool(node: FileNode) -> bool:
    return node.HasField("node_properties") and any(
        node_property.name == _TOOL_MARK for node_property in node.node_properties.properties
    )


def _files(directory: Directory, root: Digest) -> list[FileKey]:
    return [FileKey(_digest(node, root), node.is_executable) for node in directory.files]


async def _read_level(
    digests: Iterable[Digest], inline: Mapping[Digest, bytes], store: BlobStore
) -> dict[Digest, bytes]:
    """The blobs that are there, in the order of `digests`."""
    blobs: dict[Digest, bytes] = {}
    batch: list[Digest] = []
    batch_bytes = 0
    for digest in digests:
        if digest in inline:
            blobs[digest] = inline[digest]
            continue
        if digest.size_bytes > LARGEST_DIRECTORY_BYTES:
            raise ResourceExhausted(
                f"directory {digest} is larger than the {LARGEST_DIRECTORY_BYTES} bytes allowed"
            )
        if batch and batch_bytes + digest.size_bytes > _BATCH_BYTES:
            blobs.update(await store.read_many(batch))
            batch, batch_bytes = [], 0
        batch.append(digest)
        batch_bytes += digest.size_bytes
    if batch:
        blobs.update(await store.read_many(batch))
    return blobs


def _check_bounds(root: InputDirectory, max_file_bytes: int) -> None:
    if root.nodes > MOST_NODES:
        raise _too_many_nodes(root.nodes)
    if root.depth > DEEPEST_TREE:
        raise _too_deep()
    if root.path_bytes > LONGEST_PATH_BYTES:
        raise InvalidArgument(
            f"a path in the input root has {root.path_bytes} bytes; "
            f"at most {LONGEST_PATH_BYTES} are possible"
        )
    if root.file_bytes <= max_file_bytes:
        return
    if sum(key.digest.size_bytes for key in _distinct_files(root)) > max_file_bytes:
        raise ResourceExhausted(
            f"the input files have more bytes than the {max_file_bytes} that this worker's cache "
            "holds; raise cache_max_size_bytes"
        )


async def _absent(keys: Iterable[FileKey], store: BlobStore, cache: LocalCache) -> list[Digest]:
    """Sorted, so that a message about them is always the same."""
    asked = {key.digest for key in keys if key.digest.size_bytes and key not in cache}
    return await store.find_missing(sorted(asked, key=lambda digest: digest.hash))


def _distinct_files(root: InputDirectory) -> set[FileKey]:
    directories = {root.digest: root}
    todo = [root]
    while todo:
        for directory in todo.pop().directories.values():
            if directory.digest not in directories:
                directories[directory.digest] = directory
                todo.append(directory)
    return {key for directory in directories.values() for key in directory.files.values()}


def _too_many_nodes(nodes: int) -> ResourceExhausted:
    shown = nodes if nodes < 10**12 else "far too many"
    return ResourceExhausted(
        f"the input root has {shown} files and directories; at most {MOST_NODES} are allowed"
    )


def _too_deep() -> InvalidArgument:
    return InvalidArgument(f"the input root is more than {DEEPEST_TREE} directories deep")
