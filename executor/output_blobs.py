"""The bytes that an action produced: hashed once, then uploaded where they are missing."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from reapi.clients.concurrency import map_bounded
from reapi.clients.retry import Retries
from reapi.core.digest import Digest, DigestFunction, digest_of
from reapi.core.errors import Internal, InvalidArgument, Unavailable
from reapi.core.interfaces import BlobStore

from .tally import Tally

OpenFile = Callable[[], int]
"""Opens a file for reading; the caller closes the descriptor."""

_HELD_FILE_BYTES = 1 << 20
_HELD_BYTES = 16 << 20
"""What is kept in memory between hashing and upload: files up to the one size, in all the other."""

_CHUNK_BYTES = 1 << 20
_BATCH_BYTES = 3_500_000
_OVERHEAD_BYTES = 200
_UPLOADS_AT_ONCE = 4
_PATIENCE_SECONDS = 30.0


class OutputBlobs:
    """Blobs waiting for their upload. Equal ones count once; the empty one needs no upload (G3)."""

    def __init__(self, function: DigestFunction) -> None:
        self.function = function
        self._held: dict[Digest, bytes] = {}
        self._held_bytes = 0
        self._files: dict[Digest, OpenFile] = {}
        self.uploaded = Tally()
        self.present = Tally()
        """What `upload` has sent, and what the store had already."""

    def add(self, data: bytes) -> Digest:
        """A blob that is in memory."""
        digest = digest_of(data, self.function)
        if data and digest not in self._held:
            self._held[digest] = data
            self._held_bytes += len(data)
        return digest

    def add_file(self, open_file: OpenFile, size_bytes: int) -> Digest:
        """A file of about that size, which nobody writes to any more. Blocks while hashing it."""
        fd = open_file()
        try:
            if size_bytes <= min(_HELD_FILE_BYTES, _HELD_BYTES - self._held_bytes):
                data = os.pread(fd, _HELD_FILE_BYTES + 1, 0)
                if len(data) <= _HELD_FILE_BYTES:
                    return self.add(data)
            hasher, size_bytes = self.function.new(), 0
            while chunk := os.pread(fd, _CHUNK_BYTES, size_bytes):
                hasher.update(chunk)
                size_bytes += len(chunk)
        finally:
            os.close(fd)
        digest = Digest(hasher.hexdigest(), size_bytes, self.function)
        if size_bytes and digest not in self._held:
            self._files[digest] = open_file
        return digest

    def held(self, digest: Digest) -> bytes | None:
        """The bytes, if they are in memory."""
        return b"" if digest.size_bytes == 0 else self._held.get(digest)

    async def upload(self, store: BlobStore) -> None:
        """Returns when all are stored; raises what the store raised for one of them (IN19).

        What the store has already is not sent again, unless it is so little that asking is more.
        """
        held, files = list(self._held), list(self._files)
        if files or self._held_bytes > _BATCH_BYTES:
            missing = set(await store.find_missing([*held, *files]))
            self.present.add(digest for digest in (*held, *files) if digest not in missing)
            held = [digest for digest in held if digest in missing]
            files = [digest for digest in files if digest in missing]
        small = [digest for digest in files if digest.size_bytes <= _HELD_FILE_BYTES]
        large = [digest for digest in files if digest.size_bytes > _HELD_FILE_BYTES]
        try:
            for batch in _batches(held):
                await _write_many(store, {digest: self._held[digest] for digest in batch})
            for batch in _batches(small):
                await _write_many(store, await asyncio.to_thread(self._read_all, batch))
            await map_bounded(partial(self._write_file, store), large, at_once=_UPLOADS_AT_ONCE)
            self.uploaded.add((*held, *files))
        except InvalidArgument as error:
            raise Internal("an output changed after its command had ended") from error

    def _read_all(self, batch: Sequence[Digest]) -> dict[Digest, bytes]:
        blobs = {}
        for digest in batch:
            fd = self._files[digest]()
            try:
                blobs[digest] = os.pread(fd, digest.size_bytes, 0)
            finally:
                os.close(fd)
        return blobs

    async def _write_file(self, store: BlobStore, digest: Digest) -> None:
        """A store that lost its storage half-way has to be given the file from its beginning."""
        retries = Retries(_PATIENCE_SECONDS)
        while True:
            fd = self._files[digest]()
            try:
                return await store.write(digest, _chunks(fd))
            except Unavailable as error:
                await retries.wait(error)
            finally:
                os.close(fd)


async def _write_many(store: BlobStore, blobs: dict[Digest, bytes]) -> None:
    for error in (await store.write_many(blobs)).values():
        raise error


async def _chunks(fd: int) -> AsyncIterator[bytes]:
    offset = 0
    while chunk := await asyncio.to_thread(os.pread, fd, _CHUNK_BYTES, offset):
        offset += len(chunk)
        yield chunk


def _batches(digests: Sequence[Digest]) -> list[list[Digest]]:
    batches: list[list[Digest]] = []
    room = 0
    for digest in digests:
        needed = digest.size_bytes + _OVERHEAD_BYTES
        if needed > room:
            batches.append([])
            room = _BATCH_BYTES
        batches[-1].append(digest)
        room -= needed
    return batches
