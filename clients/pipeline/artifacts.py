"""What commands have made, as nodes of trees that lie on the server: chosen, joined, grafted.

Contents never come here; of directories their Tree is read, which has names and digests.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from reapi.clients.merkle import TreeNode
from reapi.clients.model import Entry, EntryKind
from reapi.clients.paths import DEEPEST
from reapi.clients.remote_tree import Entries, read_tree
from reapi.core.digest import Digest, parse_digest
from reapi.core.errors import InvalidArgument, NotFound
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory

from .globs import matches

MOST_ARTIFACTS = 200_000
"""Files, links and directories of one command, or of one input root."""


async def read_outputs(
    store: BlobStore, outputs: Sequence[Entry], declared: Sequence[str]
) -> TreeNode:
    """The outputs of a result at their places.

    Raises NotFound for a Tree that is gone, InvalidArgument for an output that is not `declared`.
    """
    nodes = []
    for entry in outputs:
        if entry.path not in declared and not (entry.path == "" and "." in declared):
            raise InvalidArgument(f"refused output {entry.path[:255]!r}, which nobody declared")
        above = entry.path.split("/") if entry.path else []
        node = TreeNode()
        if entry.kind is EntryKind.DIRECTORY:
            assert entry.digest is not None
            node = _expanded(*await read_tree(store, entry.digest))
        elif entry.kind is EntryKind.SYMLINK:
            node.symlinks[above.pop()] = entry.target
        else:
            assert entry.digest is not None
            node.files[above.pop()] = entry.digest, entry.is_executable
        for name in reversed(above):
            node = TreeNode(directories={name: node})
        nodes.append(node)
    return joined(nodes)


def _expanded(root: Digest, directories: Mapping[Digest, Directory]) -> TreeNode:
    """The nodes of a Tree. A hostile one has many places for each directory: they are counted."""
    count = 0

    def expand(digest: Digest, depth: int) -> TreeNode:
        nonlocal count
        directory = directories.get(digest)
        if directory is None:
            raise NotFound(f"directory {digest} is missing from its tree")
        count += 1 + len(directory.files) + len(directory.symlinks)
        if count > MOST_ARTIFACTS or depth > DEEPEST:
            raise InvalidArgument(f"an output directory has more than {MOST_ARTIFACTS:,} entries")
        return TreeNode(
            files={
                one.name: (parse_digest(one.digest, root.function), one.is_executable)
                for one in directory.files
            },
            symlinks={one.name: one.target for one in directory.symlinks},
            directories={
                one.name: expand(parse_digest(one.digest, root.function), depth + 1)
                for one in directory.directories
            },
        )

    return expand(root, 0)


def joined(nodes: Iterable[TreeNode]) -> TreeNode:
    """One tree with all entries of several; raises InvalidArgument where they differ."""
    top = TreeNode()
    for node in nodes:
        _join(top, node, "")
    return top


def _join(into: TreeNode, node: TreeNode, prefix: str) -> None:
    for name, entry in _entries(node):
        there = into.files.get(name) or into.symlinks.get(name) or into.directories.get(name)
        if isinstance(entry, TreeNode):
            child = TreeNode() if there is None else there
            if not isinstance(child, TreeNode):
                raise _differs(prefix + name)
            into.directories[name] = child
            _join(child, entry, f"{prefix}{name}/")
        elif there is not None and there != entry:
            raise _differs(prefix + name)
        elif isinstance(entry, str):
            into.symlinks[name] = entry
        else:
            into.files[name] = entry


def _entries(node: TreeNode) -> Iterator[tuple[str, TreeNode | str | tuple[Digest, bool]]]:
    yield from node.files.items()
    yield from node.symlinks.items()
    yield from node.directories.items()


def _differs(path: str) -> InvalidArgument:
    return InvalidArgument(f"{path} is there twice and differs")


def chosen(top: TreeNode, patterns: Sequence[str], *, may_lack: bool = False) -> TreeNode:
    """The entries that the patterns mean, with all below them; `.` means everything.

    Raises NotFound for a pattern that means nothing, unless they `may_lack` some.
    """
    if "." in patterns:
        return top
    used: set[str] = set()

    def choose(node: TreeNode, prefix: str) -> TreeNode:
        found = TreeNode()
        for name, entry in _entries(node):
            path = prefix + name
            meant = [pattern for pattern in patterns if matches(pattern, path)]
            used.update(meant)
            if isinstance(entry, TreeNode):
                inner = choose(entry, f"{path}/")
                if meant:
                    found.directories[name] = entry
                elif inner.files or inner.symlinks or inner.directories:
                    found.directories[name] = inner
            elif meant and isinstance(entry, str):
                found.symlinks[name] = entry
            elif meant and not isinstance(entry, str):
                found.files[name] = entry
        return found

    found = choose(top, "")
    unused = [pattern for pattern in patterns if pattern not in used]
    if unused and not may_lack:
        raise NotFound(f"no artifact is {' or '.join(unused)}")
    return found


def has(top: TreeNode, path: str) -> bool:
    """Whether there is anything at a path."""
    node = top
    *above, name = path.split("/")
    for part in above:
        if part not in node.directories:
            return False
        node = node.directories[part]
    return path == "." or any(name in one for one in (node.files, node.symlinks, node.directories))


def to_download(top: TreeNode) -> Entries:
    """What is to be written; raises InvalidArgument for a place that is not safe."""
    entries = Entries()

    def add(node: TreeNode, prefix: str) -> None:
        for name, entry in _entries(node):
            if isinstance(entry, TreeNode):
                entries.add_directory(prefix + name)
                add(entry, f"{prefix}{name}/")
            elif isinstance(entry, str):
                entries.add_symlink(prefix + name, entry)
            else:
                entries.add_file(prefix + name, *entry)

    add(top, "")
    return entries
