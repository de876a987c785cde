"""Takes damaged blobs out of the way: kept for inspection, reported missing from now on (BS11)."""

import logging

from reapi.core.digest import Digest
from reapi.core.errors import ReapiError

from .blob_memory import BlobMemory
from .metrics import StorageMetrics
from .objects.interface import ObjectStore
from .objects.names import object_name
from .state.interface import BlobIndex, Entry

logger = logging.getLogger(__name__)


class Quarantine:
    """Ends the promise for a blob whose bytes are not its bytes any more."""

    def __init__(
        self,
        *,
        index: BlobIndex,
        objects: ObjectStore,
        memory: BlobMemory,
        metrics: StorageMetrics,
    ) -> None:
        self._index = index
        self._objects = objects
        self._memory = memory
        self._metrics = metrics

    async def take(self, digest: Digest, entry: Entry) -> bool:
        """Says whether `entry` was still the truth: not if the blob was evicted or uploaded again
        meanwhile."""
        if not await self._index.remove(entry):
            return False
        logger.error("blob %s is damaged or gone: missing from now on", digest)
        self._metrics.quarantined_blobs.inc()
        self._memory.drop([digest])
        if entry.inline_id is None:
            try:
                await self._objects.quarantine(object_name(digest, entry.suffix))
            except ReapiError:
                # It has no row any more, so it is never served; `storage gc` finds it.
                logger.exception("cannot move the object of %s into quarantine", digest)
        return True
