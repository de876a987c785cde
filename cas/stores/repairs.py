"""Copies what one mirror lacks from the other, a few batches at a time."""

import asyncio
import logging
from collections.abc import Collection
from functools import partial

from reapi.clients.concurrency import map_bounded
from reapi.core.digest import Digest
from reapi.core.errors import ReapiError
from reapi.core.interfaces import BlobStore

from .copying import copy_batch, copy_batches
from .metrics import MirrorMetrics

logger = logging.getLogger(__name__)

_BATCHES_AT_ONCE = 4
_MOST_STARTED = 256
"""Repairs that nobody waits for; one more is left to the next who reads the blob."""


class Repairs:
    """All repairs of one mirror, each counted, and logged when it fails; `close` ends them."""

    def __init__(self, metrics: MirrorMetrics) -> None:
        self._metrics = metrics
        self._at_once = asyncio.Semaphore(_BATCHES_AT_ONCE)
        self._started: set[asyncio.Task[set[Digest]]] = set()

    async def copy(
        self, source: BlobStore, target: BlobStore, digests: Collection[Digest]
    ) -> set[Digest]:
        """Copies blobs that `target` lacks; returns those that it still lacks afterwards."""
        batches = list(copy_batches(digests))
        copy_one = partial(self._copy_batch, source, target)
        return set().union(*await map_bounded(copy_one, batches, at_once=_BATCHES_AT_ONCE))

    def start(self, source: BlobStore, target: BlobStore, digests: Collection[Digest]) -> None:
        """Copies in the background."""
        if len(self._started) < _MOST_STARTED:
            task = asyncio.create_task(self.copy(source, target, digests))
            self._started.add(task)
            task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Breaks off what nobody waits for."""
        for task in self._started:
            task.cancel()
        await asyncio.gather(*self._started, return_exceptions=True)

    async def _copy_batch(
        self, source: BlobStore, target: BlobStore, batch: list[Digest]
    ) -> set[Digest]:
        async with self._at_once:
            try:
                due = await target.find_missing(batch)  # others may have repaired it meanwhile
            except ReapiError as error:
                self._failed(batch, error)
                return set(batch)
            if not due:
                return set()
            copied = await copy_batch(source, target, due)
        failed = {*copied.absent, *copied.failures}
        self._metrics.repairs.inc(len(due) - len(failed))
        if failed:
            self._failed(failed, next(iter(copied.failures.values()), "damaged or gone"))
        return failed

    def _failed(self, digests: Collection[Digest], reason: object) -> None:
        self._metrics.repair_failures.inc(len(digests))
        logger.warning(
            "%d blobs, such as %s, have one copy only: %s",
            len(digests),
            next(iter(digests)),
            reason,
        )

    def _ended(self, task: "asyncio.Task[set[Digest]]") -> None:
        self._started.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a repair failed", exc_info=task.exception())
