"""Reads the files of large blobs, and hashes those that somebody else may have changed."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path

from reapi.core.digest import Digest, Hasher

from .stores.disk import DiskStore, Stamp, stamp_of

CHUNK_BYTES = 1 << 20
_VERIFIED_FILES = 100_000


class DamagedFile(Exception):
    """The file is not what its name says; `stamp` is None when there is no file."""

    def __init__(self, stamp: Stamp | None) -> None:
        super().__init__()
        self.stamp = stamp


class FileReader:
    """Chunks of files. A file with the stamp of a verified one is not hashed again."""

    def __init__(self, disk: DiskStore, threads: Executor) -> None:
        self._disk = disk
        self._threads = threads
        self._verified: OrderedDict[Digest, Stamp] = OrderedDict()

    def trust(self, digest: Digest, stamp: Stamp) -> None:
        """The file with this stamp was verified just now."""
        self._verified[digest] = stamp
        self._verified.move_to_end(digest)
        if len(self._verified) > _VERIFIED_FILES:
            self._verified.popitem(last=False)

    async def read(self, digest: Digest, offset: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `offset` to `end`; DamagedFile comes before the last of them."""
        file = _open(self._disk.path(digest))
        stamp = file.stamp()
        if stamp.size_bytes != digest.size_bytes:
            raise DamagedFile(stamp)
        hasher = None
        if self._verified.get(digest) != stamp:
            hasher = digest.function.new()
            if offset > 0 or end < digest.size_bytes:
                await self._verify(file, digest, stamp, hasher)
                hasher = None
        while offset < end:
            size = min(CHUNK_BYTES, end - offset)
            chunk = await self._chunk(file, offset, size, hasher)
            if len(chunk) < size:
                raise DamagedFile(stamp)
            offset += size
            if hasher is not None and offset == end:
                self._check(file, digest, stamp, hasher)
            yield chunk

    async def _chunk(
        self, file: "_OpenFile", offset: int, size: int, hasher: Hasher | None
    ) -> bytes:
        if hasher is None and file.is_cached(offset, size):
            return file.read(offset, size)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, file.read, offset, size, hasher)

    async def _verify(
        self, file: "_OpenFile", digest: Digest, stamp: Stamp, hasher: Hasher
    ) -> None:
        """Hashes all of a file of which only a part is wanted."""
        loop = asyncio.get_running_loop()
        for offset in range(0, digest.size_bytes, CHUNK_BYTES):
            await loop.run_in_executor(self._threads, file.read, offset, CHUNK_BYTES, hasher)
        self._check(file, digest, stamp, hasher)

    def _check(self, file: "_OpenFile", digest: Digest, stamp: Stamp, hasher: Hasher) -> None:
        if hasher.hexdigest() != digest.hash:
            raise DamagedFile(stamp)
        if file.stamp() == stamp:
            self.trust(digest, stamp)


class _OpenFile:
    """A file that is closed when the last user lets go of it, which may be a thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)

    def stamp(self) -> Stamp:
        return stamp_of(os.fstat(self._descriptor))

    def is_cached(self, offset: int, size: int) -> bool:
        """Whether reading needs no disk, by its first and last byte."""
        byte = bytearray(1)
        try:
            for position in (offset, offset + size - 1):
                if os.preadv(self._descriptor, [byte], position, os.RWF_NOWAIT) == 0:
                    return False
        except OSError:  # not cached, or a file system that cannot say
            return False
        return True

    def read(self, offset: int, size: int, hasher: Hasher | None = None) -> bytes:
        """Short only at the end of the file, or where the disk fails."""
        try:
            chunk = os.pread(self._descriptor, size, offset)
        except OSError:
            return b""
        if hasher is not None:
            hasher.update(chunk)
        return chunk


def _open(path: Path) -> _OpenFile:
    try:
        return _OpenFile(os.open(path, os.O_RDONLY))
    except FileNotFoundError as error:
        raise DamagedFile(None) from error
