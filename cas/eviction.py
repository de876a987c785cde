"""Makes room: deletes the blobs that were used longest ago and are promised to nobody any more.

A row leaves the index first and is remembered as leaving, then the bytes go, then the memory of it.
What a crash leaves between two of these steps is made good by the next start or eviction.
"""

from collections.abc import Sequence
from contextlib import aclosing

from reapi.core.digest import digest_of_key

from .blob_memory import BlobMemory
from .metrics import StorageMetrics
from .objects.interface import ObjectStore
from .objects.names import object_name
from .pins import Pins
from .presence import Presence
from .state.interface import BlobIndex, Entry, ResultTable

_PINNED_PAUSE_SECONDS = 10
"""How long nothing more may go when all that is left is pinned: invocations end at any time."""


class Evictor:
    """To be called within `evicting` of the index; concurrent uploads of what goes are safe."""

    def __init__(
        self,
        *,
        index: BlobIndex,
        objects: ObjectStore,
        memory: BlobMemory,
        results: ResultTable,
        presence: Presence,
        pins: Pins,
        metrics: StorageMetrics,
    ) -> None:
        self._index = index
        self._objects = objects
        self._memory = memory
        self._results = results
        self._presence = presence
        self._pins = pins
        self._metrics = metrics
        self._nothing_before: dict[str | None, int] = {}

    def pause_seconds(self, owner: str | None = None) -> float | None:
        """The seconds for which it is known that nothing (of that owner) may go."""
        seconds = self._nothing_before.get(owner, 0) - self._presence.now()
        return seconds if seconds > 0 else None

    async def evict(self, wanted_bytes: int, owner: str | None = None) -> float | None:
        """Frees that many bytes, or all it may: then the seconds until more may go, if ever.

        Takes blobs of `owner` alone, if it is given, and no results then: those of others may be as
        old, and all their blobs be there.

        Results that were used no later than the last blob deleted go as well: their blobs have.
        """
        wait_seconds = self.pause_seconds(owner)
        if wait_seconds is not None:
            return wait_seconds
        await self.delete(await self._index.leaving())
        freed = newest = 0
        now = self._presence.now()
        last_expired = self._presence.last_expired_stamp()
        last_stamp = await self._pins.last_evictable_stamp()
        async with aclosing(self._index.evict(wanted_bytes, last_stamp, owner)) as batches:
            async for entries in batches:
                await self.delete(entries)
                freed += sum(entry.size for entry in entries)
                newest = max(newest, *(entry.used for entry in entries))
        if freed < wanted_bytes:
            newest = last_stamp  # results count as well, even if no blob is left of their age
        if newest and owner is None:
            await self._results.remove_unused(newest)
        if freed >= wanted_bytes:
            return None
        oldest = await self._index.oldest_used(owner)
        if oldest is None:
            return None
        self._nothing_before[owner] = (
            now + _PINNED_PAUSE_SECONDS
            if last_stamp < oldest <= last_expired
            else oldest + self._presence.retention_seconds
        )
        return self.pause_seconds(owner)

    async def delete(self, entries: Sequence[Entry]) -> None:
        """Deletes the bytes of rows that have left the index."""
        if not entries:
            return
        digests = [digest_of_key(entry.key, entry.size) for entry in entries]
        self._memory.drop(digests)
        await self._objects.delete(
            [
                object_name(digest, entry.suffix)
                for digest, entry in zip(digests, entries, strict=True)
                if entry.inline_id is None
            ]
        )
        await self._index.forget(entries)
        self._metrics.evicted_bytes.inc(sum(entry.size for entry in entries))
