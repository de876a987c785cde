"""Who may write how much: the bound of the store, and what is written but not counted yet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from reapi.core.errors import ResourceExhausted

from .metrics import StorageMetrics

_LONGEST_WAIT_SECONDS = 60
"""What a client is told to wait at most: somebody may make room before the promises end."""

_SLACK_DIVISOR = 20
"""Eviction scans the index, so it frees some of the whole each time, not only what is asked."""


class Capacity:
    """Reservations for writes under way. `evict` frees bytes if it may, and says after how many
    seconds it could free more when it freed less.
    """

    def __init__(
        self,
        max_size_bytes: int,
        *,
        total_bytes: Callable[[], int],
        free_bytes: Callable[[], int],
        evict: Callable[[int], Awaitable[float | None]],
        metrics: StorageMetrics,
    ) -> None:
        self._max_size_bytes = max_size_bytes
        self._total_bytes = total_bytes
        self._free_bytes = free_bytes
        self._evict = evict
        self._metrics = metrics
        self._reserved_bytes = 0
        self._evicting = asyncio.Lock()

    @asynccontextmanager
    async def reserved(self, size_bytes: int) -> AsyncIterator[None]:
        """Room for `size_bytes` while in the context; ResourceExhausted when there is none."""
        await self.reserve(size_bytes)
        try:
            yield
        finally:
            self.release(size_bytes)

    async def reserve(self, size_bytes: int) -> None:
        """Takes room until `release`; ResourceExhausted when there is none."""
        if size_bytes > self._max_size_bytes:
            raise ResourceExhausted(
                f"{size_bytes} bytes can never fit: the store holds {self._max_size_bytes}"
            )
        if self._excess(size_bytes) > 0:
            await self._make_room(size_bytes)
        if self._free_bytes() < self._reserved_bytes + size_bytes:
            self._metrics.refused_writes.inc()
            raise ResourceExhausted(
                "no space left on the disk of the store", retry_after_seconds=30
            )
        self._reserved_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """The bytes are counted by the index now, or were given up."""
        self._reserved_bytes -= size_bytes

    def _excess(self, size_bytes: int) -> int:
        return self._total_bytes() + self._reserved_bytes + size_bytes - self._max_size_bytes

    async def _make_room(self, size_bytes: int) -> None:
        async with self._evicting:
            excess = self._excess(size_bytes)
            if excess <= 0:
                return
            wait_seconds = await self._evict(excess + self._max_size_bytes // _SLACK_DIVISOR)
            if self._excess(size_bytes) > 0:
                self._metrics.refused_writes.inc()
                if wait_seconds is not None:
                    wait_seconds = min(wait_seconds, _LONGEST_WAIT_SECONDS)
                raise ResourceExhausted(
                    "the store is full of blobs that are promised to stay: "
                    "give it a larger max_size_bytes or a shorter retention_seconds",
                    retry_after_seconds=wait_seconds,
                )
