"""What is known to be on disk below an input root, and what it takes to hold another one instead.

Nothing here touches a disk; staged_tree.py does.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from reapi.core.errors import InvalidArgument

from .cached_file import CachedFile, FileKey, Link
from .input_tree import EMPTY_DIRECTORY, InputDirectory

OutputParents: TypeAlias = dict[str, "OutputParents"]
"""Directories to be there beside those of the input root, by name (IN6)."""


class Stamp(NamedTuple):
    """All that changes with the entries of a directory, or with who may change them."""

    inode: int
    modified_ns: int
    changed_ns: int
    mode: int
    uid: int
    gid: int

    def without_times(self) -> "Stamp":
        return self._replace(modified_ns=0, changed_ns=0)


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a directory by what `lstat` says."""
    return Stamp(
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode,
        status.st_uid,
        status.st_gid,
    )


class StagedDirectory:
    """The entries of one directory on disk.

    `directory` is the input Directory that it holds exactly, together with `parents`; None when
    something in it or below is not as it was staged. `is_gone` once it was removed.
    """

    __slots__ = (
        "children",
        "directory",
        "is_gone",
        "links",
        "parent",
        "parents",
        "path",
        "stamp",
        "symlinks",
    )

    def __init__(self, path: str, parent: "StagedDirectory | None" = None) -> None:
        self.path = path
        self.parent = parent
        self.directory: InputDirectory | None = None
        self.parents: OutputParents = {}
        self.links: dict[str, Link] = {}
        self.symlinks: dict[str, str] = {}
        self.children: dict[str, StagedDirectory] = {}
        self.stamp = Stamp(0, 0, 0, 0, 0, 0)
        self.is_gone = False

    def walk(self) -> "Iterator[StagedDirectory]":
        """This and all below, parents first."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo += node.children.values()

    def forget(self, name: str) -> list[CachedFile]:
        """Strikes out an entry that is no longer there; returns the files that it linked."""
        self.set_incomplete()
        if name in self.links:
            return [self.links.pop(name).file]
        if name in self.children:
            gone = list(self.children.pop(name).walk())
            for node in gone:
                node.is_gone = True
            return [link.file for node in gone for link in node.links.values()]
        self.symlinks.pop(name, None)
        return []

    def set_incomplete(self) -> None:
        """Neither this nor any directory above holds exactly what was staged."""
        node: StagedDirectory | None = self
        while node is not None:
            node.directory = None
            node = node.parent


@dataclass(slots=True)
class Change:
    """What to do in one directory, in the order of the fields."""

    node: StagedDirectory
    directory: InputDirectory
    parents: OutputParents
    is_new: bool
    remove: list[str] = field(default_factory=list)
    symlinks: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, FileKey]] = field(default_factory=list)


def changes_to(
    root: StagedDirectory, directory: InputDirectory, parents: OutputParents
) -> list[Change]:
    """What turns `root` into `directory` and `parents`, directories before those in them.

    Changes nothing. Raises InvalidArgument when the parent of an output is to be a file.
    """
    changes: list[Change] = []
    _compare(Change(root, directory, parents, is_new=False), changes)
    return changes


def _compare(change: Change, changes: list[Change]) -> None:
    node, directory = change.node, change.directory
    if (
        node.directory is not None
        and node.directory.digest == directory.digest
        and node.parents == change.parents
    ):
        return
    changes.append(change)
    for name, key in directory.files.items():
        if name in change.parents:
            raise InvalidArgument(f"the input file {name!r} stands where an output's parent is")
        link = node.links.get(name)
        if link is None or link.file.key != key:
            change.files.append((name, key))
            if link is not None:
                change.remove.append(name)
    change.remove += [name for name in node.links if name not in directory.files]
    for name, target in directory.symlinks.items():
        if node.symlinks.get(name) != target:
            change.symlinks.append((name, target))
            if name in node.symlinks:
                change.remove.append(name)
    change.remove += [name for name in node.symlinks if name not in directory.symlinks]
    _compare_children(change, changes)


def _compare_children(change: Change, changes: list[Change]) -> None:
    node, directory = change.node, change.directory
    made = (
        (name, EMPTY_DIRECTORY)
        for name in change.parents
        if name not in directory.directories and name not in directory.symlinks
    )
    wanted = {**directory.directories, **dict(made)}
    change.remove += [name for name in node.children if name not in wanted]
    for name, below in wanted.items():
        child = node.children.get(name)
        _compare(
            Change(
                child or StagedDirectory(f"{node.path}/{name}", node),
                below,
                change.parents.get(name, {}),
                is_new=child is None,
            ),
            changes,
        )
