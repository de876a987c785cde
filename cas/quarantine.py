"""Takes damaged blobs out of the way: kept for inspection, reported missing from now on (BS11)."""

import asyncio
import logging
from concurrent.futures import Executor

from reapi.core.digest import Digest

from .blob_memory import BlobMemory
from .index import BlobIndex, Entry
from .inline import InlineStore
from .metrics import StorageMetrics
from .presence import Presence
from .stores.disk import DiskStore, Stamp

logger = logging.getLogger(__name__)


class Quarantine:
    """Ends the promise for a blob whose bytes are not its bytes any more."""

    def __init__(
        self,
        *,
        index: BlobIndex,
        inline: InlineStore,
        disk: DiskStore,
        memory: BlobMemory,
        presence: Presence,
        threads: Executor,
        metrics: StorageMetrics,
    ) -> None:
        self._index = index
        self._inline = inline
        self._disk = disk
        self._memory = memory
        self._presence = presence
        self._threads = threads
        self._metrics = metrics

    async def take_bytes(self, digest: Digest, entry: Entry, data: bytes | None) -> None:
        """A blob that `entry` puts into the database; `data` is what was there, if anything."""
        assert entry.inline_id is not None
        await self._remove(digest, entry)
        if data is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._disk.quarantine_bytes, digest, data)
            await self._inline.delete([entry.inline_id])

    async def take_file(self, digest: Digest, entry: Entry, stamp: Stamp | None) -> None:
        """A blob that `entry` puts into a file; `stamp` is the damaged file's, if there is one.

        Does nothing if the blob was evicted or uploaded again meanwhile.
        """
        if self._disk.quarantine_file(digest, stamp) and self._index.find([entry.key]):
            await self._remove(digest, entry)

    async def _remove(self, digest: Digest, entry: Entry) -> None:
        logger.error("blob %s is damaged: moved to quarantine, missing from now on", digest)
        self._metrics.quarantined_blobs.inc()
        self._presence.lost()
        self._memory.drop([digest])
        await self._index.remove(entry)
