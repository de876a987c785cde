"""Copies into the fast tier, made from bytes that pass by anyway; nobody depends on them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from reapi.core.digest import Digest
from reapi.core.errors import ReapiError
from reapi.core.interfaces import BlobStore

from .feed import BlobFeed
from .metrics import TierMetrics

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
"""For which one fill may hold up the reader or writer whose bytes it copies, all in all."""

_MOST_FILLS = 64
"""At once, each with FEED_BYTES in memory at most, or one batch; more are left out."""


class Fill:
    """The copy of one blob. It never fails its owner: what goes wrong is counted by `Fills`.

    `end` or `cancel` must follow.
    """

    def __init__(self, fills: "Fills", store: BlobStore, digest: Digest) -> None:
        self._fills = fills
        self._digest = digest
        self._feed = BlobFeed(store, digest)
        self._put_bytes = 0
        self._patience_seconds = PATIENCE_SECONDS
        self.task = self._feed.task

    async def put(self, chunk: bytes) -> None:
        """Takes the next chunk, unless the fill is over or has been waited for too long."""
        if self.task.done():
            return
        self._put_bytes += len(chunk)
        now = asyncio.get_running_loop().time
        began = now()
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._feed.put(chunk)
        except TimeoutError:
            self._give_up()
        self._patience_seconds -= now() - began

    async def passing(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The same chunks, each of which was put before it is yielded."""
        async for chunk in chunks:
            await self.put(chunk)
            yield chunk

    def end(self) -> None:
        """No more chunks come: the copy is completed in the background, if all of them came."""
        if self._put_bytes == self._digest.size_bytes:
            self._feed.end()
        else:
            self.cancel()

    def cancel(self) -> None:
        """Leaves nothing behind, unless the fast tier had all it needed already."""
        self.task.cancel()

    async def settled(self) -> None:
        """Waits until the fill is over, for as long as there is patience left."""
        await asyncio.wait((self.task,), timeout=max(0, self._patience_seconds))

    def _give_up(self) -> None:
        if not self.task.done():
            self._fills.failed("it is too slow")
            self.cancel()


class Fills:
    """The owner of all fills of one fast tier; `close` ends them.

    Failures are counted, and logged when they begin, not one by one.
    """

    def __init__(self, store: BlobStore, metrics: TierMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_failing = False

    def begin(self, digest: Digest) -> Fill | None:
        """The fill of a blob whose chunks are about to pass; None when there are too many."""
        if self._is_busy():
            return None
        fill = Fill(self, self._store, digest)
        self._keep(fill.task)
        fill.task.add_done_callback(self._filled)
        return fill

    def write_many(self, blobs: Mapping[Digest, bytes]) -> "asyncio.Task[None] | None":
        """Copies whole blobs in the background; None when there is nothing to wait for."""
        if not blobs or self._is_busy():
            return None
        task = asyncio.create_task(self._write_many(blobs))
        self._keep(task)
        return task

    async def close(self) -> None:
        """Gives the copies that are under way the usual patience, and drops the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def failed(self, reason: object, blobs: int = 1) -> None:
        """Counts blobs that could not be copied."""
        self._metrics.fill_failures.inc(blobs)
        if not self._is_failing:
            logger.warning("the fast tier takes no copies for now: %s", reason)
            self._is_failing = True

    def _is_busy(self) -> bool:
        if len(self._tasks) < _MOST_FILLS:
            return False
        self.failed("too many are under way")
        return True

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _filled(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._succeeded(1)
        elif isinstance(error, ReapiError):
            self.failed(error)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and not isinstance(task.exception(), ReapiError | None):
            self._metrics.fill_failures.inc()
            logger.error("the fast tier failed", exc_info=task.exception())

    def _succeeded(self, blobs: int) -> None:
        self._metrics.fills.inc(blobs)
        self._is_failing = False

    async def _write_many(self, blobs: Mapping[Digest, bytes]) -> None:
        try:
            failures = await self._store.write_many(blobs)
        except ReapiError as error:
            failures = dict.fromkeys(blobs, error)
        if len(failures) < len(blobs):
            self._succeeded(len(blobs) - len(failures))
        for failure in failures.values():
            self.failed(failure)
