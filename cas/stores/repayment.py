"""Copies what is owed to the slow tier, and keeps it in the fast one until then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from reapi.clients.concurrency import map_bounded
from reapi.core.digest import Digest
from reapi.core.errors import Internal, ReapiError, Unavailable
from reapi.core.interfaces import BlobStore

from .copying import copy_batch, copy_batches
from .debts import Debts
from .metrics import TierMetrics

logger = logging.getLogger(__name__)

_COPIES_AT_ONCE = 8
FIRST_DELAY_SECONDS = 1.0
_LONGEST_DELAY_SECONDS = 60.0

T = TypeVar("T")
Failures = Mapping[Digest, ReapiError]
"""Of blobs that stay owed."""


class Repayment:
    """Begins with `start` and ends with `close`; what is owed then stays on record.

    Copies the oldest first, a few batches at a time. A blob whose copy fails goes to the end of the
    queue, and all wait for a while: twice as long after each failure, up to a minute, until a copy
    succeeds. Every `renew_seconds` the fast tier is asked for what is owed, which is to keep it
    there: that has to be less than its retention.
    """

    def __init__(
        self,
        debts: Debts,
        fast: BlobStore,
        slow: BlobStore,
        metrics: TierMetrics,
        *,
        renew_seconds: float,
    ) -> None:
        self._debts = debts
        self._fast = fast
        self._slow = slow
        self._metrics = metrics
        self._renew_seconds = renew_seconds
        self._queue: dict[Digest, None] = {}
        self._copies: dict[asyncio.Task[Failures | None], Sequence[Digest]] = {}
        self._copying: dict[Digest, asyncio.Task[Failures | None]] = {}
        self._renewal: asyncio.Task[None] | None = None
        self._renewal_timer: asyncio.TimerHandle | None = None
        self._retry_timer: asyncio.TimerHandle | None = None
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._is_closed = False

    async def start(self) -> None:
        """Goes on with what is on record, once the fast tier was asked to keep it."""
        self._renew()
        assert self._renewal is not None
        await asyncio.wait((self._renewal,))
        self.add(self._debts)

    def add(self, digests: Iterable[Digest]) -> None:
        """These are owed, too."""
        self._queue.update(dict.fromkeys(digests))
        self._begin_copies()

    async def pay(self, digests: Collection[Digest]) -> None:
        """Returns when none of these is owed any more: they are copied now, ahead of the queue.

        Raises what kept one of them from being copied; it stays owed and in the queue. Cancelling
        ends the waiting only.
        """
        while owed := [digest for digest in digests if digest in self._debts]:
            batches = list(copy_batches(owed))
            await map_bounded(self._pay_batch, batches, at_once=_COPIES_AT_ONCE)

    async def _pay_batch(self, batch: Sequence[Digest]) -> None:
        idle = [digest for digest in batch if digest not in self._copying]
        if not idle:
            await asyncio.wait({self._copying[digest] for digest in batch})
            return
        if not self._is_closed:
            task = self._begin_copy(idle)
            await asyncio.wait((task,))
        if self._is_closed:
            raise Unavailable("what is owed is not copied any more: the server is going down")
        failures = task.result()
        if failures is None:
            raise Internal("cannot copy what is owed; the log says why")
        for failure in failures.values():
            raise failure

    async def close(self) -> None:
        """Breaks off."""
        self._is_closed = True
        for timer in (self._renewal_timer, self._retry_timer):
            if timer is not None:
                timer.cancel()
        tasks = [*self._copies, *([self._renewal] if self._renewal is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin_copies(self) -> None:
        may_begin = not self._is_closed and self._retry_timer is None
        while may_begin and self._queue and len(self._copies) < _COPIES_AT_ONCE:
            self._begin_copy(next(copy_batches(self._queue)))

    def _begin_copy(self, batch: Sequence[Digest]) -> "asyncio.Task[Failures | None]":
        for digest in batch:
            self._queue.pop(digest, None)
        task = asyncio.create_task(_logged(partial(self._copy, batch)))
        self._copies[task] = batch
        self._copying |= dict.fromkeys(batch, task)
        task.add_done_callback(self._copy_ended)
        return task

    def _copy_ended(self, task: "asyncio.Task[Failures | None]") -> None:
        for digest in self._copies.pop(task):
            if self._copying.get(digest) is task:
                del self._copying[digest]
        self._begin_copies()

    async def _copy(self, batch: Sequence[Digest]) -> Failures:
        serials = {digest: self._debts.serial(digest) for digest in batch if digest in self._debts}
        if not serials:
            return {}  # written twice, and copied meanwhile
        copied = await copy_batch(self._fast, self._slow, list(serials))
        failures = dict(copied.failures)
        try:
            done = serials.keys() - failures.keys() - set(copied.absent)
            if done:
                self._delay_seconds = FIRST_DELAY_SECONDS
                await self._debts.settle(done)
            await self._drop({digest: serials[digest] for digest in copied.absent})
        except ReapiError as error:
            logger.warning("cannot settle what the slow tier was owed: %s", error)
            failures |= dict.fromkeys(copied.absent, error)
        if failures:
            self._failed(failures)
        return failures

    async def _drop(self, absent: Mapping[Digest, int | None]) -> None:
        """Strikes out what the fast tier does not have, unless it was written anew meanwhile."""
        if not absent:
            return
        missing = set(await self._slow.find_missing(absent))
        gone = [digest for digest, was in absent.items() if self._debts.serial(digest) == was]
        lost = [digest for digest in gone if digest in missing and digest in self._debts]
        if lost:
            self._metrics.lost_blobs.inc(len(lost))
            logger.error(
                "the fast tier lost %d blobs, such as %s, that the slow tier does not have",
                len(lost),
                lost[0],
            )
        await self._debts.settle(gone)

    def _failed(self, failures: Failures) -> None:
        self._metrics.copy_failures.inc(len(failures))
        self._queue.update(dict.fromkeys(failures))
        if self._retry_timer is None and not self._is_closed:
            reason = next(iter(failures.values()))
            logger.warning("copies to the slow tier wait %g s: %s", self._delay_seconds, reason)
            loop = asyncio.get_running_loop()
            self._retry_timer = loop.call_later(self._delay_seconds, self._retry)
            self._delay_seconds = min(2 * self._delay_seconds, _LONGEST_DELAY_SECONDS)

    def _retry(self) -> None:
        self._retry_timer = None
        self._begin_copies()

    def _renew(self) -> None:
        self._renewal = asyncio.create_task(_logged(self._renew_all))
        loop = asyncio.get_running_loop()
        self._renewal_timer = loop.call_later(self._renew_seconds, self._renew)

    async def _renew_all(self) -> None:
        serials = {digest: self._debts.serial(digest) for digest in self._debts}
        if serials:
            absent = await self._fast.find_missing(serials)
            await self._drop({digest: serials[digest] for digest in absent})


async def _logged(work: Callable[[], Awaitable[T]]) -> T | None:
    """What `work` returns, None when it fails: what it does not do now is due again later."""
    try:
        return await work()
    except ReapiError as error:
        logger.warning("cannot look after what the slow tier is owed: %s", error)
    except Exception:
        logger.exception("cannot look after what the slow tier is owed")
    return None
