"""What a start of the embedded storage does beside serving: sweeps up, fills the filter.

Nothing here delays readiness.
"""

import asyncio
import logging
import time

from .eviction import Evictor
from .maintenance.orphans import find_orphans
from .objects.interface import ObjectStore
from .state.sqlite import SqliteState

logger = logging.getLogger(__name__)

_IDS_PER_STEP = 2000
_MOST_ORPHANS = 100
"""A crash leaves few; more look as if the index were lost, and then deleting would be wrong."""

_CLOCK_SLACK_SECONDS = 0.05
"""File systems stamp files with a clock of their own that is a little behind."""


class Recovery:
    """The background work of one start. Cancelling `run` ends it within a step."""

    def __init__(
        self, state: SqliteState, objects: ObjectStore, evictor: Evictor, *, is_sweep_due: bool
    ) -> None:
        self._state = state
        self._objects = objects
        self._evictor = evictor
        self._started = time.time() - _CLOCK_SLACK_SECONDS
        self._first_inline_id = state.inline.next_id  # later ones belong to writes under way
        self.is_sweep_due = is_sweep_due

    async def run(self) -> None:
        """Ends deletions, fills the filter, and deletes bytes that a crash left without a row."""
        try:
            await self._evictor.delete(await self._state.index.leaving())
            await self._state.index.fill_filter()
            if self.is_sweep_due:
                await self._sweep_objects()
                await self._sweep_inline()
                self.is_sweep_due = False
        except Exception:
            logger.exception("the work after a start failed; blobs are served without it")

    async def _sweep_objects(self) -> None:
        """Objects of this run are left alone: their rows may be on their way."""
        batches = find_orphans(self._state.index, self._objects, written_before=self._started)
        orphans = []
        async for infos in batches:
            orphans += [info.name for info in infos]
            if len(orphans) > _MOST_ORPHANS:
                logger.error(
                    "over %d objects have no row; if the index was lost, `reapi-server storage "
                    "rebuild` makes it anew; `reapi-server storage gc` deletes them",
                    _MOST_ORPHANS,
                )
                return
        await self._objects.delete(orphans)

    async def _sweep_inline(self) -> None:
        orphans = await asyncio.to_thread(self._state.orphaned_inline_ids, self._first_inline_id)
        for start in range(0, len(orphans), _IDS_PER_STEP):
            await self._state.inline.delete(orphans[start : start + _IDS_PER_STEP])
