"""Keeps on this machine what came from the server, behind the back of the build."""

import asyncio
from collections.abc import Mapping

from reapi.core.digest import Digest

from .local_cache import LocalCache

_MOST_BYTES = 64 << 20


class Keeping:
    """Blobs on their way to a cache; for one event loop.

    Bounded: what comes when too much is on its way is not kept, and will have to be read again.
    """

    def __init__(self, cache: LocalCache) -> None:
        self._cache = cache
        self._waiting: dict[Digest, bytes] = {}
        self._size_bytes = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> Mapping[Digest, bytes]:
        """What the cache does not have yet."""
        return self._waiting

    def begin(self, blobs: Mapping[Digest, bytes]) -> None:
        """Begins to keep blobs, which must not be changed any more."""
        for digest, data in blobs.items():
            if digest not in self._waiting and self._size_bytes + len(data) <= _MOST_BYTES:
                self._waiting[digest] = data
                self._size_bytes += len(data)
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(self._keep())

    async def finish(self) -> None:
        """Waits for all that has begun."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _keep(self) -> None:
        try:
            while self._waiting:
                digest, data = next(iter(self._waiting.items()))
                await self._cache.put_blob_beside(digest, data)
                self._size_bytes -= len(self._waiting.pop(digest))
        finally:
            self._task = None
