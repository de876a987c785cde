"""The results that this machine keeps: blobs by digest and manifests by key, in one directory."""

import asyncio
import logging
import os
import secrets
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from reapi.core.digest import Digest, DigestFunction

from .delivery import write_all

_LOG = logging.getLogger(__name__)

_EVICTED_TO = 0.9
"""Part of the room that is in use after an eviction, so that not every write makes one."""

_CHUNK_BYTES = 1 << 20

_WRITING_SECONDS = 3600.0
"""No write takes longer."""


class LocalCache:
    """Bounded by `max_size_bytes`, what was not used for longest going first; for one thread.

    Other processes may use the same directory: what they take away is a miss, and what stands
    there appears whole. No call raises OSError: a cache that cannot be written to keeps nothing. A
    blob is verified when it is used for the first time in the life of the process.
    """

    def __init__(self, directory: Path, max_size_bytes: int, function: DigestFunction) -> None:
        self.directory = directory
        self._max_size_bytes = max_size_bytes
        self.function = function
        self._used: OrderedDict[str, int] = OrderedDict()
        self._size_bytes = 0
        self._verified: dict[str, int] = {}

    @property
    def size_bytes(self) -> int:
        """Of all that is known to be in it."""
        return self._size_bytes

    def load(self) -> None:
        """Makes the directory, and finds what is in it. Blocks."""
        try:
            self._load()
        except OSError as error:
            _LOG.warning("the cache in %s is of no use: %s", self.directory, error)

    def _load(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_leftovers()
        found: list[tuple[float, str, int]] = []
        for file in self.directory.glob("*/??/*"):
            with suppress(FileNotFoundError):  # another process evicts
                stat = file.stat()
                found.append((stat.st_mtime, str(file), stat.st_size))
        for _, path, size in sorted(found):
            self._count(path, size)

    def _remove_leftovers(self) -> None:
        """What writers left that were killed; one that writes now is younger."""
        oldest = time.time() - _WRITING_SECONDS
        for path in self.directory.glob("*.tmp"):
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def blob(self, digest: Digest) -> str | None:
        """The path of a file with that content, which must not be changed; None if it is absent."""
        path = self._blob_path(digest)
        try:
            stat = os.stat(path)
        except OSError:
            return None
        if self._verified.get(path) != stat.st_ino:
            if stat.st_size != digest.size_bytes or not self._is_whole(path, digest):
                self._remove(path)
                return None
            self._verified[path] = stat.st_ino
            _mark_used(path)
        self._touch(path, stat.st_size)
        return path

    def put_blob(self, digest: Digest, data: bytes) -> None:
        """Keeps bytes of which that is the digest."""
        path = self._blob_path(digest)
        if self._store(path, data):
            self._note(path, len(data))

    async def put_blob_beside(self, digest: Digest, data: bytes) -> None:
        """As `put_blob`, while this thread goes on with something else."""
        await self._write_beside(self._blob_path(digest), data)

    def manifest(self, key: str) -> bytes | None:
        """What was kept under a key of hexadecimal digits."""
        path = self._manifest_path(key)
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.read()
        except OSError:
            return None
        _mark_used(path)
        self._touch(path, len(data))
        return data

    async def put_manifest_beside(self, key: str, data: bytes) -> None:
        """Keeps bytes under a key of hexadecimal digits, while this thread goes on."""
        await self._write_beside(self._manifest_path(key), data)

    def _blob_path(self, digest: Digest) -> str:
        return f"{self.directory}/blobs/{digest.hash[:2]}/{digest.hash}"

    def _manifest_path(self, key: str) -> str:
        return f"{self.directory}/manifests/{key[:2]}/{key}"

    def _is_whole(self, path: str, digest: Digest) -> bool:
        hasher = self.function.new()
        try:
            with open(path, "rb", buffering=0) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    hasher.update(chunk)
        except OSError:
            return False
        return hasher.hexdigest() == digest.hash

    async def _write_beside(self, path: str, data: bytes) -> None:
        if await asyncio.to_thread(self._store, path, data):
            self._note(path, len(data))

    def _store(self, path: str, data: bytes) -> bool:
        """Makes a file, in any thread; whether that went well."""
        temporary = f"{self.directory}/{secrets.token_hex(8)}.tmp"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            write_all(fd, data)
            _rename(temporary, path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            return False
        finally:
            os.close(fd)
        return True

    def _note(self, path: str, size: int) -> None:
        """Counts a file that was made."""
        self._verified.pop(path, None)
        self._count(path, size)
        self._evict()

    def _touch(self, path: str, size: int) -> None:
        if path in self._used:
            self._used.move_to_end(path)
        else:
            self._count(path, size)

    def _count(self, path: str, size: int) -> None:
        self._size_bytes += size - self._used.pop(path, 0)
        self._used[path] = size

    def _evict(self) -> None:
        if self._size_bytes <= self._max_size_bytes:
            return
        while self._used and self._size_bytes > self._max_size_bytes * _EVICTED_TO:
            self._remove(next(iter(self._used)))

    def _remove(self, path: str) -> None:
        self._size_bytes -= self._used.pop(path, 0)
        self._verified.pop(path, None)
        with suppress(OSError):
            os.unlink(path)


def _rename(temporary: str, path: str) -> None:
    """Into a directory that the first file of it makes."""
    try:
        os.rename(temporary, path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.rename(temporary, path)


def _mark_used(path: str) -> None:
    """For the order in which the next process finds them."""
    with suppress(OSError):
        os.utime(path)
