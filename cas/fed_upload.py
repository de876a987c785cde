"""Uploads into a store that knows no more than BlobStore, such as one on another server."""

import asyncio

from reapi.core.digest import Digest
from reapi.core.interfaces import BlobStore

from .incoming import too_few_bytes, too_many_bytes
from .stores.feed import BlobFeed


class FedUploads:
    """An UploadTarget that passes bytes on while they arrive, so a slow store is kept busy.

    An upload that waits for its client keeps a `write` of the store open: bound how many may.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def begin(self, digest: Digest, instance_name: str) -> "FedUpload":
        """See UploadTarget. All instances share the store."""
        return FedUpload(BlobFeed(self._blobs, digest), digest)


class FedUpload:
    """See OpenUpload. What the store says against the bytes is raised as soon as it is known."""

    def __init__(self, feed: BlobFeed, digest: Digest) -> None:
        self.digest = digest
        self.received_bytes = 0
        self._feed = feed

    async def append(self, chunk: bytes | memoryview) -> None:
        """See OpenUpload."""
        if self.received_bytes + len(chunk) > self.digest.size_bytes:
            raise too_many_bytes(self.digest)
        self.received_bytes += len(chunk)
        self._feed.take(bytes(chunk))
        if not await self._feed.room():
            await self._feed.task

    async def is_needless(self) -> bool:
        """Whether the store took no more bytes, since it has the blob."""
        return self._feed.task.done()

    async def complete(self) -> None:
        """See OpenUpload."""
        if self.received_bytes != self.digest.size_bytes:
            raise too_few_bytes(self.digest, self.received_bytes)
        self._feed.end()
        await self._feed.task

    async def abandon(self) -> None:
        """See OpenUpload."""
        self._feed.task.cancel()
        await asyncio.wait((self._feed.task,))
