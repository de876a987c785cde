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

_ABUNDANT_BYTES = 1 << 30
_ABUNDANT_SECONDS = 0.1
_SMALL_BYTES = 1 << 20
"""With so much room below every bound, small writes need no new measurement for a while: nobody
fills it in that time, and a measurement costs as much as writing an action's result."""


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
        has_inodes: Callable[[], bool],
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
        self._has_inodes = has_inodes
        self._evictor = evictor
        self._reservations = reservations
        self._metrics = metrics
        self._reserved_by_owner: Counter[str] = Counter()
        self._background: asyncio.Task[None] | None = None
        self._abundant_until: dict[str | None, float] = {}

    async def aclose(self) -> None:
        """Ends the eviction that runs in the background."""
        if self._background is not None:
            self._background.cancel()
            await asyncio.wait((self._background,))

    @asynccontextmanager
    async def reserved(self, size_bytes: int, owner: str | None) -> AsyncIterator[None]:
        """Room for `size_bytes` while in the context; ResourceExhausted when there is none.

        It is on the quota of the instance `owner`; of nobody without.
        """
        await self.reserve(size_bytes, owner)
        try:
            yield
        finally:
            self.release(size_bytes, owner)

    async def reserve(self, size_bytes: int, owner: str | None) -> None:
        """Takes room until `release`; ResourceExhausted when there is none."""
        self._check_ever(size_bytes, owner)
        self._add(size_bytes, owner)
        if size_bytes <= _SMALL_BYTES and self._is_abundant(owner):
            return
        try:
            used, quota_excess = await self._measure(owner)
            if quota_excess > 0:
                await self._make_room(owner)
            if used > self._max_size_bytes or self._disk_excess() > 0:
                await self._make_room(None)
            elif not self._has_inodes():
                await self._make_inodes()
            elif used > self._high_bytes:
                self._evict_in_background()
            else:
                self._note_room(owner, used, quota_excess)
        except BaseException as error:
            self.release(size_bytes, owner)
            if isinstance(error, ResourceExhausted):
                self._metrics.refused_writes.inc()
            raise

    def release(self, size_bytes: int, owner: str | None) -> None:
        """The bytes are counted by the index now, or were given up."""
        self._add(-size_bytes, owner)

    def _add(self, size_bytes: int, owner: str | None) -> None:
        self._reservations.reserve(size_bytes)
        if owner is not None and owner in self._quotas:
            self._reserved_by_owner[owner] += size_bytes

    def _check_ever(self, size_bytes: int, owner: str | None) -> None:
        if size_bytes > self._max_size_bytes:
            raise ResourceExhausted(
                f"{size_bytes} bytes can never fit: {self._max_size_bytes} are allowed"
            )
        quota = None if owner is None else self._quotas.get(owner)
        if quota is not None and size_bytes > quota:
            raise ResourceExhausted(
                f"{size_bytes} bytes can never fit: the quota of instance {owner!r} is {quota}"
            )

    def _account(self, owner: str | None) -> str | None:
        return owner if owner in self._quotas else None

    def _is_abundant(self, owner: str | None) -> bool:
        until = self._abundant_until.get(self._account(owner), 0.0)
        return asyncio.get_running_loop().time() < until

    def _note_room(self, owner: str | None, used: int, quota_excess: int) -> None:
        account = self._account(owner)
        room = min(self._high_bytes - used, -self._disk_excess())
        if account is not None:
            room = min(room, -quota_excess)
        if room > _ABUNDANT_BYTES:
            until = asyncio.get_running_loop().time() + _ABUNDANT_SECONDS
            self._abundant_until[account] = until

    async def _measure(self, owner: str | None) -> tuple[int, int]:
        """Bytes stored and reserved, and by how many the owner is above his quota."""
        totals = await self._index.total_bytes()
        used = sum(totals.values()) + await self._result_bytes() + self._reservations.reserved_bytes
        if owner is None or self._account(owner) is None:
            return used, 0
        owned = totals.get(owner, 0) + self._reserved_by_owner[owner]
        return used, owned - self._quotas[owner]

    def _disk_excess(self) -> int:
        """By how much more is reserved than the disk has left; bytes under way count twice."""
        return self._reservations.reserved_bytes - self._free_bytes()

    async def _excess(self, owner: str | None) -> int:
        used, quota_excess = await self._measure(owner)
        if owner is not None:
            return quota_excess
        return max(used - self._max_size_bytes, self._disk_excess())

    async def _make_room(self, owner: str | None) -> None:
        """Evicts until all that is reserved fits: in all, or in the quota of `owner`."""
        async with self._index.evicting():
            slack = self._max_size_bytes - self._low_bytes if owner is None else 0
            wait_seconds = last_excess = None
            # Again while it helps: blobs that lay in the database leave no room on the disk.
            while (excess := await self._excess(owner)) > 0:
                if last_excess is not None and excess >= last_excess:
                    break
                last_excess = excess
                wait_seconds = await self._evictor.evict(excess + slack, owner)
            else:
                return
        raise ResourceExhausted(
            self._why_full(owner),
            retry_after_seconds=min(
                _LONGEST_WAIT_SECONDS if wait_seconds is None else wait_seconds,
                _LONGEST_WAIT_SECONDS,
            ),
        )

    async def _make_inodes(self) -> None:
        """Evicts once. If that does not help, the write goes on: one that needs an inode fails as
        on a broken disk, and others do not need any.
        """
        async with self._index.evicting():
            if not self._has_inodes():
                slack = self._max_size_bytes - self._low_bytes
                await self._evictor.evict(self._reservations.reserved_bytes + slack)

    def _why_full(self, owner: str | None) -> str:
        if owner is not None:
            return (
                f"instance {owner!r} has used up its quota of {self._quotas[owner]} bytes with "
                "blobs that are promised to stay"
            )
        if self._disk_excess() > 0:
            return "no space left on the disk of the store"
        return (
            "the store is full of blobs that are promised to stay: "
            "give it a larger max_size_bytes or a shorter retention_seconds"
        )

    def _evict_in_background(self) -> None:
        is_idle = self._background is None or self._background.done()
        if is_idle and self._evictor.pause_seconds() is None:
            self._background = asyncio.create_task(self._evict_to_low_watermark())

    async def _evict_to_low_watermark(self) -> None:
        try:
            async with self._index.evicting():
                used, _ = await self._measure(None)
                if used > self._high_bytes:
                    await self._evictor.evict(used - self._low_bytes)
        except ReapiError:
            logger.exception("cannot evict; writes go on while there is room")
