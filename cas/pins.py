"""Spares what live invocations use, beyond its retention: a long build finds its blobs to the end.

No blob knows who uses it. Whatever an invocation has used since it began carries a stamp later than
that: a use either wrote one, or found one there that ends no earlier than its own granule. So
nothing goes that was used since the oldest live invocation began.
"""

import logging
from bisect import bisect_right
from itertools import accumulate

from .invocations import Invocations
from .metrics import StorageMetrics
from .presence import Presence
from .state.interface import BlobIndex, Invocation

logger = logging.getLogger(__name__)


class Pins:
    """Pins hold for the life of an invocation (invocations.py) and for `max_bytes` in all."""

    def __init__(
        self,
        *,
        invocations: Invocations,
        index: BlobIndex,
        presence: Presence,
        max_bytes: int,
        metrics: StorageMetrics,
    ) -> None:
        self._invocations = invocations
        self._index = index
        self._presence = presence
        self._max_bytes = max_bytes
        self._metrics = metrics

    async def last_evictable_stamp(self) -> int:
        """Rows used later than this stay.

        When what is spared beyond its retention is more than `max_bytes`, the invocations that
        began first lose their pins until it is not. May take as long as a scan of the index, and is
        to be used within its `evicting`.
        """
        expired = self._presence.last_expired_stamp()
        live = [one for one in await self._invocations.live() if self._last_stamp(one) < expired]
        if not live:
            return expired
        sizes = await self._index.sizes_by_use(self._last_stamp(live[0]), expired)
        stamps = [used for used, _ in sizes]
        sums = [0, *accumulate(size for _, size in sizes)]
        unpinned = []
        last_stamp = expired
        for invocation in live:
            begin = self._last_stamp(invocation)
            if sums[-1] - sums[bisect_right(stamps, begin)] <= self._max_bytes:
                last_stamp = begin
                break
            unpinned.append(invocation.invocation_id)
        if unpinned:
            await self._unpin(unpinned)
        return last_stamp

    def _last_stamp(self, invocation: Invocation) -> int:
        """A granule earlier than need be: clocks of several hosts may differ."""
        return invocation.began - self._presence.granule_seconds

    async def _unpin(self, invocation_ids: list[str]) -> None:
        for name in await self._invocations.unpin(invocation_ids):
            logger.warning(
                "invocation %r has lost its pins: what was kept for it beyond its retention, "
                "with what others use, takes more than %d bytes",
                name,
                self._max_bytes,
            )
            self._metrics.unpinned_invocations.inc()
