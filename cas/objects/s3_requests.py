"""Bounds what is under way to one bucket, and translates what it answers."""

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import NoReturn, TypeVar

from reapi.core.errors import Unavailable

from .bounded_pool import BoundedPool
from .interface import NoObject
from .s3_errors import S3_ERRORS, is_absent, s3_error
from .s3_metrics import S3Metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")

PART_BYTES = 8 << 20
"""Of a multipart upload; S3 wants 5 MiB at least."""

_PARTS = 4
"""Held in memory at once, all streams together."""

_REQUESTS = 128
_WAITING = 2000


class Requests:
    """Runs requests to a bucket; for one event loop.

    Retries are obstore's: a request that fails here has failed for some seconds. Then all that wait
    for their turn fail too, so that nobody waits for long behind others at a dead endpoint
    (reliability F8).
    """

    def __init__(self, bucket: str, metrics: S3Metrics, threads: Executor) -> None:
        self.metrics = metrics
        self._bucket = bucket
        self._threads = threads
        self._turns = BoundedPool[None]([None] * _REQUESTS, max_waiting=_WAITING)
        # None is a buffer that nobody has needed yet.
        self._part_buffers = BoundedPool[bytearray | None]([None] * _PARTS, max_waiting=_WAITING)
        self._is_failing = False

    async def run(self, doing: str, request: Callable[[], Awaitable[T]]) -> T:
        """The answer to a request, which begins when it is its turn; `doing` completes "cannot".

        Raises NoObject, ResourceExhausted or Unavailable.
        """
        await self._turns.take()
        try:
            answer = await request()
        except S3_ERRORS as error:
            if is_absent(error):
                raise NoObject from error
            self.fail(doing, error)
        finally:
            del request  # the traceback of an error would keep what it carries
            self._turns.give(None)
        if self._is_failing:
            self._is_failing = False
            logger.info("the bucket %s answers again", self._bucket)
        return answer

    def fail(self, doing: str, error: BaseException) -> NoReturn:
        """Raises what a failed request means for its callers."""
        failure = s3_error(error, doing, self._bucket)
        self.metrics.failed_requests.inc()
        if isinstance(failure, Unavailable):
            self._turns.refuse_waiting(failure)
            self._part_buffers.refuse_waiting(failure)
        if not self._is_failing:
            self._is_failing = True
            logger.warning("%s", failure.message)
        raise failure from error

    async def part(self, size_bytes: int, fill: Callable[[memoryview], None]) -> memoryview:
        """Memory for one part, which `fill` has filled in a thread.

        It is free again when the last reference to the view is gone. So the one who uploads it, a
        thread of obstore's, need not say when he has done so.
        """
        buffer = await self._part_buffers.take() or bytearray(PART_BYTES)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, fill, memoryview(buffer)[:size_bytes])
        except Exception:  # not when cancelled: the thread may still write to it
            self._part_buffers.give(buffer)
            raise
        view = memoryview(buffer)[:size_bytes]
        returned = weakref.finalize(view, self._give_back, loop, buffer)
        returned.atexit = False
        return view

    def _give_back(self, loop: asyncio.AbstractEventLoop, buffer: bytearray) -> None:
        """Runs in any thread."""
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._part_buffers.give, buffer)
