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
from .presence import Presence
from .state.interface import BlobIndex, Entry, ResultTable


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
        metrics: StorageMetrics,
    ) -> None:
        self._index = index
        self._objects = objects
        self._memory = memory
        self._results = results
        self._presence = presence
        self._metrics = metrics
        self._nothing_before = 0

    async def evict(self, wanted_bytes: int, owner: str | None = None) -> float | None:
        """Frees that many bytes, or all it may; then the seconds until more may go.

        Results that were used no later than the last blob deleted go as well: their blobs have.
        """
        now = self._presence.now()
        if now < self._nothing_before:
            return self._nothing_before - now
        await self.delete(await self._index.leaving())
        freed = newest = 0
        last_stamp = self._presence.last_expired_stamp()
        async with aclosing(self._index.evict(wanted_bytes, last_stamp, owner)) as batches:
            async for entries in batches:
                await self.delete(entries)
                freed += sum(entry.size for entry in entries)
                newest = max(newest, *(entry.used for entry in entries))
        if freed:
            await self._results.remove_unused(newest)
        if freed >= wanted_bytes:
            return None
        oldest = await self._index.oldest_used()
        if oldest is None:
            return None
        if owner is None:
            self._nothing_before = oldest + self._presence.retention_seconds
        return max(1, oldest + self._presence.retention_seconds - now)

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
