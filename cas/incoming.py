"""A blob while its bytes arrive: hashed and written once, and nothing to be seen of it before."""

import asyncio
import os
from asyncio import Future
from concurrent.futures import Executor
from pathlib import Path

from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument

from .stores.disk import disk_error

_HOP_BYTES = 256 << 10
"""So much is worth a trip to a thread; smaller chunks wait for company."""


def wrong_bytes(digest: Digest) -> InvalidArgument:
    """The error for a blob that is not what its name says (BS15)."""
    return InvalidArgument(f"the bytes do not hash to {digest}: did the file change meanwhile?")


class IncomingBlob:
    """Collects the chunks of one blob, in memory if it stays in memory, else in a file.

    Chunks are taken before the earlier ones are on disk: a caller receives the next while a thread
    hashes and writes. A cancelled call loses no byte that was taken.
    """

    def __init__(self, digest: Digest, path: Path | None, threads: Executor) -> None:
        self.digest = digest
        self.path = path
        self.received_bytes = 0
        self._threads = threads
        self._hasher = digest.function.new()
        self._chunks: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._work: Future[None] | None = None
        self._descriptor: int | None = None

    async def append(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes; InvalidArgument as soon as there are too many."""
        if self.received_bytes + len(chunk) > self.digest.size_bytes:
            raise InvalidArgument(f"more than the {self.digest.size_bytes} bytes of {self.digest}")
        self._chunks.append(chunk)
        self.received_bytes += len(chunk)
        self._waiting_bytes += len(chunk)
        if self.path is not None and self._waiting_bytes >= _HOP_BYTES:
            await self._start_work()

    async def finish(self) -> bytes | None:
        """Verifies the blob: its bytes, or None when they are in the file, which is whole now.

        Raises InvalidArgument when the bytes are not those of the digest.
        """
        if self.received_bytes != self.digest.size_bytes:
            raise InvalidArgument(
                f"{self.received_bytes} bytes came of the {self.digest.size_bytes} of {self.digest}"
            )
        if self.path is None:
            data = b"".join(self._chunks)
            self._hasher.update(data)
        else:
            await self._start_work()
            await self._end_work()
            self._close()
            data = None
        if self._hasher.hexdigest() != self.digest.hash:
            raise wrong_bytes(self.digest)
        return data

    async def discard(self) -> None:
        """Leaves nothing behind; the thread's present work is waited for."""
        self._chunks.clear()
        if self._work is not None and not self._work.done():
            await asyncio.wait((self._work,))
        self._close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    async def _start_work(self) -> None:
        await self._end_work()
        chunks, self._chunks = self._chunks, []
        self._waiting_bytes = 0
        loop = asyncio.get_running_loop()
        self._work = loop.run_in_executor(self._threads, self._write, chunks)

    async def _end_work(self) -> None:
        """Waits without cancelling: a thread cannot be cancelled, and its bytes count already."""
        while self._work is not None:
            work = self._work
            await asyncio.wait((work,))
            if self._work is work:
                work.result()
                self._work = None

    def _write(self, chunks: list[bytes | memoryview]) -> None:
        """Runs in a thread, one call at a time."""
        assert self.path is not None
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            for chunk in chunks:
                self._hasher.update(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise disk_error(error, self.path) from error

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
