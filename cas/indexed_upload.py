"""Uploads into the store that has an index."""

from reapi.core.digest import Digest

from .blob_store import IndexedBlobStore
from .incoming import IncomingBlob


class IndexedUploads:
    """The UploadTarget of an IndexedBlobStore: bytes lie on its disk until the blob is whole."""

    def __init__(self, blobs: IndexedBlobStore) -> None:
        self._blobs = blobs

    async def begin(self, digest: Digest, instance_name: str) -> "IndexedUpload":
        """See UploadTarget."""
        store = self._blobs.for_instance(instance_name)
        return IndexedUpload(store, await store.begin(digest))


class IndexedUpload:
    """See OpenUpload."""

    def __init__(self, blobs: IndexedBlobStore, incoming: IncomingBlob) -> None:
        self.digest = incoming.digest
        self.append = incoming.append
        self._blobs = blobs
        self._incoming = incoming

    @property
    def received_bytes(self) -> int:
        """See OpenUpload."""
        return self._incoming.received_bytes

    async def is_needless(self) -> bool:
        """See OpenUpload."""
        return not await self._blobs.find_missing([self.digest])

    async def complete(self) -> None:
        """See OpenUpload."""
        await self._blobs.complete(self._incoming)

    async def abandon(self) -> None:
        """See OpenUpload."""
        await self._blobs.abandon(self._incoming)
