"""The directory in which the actions of one slot run, turned from one input root into the next.

Only differences cost: what an action left untouched and the next one wants stays as it is. After
an action, the times of each directory say whether its entries may have changed; those that may
have are compared name by name, inode by inode. What cannot be explained makes all of it new.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from reapi.core.errors import ResourceExhausted
from reapi.core.interfaces import BlobStore
from reapi.core.uninterrupted import uninterrupted

from .cached_file import CachedFile, Link, is_unaltered, may_be_altered
from .input_tree import InputDirectory
from .local_cache import LocalCache
from .staged_directory import Change, OutputParents, StagedDirectory, changes_to, stamp_of
from .tally import Tally
from .trash import Trash, has_attributes

T = TypeVar("T")

_TICK_NS = 20_000_000
"""More than a step of the clock that stamps files: a change so soon after another one need not
show in a directory's times."""

_INLINE_OPERATIONS = 200
"""So many take the event loop a few milliseconds; more are worth the way to a thread."""

_INLINE_LOOKS = 2_000
"""Each takes a system call, which is nothing to what a thread takes that makes so many beside the
event loop: at each of them the two compete for the interpreter."""

_INLINE_FILES = 32
_INLINE_FILE_BYTES = 256 << 10
"""So few files are read again in less time than the way to a thread and back takes."""

_INLINE_DIRECTORY_BYTES = 64 << 10
"""Directories of this size together have some thousand entries at most."""


class _Unexpected(Exception):
    """The tree is in a state that comparing names does not explain."""


class _Vanished(ResourceExhausted):
    """An action that has the rights of this process removed cached files."""


class StagedTree:
    """The tree at `path`, whose directories belong to `uid`, if any.

    With a `uid`, no action can alter a cached file. Without, each file is looked at after each
    action. To be used by one task at a time, while no process of an action lives.
    """

    def __init__(self, path: str, uid: int | None, cache: LocalCache, trash: Trash) -> None:
        self.path = path
        self._uid = uid
        self._cache = cache
        self._trash = trash
        self._damaged_count = 0
        self.fetched = Tally()
        """What the last `stage` had to fetch, as it was not on this machine."""
        self._root = StagedDirectory(path)
        self._make(self._root)

    @property
    def directory(self) -> InputDirectory | None:
        """The input root that is held exactly now."""
        return self._root.directory

    async def stage(
        self, directory: InputDirectory, parents: OutputParents, store: BlobStore
    ) -> None:
        """Makes the tree hold `directory` and the directories of `parents`.

        Raises BlobsMissing for absent files, InvalidArgument when the two contradict each other,
        before anything is changed; ResourceExhausted when the disk is full: the tree is empty then.
        """
        self._drop_damaged_links()
        try:
            await self._stage(directory, parents, store)
        except _Vanished:
            await self._stage(directory, parents, store)

    async def _stage(
        self, directory: InputDirectory, parents: OutputParents, store: BlobStore
    ) -> None:
        changes = changes_to(self._root, directory, parents)
        keys = [key for change in changes for _, key in change.files]
        self.fetched = Tally()
        files = deque(await self._cache.acquire(keys, store, self.fetched))
        released: list[CachedFile] = []
        try:
            operations = len(keys) + sum(1 + len(change.remove) for change in changes)
            if operations <= _INLINE_OPERATIONS:
                self._apply(changes, files, released)
            else:
                await _in_thread(self._apply, changes, files, released)
        except BaseException as error:
            released += files
            await self._clear()
            if isinstance(error, FileNotFoundError) and self._drop_vanished(files):
                raise _Vanished("input files were removed from this worker's cache") from error
            if isinstance(error, OSError):
                raise ResourceExhausted(f"the input root cannot be made: {error}") from error
            raise
        finally:
            self._cache.release(released)

    async def restore(self, started_ns: int) -> None:
        """Undoes what the action that began at `started_ns` did to the tree.

        What it removed or altered is missing afterwards and comes back with the next `stage`.
        """
        released: list[CachedFile] = []
        try:
            if self._uid is None:
                await self._drop_altered(started_ns)
            suspects, size_bytes = self._suspects(started_ns)
            if size_bytes <= _INLINE_DIRECTORY_BYTES:
                self._rescan(suspects, released)
            else:
                await _in_thread(self._rescan, suspects, released)
            self._drop_damaged_links()
            if not self._trash.is_empty:
                await _in_thread(self._trash.empty)
        except (_Unexpected, OSError):
            await self._clear()
        finally:
            self._cache.release(released)
        if self._cache.is_full:
            await self._clear()

    def _apply(
        self, changes: Sequence[Change], files: deque[CachedFile], released: list[CachedFile]
    ) -> None:
        """Takes those of `files` that it links; adds those whose links it removes to `released`."""
        for change in changes:
            node = change.node
            if change.is_new:
                self._make(node)
            for name in change.remove:
                released += self._remove(node, name)
            for name, target in change.symlinks:
                os.symlink(target, f"{node.path}/{name}")
                node.symlinks[name] = target
            if change.files:
                self._link(change, files)
        for change in changes:
            change.node.stamp = stamp_of(os.lstat(change.node.path))
            change.node.directory = change.directory
            change.node.parents = change.parents

    def _link(self, change: Change, files: deque[CachedFile]) -> None:
        fd = os.open(change.node.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for name, _ in change.files:
                change.node.links[name] = files[0].link_to(name, fd)
                files.popleft()
        finally:
            os.close(fd)

    def _make(self, node: StagedDirectory) -> None:
        self._trash.make_directory(node.path)
        os.chmod(node.path, 0o755)  # whatever our umask is (IN15)
        if self._uid is not None:
            os.chown(node.path, self._uid, self._uid)
        node.stamp = stamp_of(os.lstat(node.path))
        if node.parent is not None:
            node.parent.children[os.path.basename(node.path)] = node

    def _remove(self, node: StagedDirectory, name: str) -> list[CachedFile]:
        self._trash.take(f"{node.path}/{name}")
        return node.forget(name)

    def _suspects(self, started_ns: int) -> tuple[list[StagedDirectory], int]:
        """The directories that may have changed since, and how large they are together."""
        suspects, size_bytes = [], 0
        for node in self._root.walk():
            try:
                status = os.lstat(node.path)
            except OSError:
                suspects.append(node)
                continue
            if stamp_of(status) != node.stamp or status.st_ctime_ns > started_ns - _TICK_NS:
                suspects.append(node)
                size_bytes += status.st_size
        return suspects, size_bytes

    def _rescan(self, suspects: Sequence[StagedDirectory], released: list[CachedFile]) -> None:
        """Removes what is not as it was staged; parents come before what is in them."""
        for node in suspects:
            if node.is_gone:
                continue
            _check_rights(node)
            with os.scandir(node.path) as scan:
                entries = list(scan)
            kept = set()
            for entry in entries:
                if _is_as_staged(node, entry):
                    kept.add(entry.name)
                else:
                    self._trash.take(entry.path)
            for name in [*node.links, *node.symlinks, *node.children]:
                if name not in kept:
                    released += node.forget(name)
            node.stamp = stamp_of(os.lstat(node.path))

    async def _drop_altered(self, started_ns: int) -> None:
        """Drops the linked files that somebody wrote to or changed the mode of since then."""
        links = sum(len(node.links) for node in self._root.walk())
        if links <= _INLINE_LOOKS:
            suspects = self._suspect_links(started_ns)
        else:
            suspects = await _in_thread(self._suspect_links, started_ns)
        size_bytes = sum(link.file.key.digest.size_bytes for _, link in suspects)
        if len(suspects) <= _INLINE_FILES and size_bytes <= _INLINE_FILE_BYTES:
            altered = _altered(suspects)
        else:
            altered = await _in_thread(_altered, suspects)
        for file in altered:
            self._cache.drop_damaged(file)

    def _suspect_links(self, started_ns: int) -> list[tuple[str, Link]]:
        """The links to what may have been altered since, each with the path to look at.

        That is the cached file's: what an action altered it may have removed here. Where the file
        was replaced by a copy, or could not be linked, the link is all there is to look at.
        """
        since_ns = started_ns - _TICK_NS
        suspects = []
        fd = os.open(self._cache.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for node in self._root.walk():
                for name, link in node.links.items():
                    is_linked = link.inode == link.file.inode
                    place = link.file.name if is_linked else f"{node.path}/{name}"
                    if may_be_altered(place, fd, link, since_ns):
                        suspects.append((os.path.join(self._cache.directory, place), link))
        finally:
            os.close(fd)
        return suspects

    def _drop_vanished(self, files: Iterable[CachedFile]) -> bool:
        """Forgets those that are no longer there; whether there were any."""
        vanished = [file for file in files if file.has_vanished]
        for file in vanished:
            self._cache.drop_damaged(file)
        return bool(vanished)

    def _drop_damaged_links(self) -> None:
        """Unlinks the files that were altered since the last time, by whichever slot's action."""
        if self._damaged_count == self._cache.damaged_count:
            return
        self._damaged_count = self._cache.damaged_count
        for node in self._root.walk():
            for name in [name for name, link in node.links.items() if link.file.is_damaged]:
                self._cache.release(self._remove(node, name))

    async def remove(self) -> None:
        """Leaves nothing on the disk; the tree cannot be used any more."""
        self._cache.release(self._take_away())
        await _in_thread(self._trash.empty)

    async def _clear(self) -> None:
        """Begins anew with an empty tree."""
        released = self._take_away()
        self._root = StagedDirectory(self.path)
        self._make(self._root)
        self._cache.release(released)
        await _in_thread(self._trash.empty)

    def _take_away(self) -> list[CachedFile]:
        """Moves all to the trash; returns the files that were linked."""
        self._trash.take(self.path)
        return [link.file for node in self._root.walk() for link in node.links.values()]


def _altered(suspects: Iterable[tuple[str, Link]]) -> list[CachedFile]:
    return [link.file for path, link in suspects if not is_unaltered(path, link)]


def _check_rights(node: StagedDirectory) -> None:
    """Raises _Unexpected when it is not the same directory, or its owner or rights have changed."""
    if stamp_of(os.lstat(node.path)).without_times() != node.stamp.without_times():
        raise _Unexpected
    if has_attributes(node.path):
        raise _Unexpected


def _is_as_staged(node: StagedDirectory, entry: "os.DirEntry[str]") -> bool:
    name = entry.name
    if entry.is_symlink():
        return name in node.symlinks and os.readlink(entry.path) == node.symlinks[name]
    if name in node.links:
        return entry.inode() == node.links[name].inode
    return name in node.children and entry.inode() == node.children[name].stamp.inode


async def _in_thread(work: Callable[..., T], *arguments: object) -> T:
    return await uninterrupted(asyncio.to_thread(work, *arguments))
