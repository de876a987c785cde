"""One input file on the executor's disk: links to it, and whether an action has altered it."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import threading
from typing import NamedTuple

from reapi.core.digest import Digest

from .fetch import FILE_TIME_NS, file_mode, make_input_file

_READ_BYTES = 1 << 20

_RENEWAL = threading.Lock()
"""Guards the replacement of files that have too many links, which is rare."""

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP)
"""Of link(2), where the other place is on another device, or the file system has no hard links."""


class FileKey(NamedTuple):
    """Files that differ in the executable bit are different files: the mode is the inode's."""

    digest: Digest
    is_executable: bool


class CachedFile:
    """One file: on its way while `fetching` is set, present when `inode` is, else absent.

    It is `name` in `directory`. `references` counts the places that use it.
    """

    __slots__ = ("directory", "fetching", "inode", "is_damaged", "key", "name", "references")

    def __init__(self, key: FileKey, directory: str) -> None:
        self.key = key
        self.directory = directory
        self.name = key.digest.key.hex() + (".x" if key.is_executable else "")
        self.references = 0
        self.inode = 0
        self.fetching: asyncio.Task[None] | None = None
        self.is_damaged = False

    @property
    def path(self) -> str:
        return f"{self.directory}/{self.name}"

    @property
    def has_vanished(self) -> bool:
        """Whether somebody else has removed it from the cache."""
        return not os.path.lexists(self.path)

    def link_to(self, name: str, directory_fd: int) -> Link:
        """Makes `name` in a directory a hard link to the file. May be called in any thread.

        When a file has as many links as the file system allows, a copy takes its place; where there
        can be no link, `name` is a copy. Raises FileNotFoundError when the file was removed, which
        only an action with the rights of this process can do.
        """
        try:
            return self._link_to(name, directory_fd)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return Link(self, self._copy_to(name, directory_fd))
            if error.errno != errno.EMLINK:
                raise
        with _RENEWAL:
            fresh = f"{self.path}.new"
            self.inode = self._copy_to(fresh)
            os.replace(fresh, self.path)
            return self._link_to(name, directory_fd)

    def _link_to(self, name: str, directory_fd: int) -> Link:
        os.link(self.path, name, dst_dir_fd=directory_fd, follow_symlinks=False)
        return Link(self, self.inode)

    def _copy_to(self, path: str, directory_fd: int | None = None) -> int:
        """Returns the inode of the copy; leaves none behind when it fails."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory_fd)
        try:
            with open(fd, "wb") as copy, open(self.path, "rb") as original:
                shutil.copyfileobj(original, copy, _READ_BYTES)
                copy.flush()
                return make_input_file(fd, is_executable=self.key.is_executable).st_ino
        except BaseException:
            os.unlink(path, dir_fd=directory_fd)
            raise


class Link(NamedTuple):
    """A hard link to a cached file; the inode tells it from anything that took its place."""

    file: CachedFile
    inode: int


def may_be_altered(path: str, directory_fd: int, link: Link, since_ns: int) -> bool:
    """Whether `path` from a directory is not what `link` is to, or was changed since `since_ns`.

    No process can set a file's time of change; but the making of a link changes it, too.
    """
    try:
        status = os.stat(path, dir_fd=directory_fd, follow_symlinks=False)
    except OSError:
        return True
    return status.st_ctime_ns > since_ns or status.st_ino != link.inode


def is_unaltered(path: str, link: Link) -> bool:
    """Whether `path` is what `link` is to, with the bytes and mode that the key of its file says.

    Blocks while it reads them.
    """
    digest, is_executable = link.file.key
    try:
        status = os.lstat(path)
        return (
            status.st_ino == link.inode
            and status.st_size == digest.size_bytes
            and status.st_mtime_ns == FILE_TIME_NS
            and status.st_mode == stat.S_IFREG | file_mode(is_executable=is_executable)
            and _hash(path, digest) == digest.hash
        )
    except OSError:
        return False


def _hash(path: str, digest: Digest) -> str:
    """By the function of `digest`."""
    hasher = digest.function.new()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_READ_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()
