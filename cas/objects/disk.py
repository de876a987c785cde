"""Objects as files: published by rename, read in chunks, taken out by rename too.

blobs/<object name>     whole, and hashed before it got this name
incoming/               being written; emptied at start
quarantine/             damaged, kept for whoever looks for the cause
"""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from reapi.core.digest import Digest, Hasher
from reapi.core.errors import Unavailable

from .disk_errors import disk_error, has_inodes
from .disk_stamp import Stamp, stamp_of
from .disk_writer import DiskWriter, Volume
from .interface import CHUNK_BYTES, NoObject, ObjectInfo
from .names import new_suffix, object_name, parse_object_name
from .page_cache import LARGE_BYTES, RecentFiles

T = TypeVar("T")

_LISTED_AT_ONCE = 2000
_LARGEST_MARGIN_BYTES = 64 << 20
_MARGIN_SHARE = 16


class DiskObjects:
    """The files of one data directory. Bytes are moved by `threads`.

    With `survives_power_loss` an object is synced before it is published, and its name after that.
    Large ones leave the page cache a while after they were written, unless `is_cache`.
    `free_disk_share` of the disk does not count as free.
    """

    def __init__(
        self,
        data_dir: Path,
        threads: Executor,
        *,
        survives_power_loss: bool = False,
        is_cache: bool = False,
        free_disk_share: float = 0.0,
    ) -> None:
        self._blobs = data_dir / "blobs"
        self._quarantine = data_dir / "quarantine"
        self._threads = threads
        self._free_disk_share = free_disk_share
        self._recent = None if is_cache else RecentFiles()
        self._volume = Volume(data_dir / "incoming", survives_power_loss)
        for directory in (self._blobs, self._volume.incoming, self._quarantine):
            directory.mkdir(parents=True, exist_ok=True)

    async def create(self, digest: Digest, ending: str = "") -> DiskWriter:
        """See ObjectStore."""
        suffix = new_suffix() + ending
        path = self._blobs / object_name(digest, suffix)
        recent = self._recent if digest.size_bytes >= LARGE_BYTES else None
        return DiskWriter(self._volume, path, suffix, self._threads, recent)

    async def open(self, name: str, offset: int, end: int) -> "DiskReader":
        """See ObjectStore."""
        try:
            descriptor = os.open(self._blobs / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NoObject(name) from error
        except OSError as error:
            if error.errno == errno.EIO:  # of this file: reading it would fail as well (D2)
                raise NoObject(name) from error
            raise Unavailable(f"cannot read {name}: {error.strerror}") from error
        return DiskReader(descriptor, offset, end, self._threads)

    async def delete(self, names: Sequence[str]) -> None:
        """See ObjectStore."""
        await self._in_thread(self._delete, names)

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            path = self._blobs / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise disk_error(error, path) from error

    async def quarantine(self, name: str) -> None:
        """See ObjectStore."""
        path = self._blobs / name
        try:
            path.rename(self._quarantine / path.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk_error(error, path) from error

    async def list(self) -> AsyncIterator[Sequence[ObjectInfo]]:
        """See ObjectStore."""
        infos = self._walk()
        while batch := await self._in_thread(_take, infos):
            yield batch

    def _walk(self) -> Iterator[ObjectInfo]:
        for path in self._blobs.glob("**/*-*"):
            name = path.relative_to(self._blobs).as_posix()
            if parse_object_name(name) is None:
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # deleted meanwhile
            yield ObjectInfo(name, status.st_size, int(status.st_mtime))

    async def check(self) -> None:
        """See ObjectStore."""
        await self._in_thread(self._volume.probe, self._blobs)

    def free_bytes(self) -> int:
        """What the file system has left for us.

        A part of the disk stays free, since databases need room to make room.
        """
        status = os.statvfs(self._volume.incoming)
        disk_bytes = status.f_blocks * status.f_frsize
        margin = min(_LARGEST_MARGIN_BYTES, disk_bytes // _MARGIN_SHARE)
        margin = max(margin, int(disk_bytes * self._free_disk_share))
        return max(0, status.f_bavail * status.f_frsize - margin)

    def has_inodes(self) -> bool:
        """Whether the file system can hold one more object, of whatever size."""
        return has_inodes(self._volume.incoming)

    def _in_thread(self, function: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


class DiskReader:
    """A file that is closed when the last user lets go of it, which may be a thread."""

    def __init__(self, descriptor: int, offset: int, end: int, threads: Executor) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._end = end
        self._threads = threads

    def __del__(self) -> None:
        os.close(self._descriptor)

    @property
    def stamp(self) -> Stamp:
        """As of now."""
        return stamp_of(os.fstat(self._descriptor))

    async def chunks(self, hasher: Hasher | None) -> AsyncGenerator[bytes, None]:
        """See ObjectReader. What is in the page cache and needs no hash is read right here."""
        loop = asyncio.get_running_loop()
        offset = self._offset
        while offset < self._end:
            size = min(CHUNK_BYTES, self._end - offset)
            if hasher is None and self._is_cached(offset, size):
                chunk = self._read(offset, size, None)
            else:
                chunk = await loop.run_in_executor(self._threads, self._read, offset, size, hasher)
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    def _is_cached(self, offset: int, size: int) -> bool:
        """Whether reading needs no disk, by its first and last byte."""
        byte = bytearray(1)
        try:
            for position in (offset, offset + size - 1):
                if os.preadv(self._descriptor, [byte], position, os.RWF_NOWAIT) == 0:
                    return False
        except OSError:  # not cached, or a file system that cannot say
            return False
        return True

    def _read(self, offset: int, size: int, hasher: Hasher | None) -> bytes:
        """Nothing at the end of the file, and where the disk fails."""
        try:
            chunk = os.pread(self._descriptor, size, offset)
        except OSError:
            return b""
        if hasher is not None:
            hasher.update(chunk)
        return chunk


def _take(infos: Iterator[ObjectInfo]) -> list[ObjectInfo]:
    return list(islice(infos, _LISTED_AT_ONCE))
