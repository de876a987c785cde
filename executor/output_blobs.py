"""The bytes that an action produced: hashed once, and uploaded where they are missing.

Both at the same time, where there is more than one batch of them.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Self, TypeAlias

from reapi.clients.concurrency import map_bounded
from reapi.clients.patient_blobs import PatientBlobStore
from reapi.core.digest import Digest, DigestFunction, digest_of
from reapi.core.errors import Internal, InvalidArgument
from reapi.core.uninterrupted import uninterrupted

from .tally import Tally

OpenFile = Callable[[], int]
"""Opens a file for reading; the caller closes the descriptor."""

_HELD_FILE_BYTES = 1 << 20
_HELD_BYTES = 16 << 20
"""What is kept in memory until it is uploaded: files up to the one size, in all the other."""

_CHUNK_BYTES = 1 << 20
_BATCH_BYTES = 3_500_000
_OVERHEAD_BYTES = 200
_UPLOADS_AT_ONCE = 4


_Blobs: TypeAlias = dict[Digest, bytes | OpenFile]


class OutputBlobs:
    """Blobs on their way to a store. Equal ones count once; the empty one needs no upload (G3).

    They may be added in another thread, by one at a time. An async context manager, whose end
    cancels uploads that nobody waits for.
    """

    def __init__(self, function: DigestFunction) -> None:
        self.function = function
        self._uploads: list[asyncio.Task[None]] = []
        self._at_once = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        self._begin_early: Callable[[], object] = lambda: None
        self._known: set[Digest] = set()
        self._lock = threading.Lock()
        """Guards what follows, which is filled in one thread and emptied in another."""
        self._waiting: _Blobs = {}
        self._waiting_bytes = 0
        self._sending: _Blobs = {}
        self._held_bytes = 0
        self.uploaded = Tally()
        self.present = Tally()
        """What `upload` has sent, and what the store had already."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._uploads:
            task.cancel()
        await asyncio.gather(*self._uploads, return_exceptions=True)

    def add(self, data: bytes) -> Digest:
        """A blob that is in memory."""
        digest = digest_of(data, self.function)
        self._add(digest, data)
        return digest

    def add_file(self, open_file: OpenFile, size_bytes: int) -> Digest:
        """A file of about that size, which nobody writes to any more. Blocks while hashing it."""
        fd = open_file()
        try:
            return self.add_open_file(fd, size_bytes, open_file)
        finally:
            os.close(fd)

    def add_open_file(self, fd: int, size_bytes: int, open_file: OpenFile) -> Digest:
        """The same of a file that is open as `fd` now."""
        if size_bytes <= min(_HELD_FILE_BYTES, _HELD_BYTES - self._held_bytes):
            data = os.pread(fd, _HELD_FILE_BYTES + 1, 0)
            if len(data) <= _HELD_FILE_BYTES:
                return self.add(data)
        hasher, size_bytes = self.function.new(), 0
        while chunk := os.pread(fd, _CHUNK_BYTES, size_bytes):
            hasher.update(chunk)
            size_bytes += len(chunk)
        digest = Digest(hasher.hexdigest(), size_bytes, self.function)
        self._add(digest, open_file)
        return digest

    def held(self, digest: Digest) -> bytes | None:
        """The bytes, if they are in memory."""
        with self._lock:
            blob = self._waiting.get(digest) or self._sending.get(digest)
        if digest.size_bytes == 0:
            return b""
        return blob if isinstance(blob, bytes) else None

    def upload_early(self, store: PatientBlobStore) -> None:
        """From now on the upload of a batch begins when it is full, while more are being added."""
        loop = asyncio.get_running_loop()
        self._begin_early = partial(loop.call_soon_threadsafe, self._begin, store)

    async def upload(self, store: PatientBlobStore) -> None:
        """Returns when all are stored; raises what the store raised for one of them (IN19).

        What the store has already is not sent again, unless it is so little that asking is more.
        """
        self._begin(store)
        try:
            await map_bounded(_finished, self._uploads, at_once=len(self._uploads))
        except (InvalidArgument, OSError) as error:
            raise Internal("an output changed after its command had ended") from error

    def _add(self, digest: Digest, blob: bytes | OpenFile) -> None:
        if not digest.size_bytes or digest in self._known:
            return
        self._known.add(digest)
        with self._lock:
            self._waiting[digest] = blob
            was_full = self._waiting_bytes > _BATCH_BYTES
            self._waiting_bytes += digest.size_bytes + _OVERHEAD_BYTES
            is_full = self._waiting_bytes > _BATCH_BYTES
            self._held_bytes += _held_bytes(blob)
        if is_full and not was_full:
            self._begin_early()

    def _begin(self, store: PatientBlobStore) -> None:
        """Takes what waits, and begins to upload it."""
        with self._lock:
            blobs, self._waiting = self._waiting, {}
            is_little = not self._uploads and self._waiting_bytes <= _BATCH_BYTES
            self._waiting_bytes = 0
            self._sending |= blobs
        if blobs:
            is_held = all(isinstance(blob, bytes) for blob in blobs.values())
            uploading = self._upload(store, blobs, ask_first=not (is_little and is_held))
            self._uploads.append(asyncio.create_task(uploading))

    async def _upload(self, store: PatientBlobStore, blobs: _Blobs, *, ask_first: bool) -> None:
        digests = await store.find_missing(list(blobs)) if ask_first else list(blobs)
        send = partial(self._send, store, blobs)
        await map_bounded(send, _batches(digests), at_once=_UPLOADS_AT_ONCE)
        self.uploaded.add(digests)
        self.present.add(blobs.keys() - set(digests))
        with self._lock:
            for digest, blob in blobs.items():
                del self._sending[digest]
                self._held_bytes -= _held_bytes(blob)

    async def _send(self, store: PatientBlobStore, blobs: _Blobs, batch: Sequence[Digest]) -> None:
        async with self._at_once:
            blob = blobs[batch[0]]
            if not isinstance(blob, bytes) and batch[0].size_bytes > _HELD_FILE_BYTES:
                return await store.write_from(batch[0], partial(_chunks, blob))
            held = {digest: blob for digest in batch if isinstance(blob := blobs[digest], bytes)}
            files = {digest: blob for digest in batch if callable(blob := blobs[digest])}
            read = await asyncio.to_thread(_read_all, files) if files else {}
            for error in (await store.write_many(held | read)).values():
                raise error


async def _chunks(open_file: OpenFile) -> AsyncGenerator[bytes, None]:
    fd, offset = open_file(), 0
    try:
        while chunk := await uninterrupted(asyncio.to_thread(os.pread, fd, _CHUNK_BYTES, offset)):
            offset += len(chunk)
            yield chunk
    finally:
        os.close(fd)


def _read_all(files: Mapping[Digest, OpenFile]) -> dict[Digest, bytes]:
    blobs = {}
    for digest, open_file in files.items():
        fd = open_file()
        try:
            blobs[digest] = os.pread(fd, digest.size_bytes, 0)
        finally:
            os.close(fd)
    return blobs


async def _finished(task: asyncio.Task[None]) -> None:
    await task


def _held_bytes(blob: bytes | OpenFile) -> int:
    return len(blob) if isinstance(blob, bytes) else 0


def _batches(digests: Iterable[Digest]) -> list[list[Digest]]:
    """Large blobs stand alone."""
    batches: list[list[Digest]] = []
    room = 0
    for digest in digests:
        if digest.size_bytes > _HELD_FILE_BYTES:
            batches.insert(0, [digest])
            continue
        needed = digest.size_bytes + _OVERHEAD_BYTES
        if needed > room:
            batches.append([])
            room = _BATCH_BYTES
        batches[-1].append(digest)
        room -= needed
    return batches
