"""One object on its way into the bucket."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TypeVar

import obstore
from obstore.store import S3Store

from reapi.core.digest import Digest, Hasher
from reapi.core.errors import ReapiError

from .interface import NoObject
from .names import new_suffix, object_name
from .s3_config import S3Config
from .s3_requests import PART_BYTES, Requests
from .s3_spool import Spool
from .s3_upload import SPOOL_BYTES, MultipartUpload

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MEMORY_BYTES = 256 << 10
"""An object stays in memory up to here, then it goes to the spool."""

_INLINE_HASH_BYTES = 64 << 10
"""Hashing so much takes less time than the way to a thread and back."""


class S3Writer:
    """An ObjectWriter: objects of one part at most are one PUT, larger ones are uploaded in parts
    while they arrive.

    Memory: _MEMORY_BYTES a stream, and the part buffers that all streams share.
    """

    def __init__(
        self,
        digest: Digest,
        ending: str,
        config: S3Config,
        *,
        stores: "tuple[S3Store, S3Store]",
        requests: Requests,
        spool_dir: Path,
        threads: Executor,
    ) -> None:
        self._suffix = new_suffix() + ending
        self._key = config.key("cas", object_name(digest, self._suffix))
        self._store, self._part_store = stores
        self._requests = requests
        self._spool_dir = spool_dir
        self._threads = threads
        self._received = 0
        self._memory: list[bytes] = []
        self._spool: Spool | None = None
        self._upload: MultipartUpload | None = None
        self._publication: asyncio.Task[None] | None = None
        self._is_published = False

    @property
    def suffix(self) -> str:
        """See ObjectWriter."""
        return self._suffix

    async def write(self, chunks: Sequence[bytes | memoryview], hasher: Hasher) -> None:
        """See ObjectWriter."""
        size = sum(map(len, chunks))
        if self._spool is None and self._received + size <= _MEMORY_BYTES:
            # Copies: a view may keep a whole message alive.
            kept = [bytes(chunk) for chunk in chunks]
            if size <= _INLINE_HASH_BYTES:
                _hash(kept, hasher)
            else:
                await self._in_thread(partial(_hash, kept, hasher))
            self._memory += kept
            self._received += size
            return
        if self._spool is None:
            self._spool = await self._in_thread(self._new_spool)
            self._memory.clear()
        await self._spool_chunks(self._spool, [memoryview(chunk) for chunk in chunks], hasher)

    def _new_spool(self) -> Spool:
        """Runs in a thread."""
        spool = Spool(self._spool_dir, SPOOL_BYTES)
        spool.write(0, self._memory, None)
        return spool

    async def _spool_chunks(self, spool: Spool, chunks: list[memoryview], hasher: Hasher) -> None:
        while chunks:
            room = await self._upload.room() if self._upload else SPOOL_BYTES - self._received
            fitting, chunks = _split(chunks, room)
            await self._in_thread(partial(spool.write, self._received, fitting, hasher))
            size = sum(map(len, fitting))
            self._received += size
            if self._upload is not None:
                self._upload.received(size)
            elif self._received > PART_BYTES:
                self._upload = MultipartUpload(self._part_store, self._key, spool, self._requests)
                self._upload.received(self._received)

    async def publish(self) -> None:
        """See ObjectWriter. When it is cancelled, `discard` waits for the outcome."""
        self._publication = asyncio.create_task(self._publish())
        await asyncio.shield(self._publication)
        self._is_published = True

    async def _publish(self) -> None:
        if self._upload is not None:
            await self._upload.complete()
            return
        data: bytes | memoryview
        if self._spool is None:
            data, store = b"".join(self._memory), self._store
        else:
            data = await self._requests.part(self._received, partial(self._spool.read, 0))
            store = self._part_store
        try:
            await self._requests.run(
                "store an object",
                partial(obstore.put_async, store, self._key, data, use_multipart=False),
            )
        finally:
            del data  # the traceback of an error would keep a part in memory

    async def discard(self) -> None:
        """See ObjectWriter."""
        self._memory.clear()
        if self._publication is not None:
            await self._undo_publication(self._publication)
        elif self._upload is not None:
            await self._upload.discard()
        if self._spool is not None:
            self._spool.clear()

    async def _undo_publication(self, publication: asyncio.Task[None]) -> None:
        """An object may have become visible though `publish` did not return: nobody knows it."""
        await asyncio.wait((publication,))
        publication.exception()  # has been raised by `publish`, unless that was cancelled
        if self._is_published:
            return
        try:
            await self._requests.run(
                "delete an object", lambda: obstore.delete_async(self._store, [self._key])
            )
        except (ReapiError, NoObject) as error:
            logger.warning("an unfinished object may be left at %s: %s", self._key, error)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _hash(chunks: Sequence[bytes], hasher: Hasher) -> None:
    for chunk in chunks:
        hasher.update(chunk)


def _split(chunks: list[memoryview], size_bytes: int) -> tuple[list[memoryview], list[memoryview]]:
    """The first bytes, and the rest."""
    for number, chunk in enumerate(chunks):
        if len(chunk) > size_bytes:
            rest = [chunk[size_bytes:], *chunks[number + 1 :]]
            return [*chunks[:number], chunk[:size_bytes]], rest
        size_bytes -= len(chunk)
    return chunks, []
