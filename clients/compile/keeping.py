"""Keeps results on this machine behind the back of the build, which does not wait for it."""

import asyncio
from collections.abc import Mapping

from reapi.core.digest import Digest

from .local_cache import LocalCache

_MOST_BYTES = 64 << 20


class Keeping:
    """Blobs and manifests on their way to a cache; for one event loop.

    Bounded: what comes when too much is on its way is not kept, and will be missed.
    """

    def __init__(self, cache: LocalCache) -> None:
        self._cache = cache
        self._blobs: dict[Digest, bytes] = {}
        self._manifests: dict[str, bytes] = {}
        self._size_bytes = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def blobs(self) -> Mapping[Digest, bytes]:
        """Those that the cache does not have yet."""
        return self._blobs

    def manifest(self, key: str) -> bytes | None:
        """What is or will be in the cache under a key of hexadecimal digits."""
        return self._manifests.get(key) or self._cache.manifest(key)

    def put_blobs(self, blobs: Mapping[Digest, bytes]) -> None:
        """Begins to keep blobs."""
        for digest, data in blobs.items():
            if digest not in self._blobs and self._has_room(data):
                self._blobs[digest] = data
                self._begin(data)

    def put_manifest(self, key: str, data: bytes) -> None:
        """Begins to keep bytes under a key of hexadecimal digits, instead of what was there."""
        self._size_bytes -= len(self._manifests.pop(key, b""))
        if self._has_room(data):
            self._manifests[key] = data
            self._begin(data)

    async def finish(self) -> None:
        """Waits for all that has begun."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _has_room(self, data: bytes) -> bool:
        return self._size_bytes + len(data) <= _MOST_BYTES

    def _begin(self, data: bytes) -> None:
        self._size_bytes += len(data)
        if self._task is None:
            self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Blobs come before the manifests that name them."""
        try:
            while self._blobs or self._manifests:
                if self._blobs:
                    digest, data = next(iter(self._blobs.items()))
                    await self._cache.put_blob_beside(digest, data)
                    del self._blobs[digest]
                    self._size_bytes -= len(data)
                    continue
                key, data = next(iter(self._manifests.items()))
                await self._cache.put_manifest_beside(key, data)
                if self._manifests.get(key) is data:  # or another has come in its place
                    del self._manifests[key]
                    self._size_bytes -= len(data)
        finally:
            self._task = None
