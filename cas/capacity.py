"""Who may write how much: the bound of the store, quotas of instances, and what is under way."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from reapi.core.errors import ReapiError, ResourceExhausted

from .eviction import Evictor
from .metrics import StorageMetrics
from .state.interface import BlobIndex

logger = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 60
"""What a client is told to wait at most: somebody may make room before the promises end."""


class Reservations(Protocol):
    """What all processes that share the room have promised it for."""

    @property
    def reserved_bytes(self) -> int: ...
    def reserve(self, size_bytes: int) -> None: ...


class OwnReservations:
    """Those of this process alone."""

    def __init__(self) -> None:
        self.reserved_bytes = 0

    def reserve(self, size_bytes: int) -> None:
        """Adds room for so many bytes; a negative number takes away."""
        self.reserved_bytes += size_bytes


class Capacity:
    """Reservations for writes under way.

    Above `high_watermark`, a share of the bound, old blobs are evicted in the background down to
    `low_watermark`; only a store that is full in spite of that lets a write wait for eviction.
    """

    def __init__(
        self,
        *,
        max_size_bytes: int,
        quotas: Mapping[str, int],
        high_watermark: float,
        low_watermark: float,
        index: BlobIndex,
        result_bytes: Callable[[], Awaitable[int]],
        free_bytes: Callable[[], int],
        evictor: Evictor,
        reservations: Reservations,
        metrics: StorageMetrics,
    ) -> None:
        self._max_size_bytes = max_size_bytes
        self._quotas = quotas
        self._high_bytes = int(max_size_bytes * high_watermark)
        self._low_bytes = int(max_size_bytes * low_watermark)
        self._index = index
        self._result_bytes = result_bytes
        self._free_bytes = free_bytes
        self._evictor = evictor
        self._reservations = reservations
        self._metrics = metrics
        self._reserved_by_owner: Counter[str] = Counter()
        self._reserved_bytes = 0
        self._background: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Ends the eviction that runs in the background."""
        if self._background is not None:
            self._background.cancel()
            await asyncio.wait((self._background,))

    @asynccontextmanager
    async def reserved(self, size_bytes: int, owner: str) -> AsyncIterator[None]:
        """Room for `size_bytes` while in the context; ResourceExhausted when there is none."""
        await self.reserve(size_bytes, owner)
        try:
            yield
        finally:
            self.release(size_bytes, owner)

    async def reserve(self, size_bytes: int, owner: str) -> None:
        """Takes room until `release`; ResourceExhausted when there is none."""
        self._check_ever(size_bytes, owner)
        self._add(size_bytes, owner)
        try:
            if self._free_bytes() < self._reserved_bytes:
                raise ResourceExhausted(
                    "no space left on the disk of the store", retry_after_seconds=30
                )
            used, quota_excess = await self._measure(owner)
            if quota_excess > 0:
                await self._make_room(owner)
            if used > self._max_size_bytes:
                await self._make_room(None)
            elif used > self._high_bytes:
                self._evict_in_background()
        except BaseException as error:
            self.release(size_bytes, owner)
            if isinstance(error, ResourceExhausted):
                self._metrics.refused_writes.inc()
            raise

    def release(self, size_bytes: int, owner: str) -> None:
        """The bytes are counted by the index now, or were given up."""
        self._add(-size_bytes, owner)

    def _add(self, size_bytes: int, owner: str) -> None:
        self._reservations.reserve(size_bytes)
        self._reserved_bytes += size_bytes
        if owner in self._quotas:
            self._reserved_by_owner[owner] += size_bytes

    def _check_ever(self, size_bytes: int, owner: str) -> None:
        bound = min(self._max_size_bytes, self._quotas.get(owner, self._max_size_bytes))
        if size_bytes > bound:
            raise ResourceExhausted(f"{size_bytes} bytes can never fit: {bound} are allowed")

    async def _measure(self, owner: str | None) -> tuple[int, int]:
        """Bytes stored and reserved, and by how many the owner is above his quota."""
        totals = await self._index.total_bytes()
        used = sum(totals.values()) + await self._result_bytes() + self._reservations.reserved_bytes
        if owner is None or owner not in self._quotas:
            return used, 0
        owned = totals.get(owner, 0) + self._reserved_by_owner[owner]
        return used, owned - self._quotas[owner]

    async def _excess(self, owner: str | None) -> int:
        used, quota_excess = await self._measure(owner)
        return used - self._max_size_bytes if owner is None else quota_excess

    async def _make_room(self, owner: str | None) -> None:
        """Evicts until all that is reserved fits: in all, or in the quota of `owner`."""
        async with self._index.evicting():
            excess = await self._excess(owner)
            if excess <= 0:
                return
            slack = self._max_size_bytes - self._low_bytes if owner is None else 0
            wait_seconds = await self._evictor.evict(excess + slack, owner)
            if await self._excess(owner) <= 0:
                return
        if wait_seconds is not None:
            wait_seconds = min(wait_seconds, _LONGEST_WAIT_SECONDS)
        raise ResourceExhausted(
            "the store is full of blobs that are promised to stay: "
            "give it a larger max_size_bytes or a shorter retention_seconds"
            if owner is None
            else f"instance {owner!r} has used up its quota of {self._quotas[owner]} bytes",
            retry_after_seconds=wait_seconds,
        )

    def _evict_in_background(self) -> None:
        if self._background is None or self._background.done():
            self._background = asyncio.create_task(self._evict_to_low_watermark())

    async def _evict_to_low_watermark(self) -> None:
        try:
            async with self._index.evicting():
                used, _ = await self._measure(None)
                if used > self._high_bytes:
                    await self._evictor.evict(used - self._low_bytes)
        except ReapiError:
            logger.exception("cannot evict; writes go on while there is room")
