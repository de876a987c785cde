"""What differs between two input trees; equal subtrees are not looked at."""

from collections.abc import Iterator
from dataclasses import dataclass

from reapi.core.digest import Digest, parse_digest
from reapi.core.directory import parse_directory
from reapi.core.errors import InvalidArgument
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Directory,
    DirectoryNode,
    FileNode,
    NodeProperties,
    SymlinkNode,
)

Changed = tuple[str, str, str]
"""(path, what was there, what is there); empty where there is nothing."""

_Pair = tuple[str, Digest, Digest]
_Node = FileNode | DirectoryNode | SymlinkNode


@dataclass(frozen=True, slots=True)
class TreeBounds:
    """How much of the trees is read at most: directories, counted in both, and their bytes."""

    most_directories: int = 2000
    most_bytes: int = 8 << 20


async def compare_trees(
    blobs: BlobStore, earlier: Digest, now: Digest, bounds: TreeBounds, most_changes: int
) -> tuple[list[Changed], list[str]]:
    """The changes level by level from the root, and sentences about what was not compared."""
    changes: list[Changed] = []
    notes: list[str] = []
    level: list[_Pair] = [("", earlier, now)]
    directories, room = bounds.most_directories, bounds.most_bytes
    while level:
        wanted: list[_Pair] = []
        for pair in level:
            size = pair[1].size_bytes + pair[2].size_bytes
            if directories >= 2 and size <= room:
                directories -= 2
                room -= size
                wanted.append(pair)
        if len(wanted) < len(level):
            notes.append(
                f"{len(level) - len(wanted)} directories that differ were not compared: "
                "the trees are too large"
            )
        level = []
        for path, before, after in await _read_pairs(blobs, wanted, notes):
            level += _compare(path, before, after, changes)
            if len(changes) > most_changes:
                notes.append("there are more changed inputs; these were found first")
                return changes[:most_changes], notes
    return changes, notes


async def _read_pairs(
    blobs: BlobStore, pairs: list[_Pair], notes: list[str]
) -> list[tuple[str, tuple[Digest, Directory], tuple[Digest, Directory]]]:
    """Both directories of each pair, in order; notes which cannot be had."""
    digests = {digest: None for _, before, after in pairs for digest in (before, after)}
    found = await blobs.read_many([digest for digest in digests if digest.size_bytes])
    read = []
    for path, before, after in pairs:
        both = []
        for digest, which in ((before, "earlier"), (after, "later")):
            data = found.get(digest) if digest.size_bytes else b""
            if data is None:
                notes.append(
                    f"directory {path or '.'} of the {which} action is not stored any more"
                )
                break
            try:
                both.append((digest, parse_directory(data, digest)))
            except InvalidArgument:
                notes.append(f"directory {path or '.'} of the {which} action is malformed")
                break
        if len(both) == 2:
            read.append((path, both[0], both[1]))
    return read


def _compare(
    path: str,
    earlier: tuple[Digest, Directory],
    now: tuple[Digest, Directory],
    changes: list[Changed],
) -> Iterator[_Pair]:
    """Adds the changes of one directory, and gives the pairs below it that differ."""
    function = now[0].function
    before, after = _nodes(earlier[1]), _nodes(now[1])
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one == other:
            continue
        below = f"{path}/{name}" if path else name
        if isinstance(one, DirectoryNode) and isinstance(other, DirectoryNode):
            yield below, parse_digest(one.digest, function), parse_digest(other.digest, function)
        else:
            changes.append((below, _shown(one), _shown(other)))
    if earlier[1].node_properties != now[1].node_properties:
        was, is_now = (f"directory{_properties(one[1].node_properties)}" for one in (earlier, now))
        changes.append((path or ".", was, is_now))


def _nodes(directory: Directory) -> dict[str, _Node]:
    nodes: dict[str, _Node] = {}
    for group in (directory.files, directory.directories, directory.symlinks):
        for node in group:
            nodes[node.name] = node
    return nodes


def _shown(node: _Node | None) -> str:
    if node is None:
        return ""
    if isinstance(node, DirectoryNode):
        return "directory"
    if isinstance(node, SymlinkNode):
        return f"symlink to {node.target[:200]!r}{_properties(node.node_properties)}"
    kind = "executable" if node.is_executable else "file"
    digest = f"{node.digest.hash}/{node.digest.size_bytes}"
    return f"{kind} {digest}{_properties(node.node_properties)}"


def _properties(properties: NodeProperties) -> str:
    """What distinguishes nodes that are otherwise equal; nothing for those without properties."""
    words = [f"{one.name}={one.value}"[:200] for one in properties.properties[:5]]
    if properties.HasField("unix_mode"):
        words.append(f"mode {properties.unix_mode.value:o}")
    if properties.HasField("mtime"):
        words.append(f"mtime {properties.mtime.seconds}.{properties.mtime.nanos:09}")
    return f" ({', '.join(words)})" if words else ""
