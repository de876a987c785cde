"""What a start of the embedded storage does beside serving: sweeps up, fills the filter.

Nothing here delays readiness.
"""

import asyncio
import logging
import time

from .eviction import Evictor
from .objects.interface import ObjectStore
from .objects.names import parse_object_name
from .state.sqlite import SqliteState

logger = logging.getLogger(__name__)

_IDS_PER_STEP = 2000
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
        async for infos in self._objects.list():
            names = {}
            for info in infos:
                parsed = parse_object_name(info.name)
                if parsed is not None and info.modified < self._started:
                    names[info.name] = parsed
            found = await self._state.index.find([digest.key for digest, _ in names.values()])
            await self._objects.delete(
                [
                    name
                    for name, (digest, suffix) in names.items()
                    if digest.key not in found or found[digest.key].suffix != suffix
                ]
            )

    async def _sweep_inline(self) -> None:
        orphans = await asyncio.to_thread(self._state.orphaned_inline_ids, self._first_inline_id)
        for start in range(0, len(orphans), _IDS_PER_STEP):
            await self._state.inline.delete(orphans[start : start + _IDS_PER_STEP])
