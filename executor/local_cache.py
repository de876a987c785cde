"""Input files by digest on the executor's disk, to be hard-linked into input roots.

The index is in memory and the files are not synced: what an earlier process left is not trusted, so
the directory is empty at the start. It is flat: file systems find one name among a million as fast,
and making a directory can cost as much as making a file. Directory messages are never files here.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

from reapi.core.errors import BlobsMissing
from reapi.core.interfaces import BlobStore

from .beneath import open_regular_file, opened_parent
from .cached_file import CachedFile, FileKey
from .fetch import FetchTarget, batches, fetch, make_input_file
from .tally import Tally

_LOG = logging.getLogger(__name__)
_FETCHES_AT_ONCE = 8
_MOST_ADOPTED = 64
_LARGEST_ADOPTED_PART = 16
"""A file may fill this part of the cache at most, to be adopted without being asked for."""


class LocalFile(NamedTuple):
    """A file at `path` below `root` with the content of `key`, outside of the cache."""

    root: str
    path: str
    key: FileKey


class LocalCache:
    """At most `max_size_bytes` of files that nobody uses, least recently used ones removed first.

    A file that is referenced is never removed. For tasks of one event loop; an async context
    manager, whose end cancels all fetches.
    """

    def __init__(self, directory: Path, max_size_bytes: int) -> None:
        self.max_size_bytes = max_size_bytes
        self.size_bytes = 0
        self.damaged_count = 0
        """Grows whenever a file is found altered: who has links looks for damaged ones then."""
        self.directory = str(directory)
        self._files: dict[FileKey, CachedFile] = {}
        self._unused: OrderedDict[FileKey, CachedFile] = OrderedDict()
        self._fetches: set[asyncio.Task[None]] = set()
        self._at_once = asyncio.Semaphore(_FETCHES_AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._fetches:
            task.cancel()
        await asyncio.gather(*self._fetches, return_exceptions=True)

    @property
    def is_full(self) -> bool:
        """Whether there is more than allowed, because it is used."""
        return self.size_bytes > self.max_size_bytes

    def __contains__(self, key: FileKey) -> bool:
        file = self._files.get(key)
        return file is not None and file.inode != 0

    async def acquire(
        self, keys: Iterable[FileKey], store: BlobStore, fetched: Tally | None = None
    ) -> list[CachedFile]:
        """The files in the order of `keys`, each with one more reference; fetches what is absent.

        What it has to fetch is added to `fetched`.
        A file is fetched once however many wait for it, and goes on being fetched when one of them
        stops waiting. Raises BlobsMissing naming all that `store` does not have, or what made a
        fetch fail; then, as when it is cancelled, no reference is held.
        """
        files, absent = [], []
        for key in keys:
            file = self._files.get(key)
            if file is None:
                file = self._add(key)
                absent.append(file)
            elif file.references == 0:
                self._unused.pop(key, None)
            file.references += 1
            files.append(file)
        try:
            if absent:
                self._fetch_all(absent, store)
                if fetched is not None:
                    fetched.add(file.key.digest for file in absent)
            if fetching := {file.fetching for file in files if file.fetching is not None}:
                await asyncio.wait(fetching)
                _check(files, fetching)
        except BaseException:
            self.release(files)
            raise
        self._evict()
        return files

    def release(self, files: Iterable[CachedFile]) -> None:
        """Gives references back; whoever made links has removed them before."""
        for file in files:
            file.references -= 1
            if file.references == 0 and file.inode and not file.is_damaged:
                self._unused[file.key] = file
        self._evict()

    def adopt(self, files: Iterable[LocalFile]) -> None:
        """Moves files here that are not here yet, for they are likely inputs soon.

        Besides the fetch this saves making and deleting an inode, which some file systems are slow
        at. Only for files that nobody can write to once they belong to root. Takes no more than a
        few of them, so as not to block for long.
        """
        for root, path, key in islice(files, _MOST_ADOPTED):
            is_small = key.digest.size_bytes <= self.max_size_bytes // _LARGEST_ADOPTED_PART
            if key in self._files or not is_small:
                continue
            file = self._add(key)
            file.inode = _take_over(root, path, file)
            if file.inode:
                self._unused[key] = file
            else:
                self._remove(file)
        self._evict()

    def drop_damaged(self, file: CachedFile) -> None:
        """Forgets a file whose bytes may no longer be those of its digest."""
        if not file.is_damaged:
            _LOG.error("an action altered the input file %s; it is dropped", file.key.digest)
            file.is_damaged = True
            self.damaged_count += 1
            self._remove(file)

    def _add(self, key: FileKey) -> CachedFile:
        file = self._files[key] = CachedFile(key, self.directory)
        self.size_bytes += key.digest.size_bytes
        return file

    def _remove(self, file: CachedFile) -> None:
        del self._files[file.key]
        self._unused.pop(file.key, None)
        self.size_bytes -= file.key.digest.size_bytes
        if file.inode:
            with suppress(FileNotFoundError):  # gone already, where an action has our own rights
                os.unlink(file.path)

    def _evict(self) -> None:
        while self.is_full and self._unused:
            self._remove(next(iter(self._unused.values())))

    def _fetch_all(self, absent: Sequence[CachedFile], store: BlobStore) -> None:
        by_path = {file.path: file for file in absent}
        targets = [FetchTarget(file.key[0], file.path, file.key[1]) for file in absent]
        for batch in batches(targets):
            files = [by_path[target.path] for target in batch]
            task = asyncio.create_task(self._fetch(batch, files, store))
            self._fetches.add(task)
            task.add_done_callback(self._fetch_ended)
            for file in files:
                file.fetching = task

    async def _fetch(
        self, targets: Sequence[FetchTarget], files: Sequence[CachedFile], store: BlobStore
    ) -> None:
        inodes: dict[str, int] = {}
        try:
            async with self._at_once:
                inodes = await fetch(targets, store)
        finally:
            for file in files:
                file.fetching = None
                file.inode = inodes.get(file.path, 0)
                if not file.inode:
                    self._remove(file)
                elif file.references == 0:
                    self._unused[file.key] = file

    def _fetch_ended(self, task: asyncio.Task[None]) -> None:
        self._fetches.discard(task)
        if not task.cancelled():
            task.exception()  # those who wait have seen it; there may be none of them


def _take_over(root: str, path: str, file: CachedFile) -> int:
    """Makes what is at `path` the cached file; returns its inode, or 0 when it cannot be that."""
    name = path.rpartition("/")[2]
    try:
        with opened_parent(root, path) as parent_fd:
            fd = open_regular_file(name, parent_fd)
            try:
                status = os.fstat(fd)
                if status.st_nlink != 1 or status.st_size != file.key.digest.size_bytes:
                    return 0
                os.fchown(fd, 0, 0)
                make_input_file(fd, is_executable=file.key.is_executable)
            finally:
                os.close(fd)
            os.rename(name, file.path, src_dir_fd=parent_fd)
    except OSError as error:
        _LOG.warning("output %s is not kept for later actions: %s", path, error)
        return 0
    return status.st_ino


def _check(files: Iterable[CachedFile], fetches: Iterable[asyncio.Task[None]]) -> None:
    for task in fetches:
        task.result()
    if missing := {file.key.digest.subject: None for file in files if not file.inode}:
        raise BlobsMissing(missing)
