"""The ActionCache over rows with closures: a hit is complete, and stays so while promised."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import NamedTuple

from reapi.core.cache_state import CacheFinding, CacheState, ResultAbsent, time_text
from reapi.core.digest import Digest
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

from .capacity import Capacity
from .closure import pack_closure, unpack_closure
from .presence import Presence
from .result_intake import take_in
from .result_key import result_key
from .result_lifetimes import ResultLifetimes
from .state.interface import Removal, ResultRow, ResultTable
from .write_health import STATE, WriteHealth

_MOST_MISSING_SHOWN = 3
_KNOWN_BYTES = 32 << 20
_KNOWN_OVERHEAD_BYTES = 1000


class _Known(NamedTuple):
    """A result whose closure was present and touched in `epoch`, as of `version` of its row."""

    result: ActionResult
    epoch: Hashable
    version: int
    stored: int
    cost_bytes: int


class IndexedActionCache:
    """See ActionCache. Complete results are kept in memory for the epoch in which they were so.

    `blobs_for` gives the store on account of an instance: bytes that come inline are its.
    """

    def __init__(
        self,
        *,
        table: ResultTable,
        blobs: BlobStore,
        blobs_for: Callable[[str], BlobStore],
        presence: Presence,
        capacity: Capacity,
        lifetimes: ResultLifetimes,
        health: WriteHealth,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._blobs_for = blobs_for
        self._lifetimes = lifetimes
        self._health = health
        self._presence = presence
        self._capacity = capacity
        self._known: OrderedDict[tuple[str, Digest], _Known] = OrderedDict()
        self._known_bytes = 0

    async def get(self, instance_name: str, action_digest: Digest) -> ActionResult:
        """See ActionCache."""
        name = instance_name, action_digest
        key = result_key(instance_name, action_digest)
        version = await self._table.version(key)
        known = self._known.get(name)
        if (
            known is not None
            and known.version == version
            and known.epoch == self._presence.epoch()
            and known.stored >= self._lifetimes.first_valid(instance_name)
        ):
            self._known.move_to_end(name)
            return known.result
        return await self._get_stored(name, key, version)

    async def _get_stored(self, name: tuple[str, Digest], key: bytes, version: int) -> ActionResult:
        row = await self._table.find(key)
        if row is None:
            raise _absent(name[1], CacheFinding(CacheState.ABSENT))
        epoch = self._presence.epoch()
        finding = await self._look_at(name[0], row)
        if finding.state is not CacheState.PRESENT:
            # That a result was purged may be taken back by the same setting.
            if finding.state is not CacheState.PURGED:
                removal = Removal(finding.at, finding.state, finding.detail)
                await self._table.remove(key, row, removal)
            raise _absent(name[1], finding)
        if row.used < self._presence.stamp():
            await self._table.touch(key, self._presence.stamp())
        result = ActionResult.FromString(row.action_result)
        self._remember(name, _Known(result, epoch, version, row.stored, _cost(row.action_result)))
        return result

    async def explain(self, instance_name: str, action_digest: Digest) -> CacheFinding:
        """See CacheInspector."""
        row = await self._table.find(result_key(instance_name, action_digest))
        if row is None:
            return CacheFinding(CacheState.ABSENT)
        finding = await self._look_at(instance_name, row)
        # Hits are counted nowhere: the touch that each first one of a granule costs anyway tells.
        used = row.used - self._presence.granule_seconds
        if finding.state is CacheState.PRESENT and used > row.stored:
            return replace(finding, detail=f"last used no earlier than {time_text(used)}")
        return finding

    async def last_removal(self, instance_name: str, action_digest: Digest) -> CacheFinding | None:
        """See CacheInspector."""
        removal = await self._table.last_removal(result_key(instance_name, action_digest))
        return removal and CacheFinding(removal.why, removal.at, removal.detail)

    async def _look_at(self, instance_name: str, row: ResultRow) -> CacheFinding:
        """Whether the result of a row counts, and why it does not."""
        now = self._presence.now()
        if row.stored < self._lifetimes.first_valid(instance_name):
            is_expired = row.stored < self._lifetimes.first_unexpired()
            state = CacheState.EXPIRED if is_expired else CacheState.PURGED
            return CacheFinding(state, now, f"stored on {time_text(row.stored)}")
        missing = await self._blobs.find_missing(unpack_closure(row.closure))
        if missing:
            subjects = ", ".join(digest.subject for digest in missing[:_MOST_MISSING_SHOWN])
            more = len(missing) - _MOST_MISSING_SHOWN
            detail = f"{subjects} and {more} more" if more > 0 else subjects
            return CacheFinding(CacheState.INCOMPLETE, now, detail)
        return CacheFinding(CacheState.PRESENT, row.stored)

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult, *, writer: str = ""
    ) -> ActionResult:
        """See ActionCache. Bytes that came inline are moved into the CAS."""
        store = self._blobs_for(instance_name)
        taken = await take_in(self._blobs, store, action_digest, result)
        row = ResultRow(
            action_result=taken.serialized,
            closure=pack_closure(taken.closure),
            used=self._presence.stamp(),
            stored=self._presence.now(),
            instance_name=instance_name,
            worker=taken.result.execution_metadata.worker,
            writer=writer,
        )
        async with self._capacity.reserved(len(row.action_result) + len(row.closure), None):
            with self._health.watch(STATE):
                await self._table.put(result_key(instance_name, action_digest), row)
        return taken.result

    def _remember(self, name: tuple[str, Digest], known: _Known) -> None:
        self._forget(name)
        self._known[name] = known
        self._known_bytes += known.cost_bytes
        while self._known_bytes > _KNOWN_BYTES:
            _, dropped = self._known.popitem(last=False)
            self._known_bytes -= dropped.cost_bytes

    def _forget(self, name: tuple[str, Digest]) -> None:
        known = self._known.pop(name, None)
        if known is not None:
            self._known_bytes -= known.cost_bytes


def _cost(serialized: bytes) -> int:
    return 3 * len(serialized) + _KNOWN_OVERHEAD_BYTES


def _absent(action_digest: Digest, finding: CacheFinding) -> ResultAbsent:
    return ResultAbsent(f"no result for action {action_digest}: {finding.sentence}", finding)
