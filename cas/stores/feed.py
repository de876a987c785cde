"""One blob on its way into a store, for whoever has its chunks and wants to keep the lead."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from reapi.core.digest import Digest
from reapi.core.interfaces import BlobStore

FEED_BYTES = 2 << 20
"""What may wait to be taken by the store, and one chunk more."""


class BlobFeed:
    """A `write` that runs beside its caller, who puts chunks in instead of being asked for them.

    For one caller, who cancels `task` or calls `end`, and waits for `task` in either case: the
    write has succeeded when that ends without an error.
    """

    def __init__(self, store: BlobStore, digest: Digest) -> None:
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_whole = False
        self._changed = asyncio.Event()  # either side waits for the other, never both at once
        self.task = asyncio.create_task(store.write(digest, self._chunks()))
        self.task.add_done_callback(self._ended)

    async def put(self, chunk: bytes) -> bool:
        """Waits until there is room. False when the store takes no more: see what `task` says."""
        if not await self.room():
            return False
        self.take(chunk)
        return True

    async def room(self) -> bool:
        """Waits until there is room; False when the store takes no more."""
        while self._waiting_bytes >= FEED_BYTES and not self.task.done():
            await self._change()
        return not self.task.done()

    def take(self, chunk: bytes) -> None:
        """Puts the next chunk in, be there room or not."""
        if not self.task.done():
            self._waiting.append(chunk)
            self._waiting_bytes += len(chunk)
            self._changed.set()

    def end(self) -> None:
        """That was the last chunk."""
        self._is_whole = True
        self._changed.set()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            while not self._waiting:
                if self._is_whole:
                    return
                await self._change()
            chunk = self._waiting.popleft()
            self._waiting_bytes -= len(chunk)
            self._changed.set()
            yield chunk

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._waiting.clear()
        self._changed.set()
        if not task.cancelled():
            task.exception()  # for the caller, who may have been cancelled before he could ask
