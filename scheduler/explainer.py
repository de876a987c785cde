"""Finds out why an action was cached or not, waits or waited, and ran where it did."""

from collections.abc import Sequence

from reapi.core.cache_state import CacheFinding, CacheState
from reapi.core.digest import Digest
from reapi.core.errors import NotFound
from reapi.core.interfaces import BlobStore, CacheInspector
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import RequestMetadata

from .action_difference import ReadAction, compare_actions, read_action
from .action_traits import traits_of
from .dispatcher import Dispatcher
from .explanation import Explanation, ending
from .history import HistoryQuery, HistoryRow

_MOST_EARLIER = 10
_MOST_NEAREST = 5
_EVER = 1 << 63
_NEVER_RAN = "there is no entry, and the history has no earlier run of this action"


class Explainer:
    """Reads history, the action cache, the store and what goes on; changes nothing."""

    def __init__(self, dispatcher: Dispatcher, blobs: BlobStore, cache: CacheInspector) -> None:
        self._history = dispatcher.history
        self._dispatcher = dispatcher
        self._blobs = blobs
        self._cache = cache

    async def explain_operation(self, name: str) -> Explanation:
        """Raises NotFound for an operation that nobody remembers."""
        await self._history.writer.flush()
        row = self._history.recorder.ongoing(name)
        if row is None:
            found = await self._history.store.select(HistoryQuery(operation_name=name), 1)
            if not found:
                raise NotFound(
                    f"operation {name!r} is not known: it never was, or its history has expired "
                    "(scheduler.history_days); actions are explained by their digests, too"
                )
            row = found[0]
        return await self._explain(row.instance_name, row.action, row)

    async def explain_action(self, instance_name: str, action: Digest) -> Explanation:
        """What goes on with it, else what happened when it ran last."""
        await self._history.writer.flush()
        row = self._history.recorder.ongoing_of(instance_name, action)
        if row is None:
            found = await self._operations(instance_name, action)
            runs = [each for each in found if each.cache_state != CacheState.PRESENT]
            row = next(iter(runs or found), None)
        return await self._explain(instance_name, action, row)

    async def _explain(
        self, instance_name: str, action: Digest, row: HistoryRow | None
    ) -> Explanation:
        explanation = Explanation(
            instance_name,
            action,
            cache=await self._cache.explain(instance_name, action),
            read=await read_action(self._blobs, action),
            operation=row,
        )
        explanation.cache_reason = await self._why_now(explanation)
        if row is not None:
            explanation.waiting = self._dispatcher.why_waiting(row.operation_name)
            explanation.earlier = await self._operations(instance_name, action, row.queued_at)
            explanation.run_reason = await self._why_it_ran(explanation, row)
        if (explanation.cache_reason if row is None else explanation.run_reason) == _NEVER_RAN:
            await self._add_nearest(explanation)
        return explanation

    async def _operations(
        self, instance_name: str, action: Digest, before: int | None = None
    ) -> list[HistoryRow]:
        """Those of the action that ended, before that time if it is given; latest first."""
        query = HistoryQuery(instance_name=instance_name, action=action, finished_before=before)
        return await self._history.store.select(query, _MOST_EARLIER)

    async def _why_now(self, explanation: Explanation) -> str:
        """Why there is a result, or none, at this moment."""
        finding = explanation.cache
        if explanation.read is not None and explanation.read.action.do_not_cache:
            finding = CacheFinding(CacheState.NOT_CACHEABLE)
        if finding.state is not CacheState.ABSENT:
            return finding.sentence
        operations = await self._operations(explanation.instance_name, explanation.action)
        return await self._why_absent(explanation, operations, None)

    async def _why_it_ran(self, explanation: Explanation, row: HistoryRow) -> str:
        """Why the cache did not answer; empty if it did."""
        if row.cache_state == CacheState.PRESENT:
            return ""
        if row.cache_state and row.cache_state != CacheState.ABSENT:
            return row.cache_reason
        return await self._why_absent(explanation, explanation.earlier, row.queued_at)

    async def _why_absent(
        self, explanation: Explanation, operations: Sequence[HistoryRow], at: int | None
    ) -> str:
        """Why there was no result at that time, or is none now, after these operations."""
        removal = await self._cache.last_removal(explanation.instance_name, explanation.action)
        stored_at = max((one.finished_at for one in operations if one.is_success), default=0)
        # Removals are known to the second.
        if (
            removal is not None
            and stored_at // 1_000_000 <= removal.at <= (at or _EVER) // 1_000_000
        ):
            return removal.sentence
        if not operations:
            return _NEVER_RAN
        last = operations[0]
        if last.cache_state == CacheState.NOT_CACHEABLE:
            return last.cache_reason
        if last.is_success:
            return (
                f"the result of {last.operation_name} is not stored any more: "
                "results that nobody uses go with the blobs of their age"
            )
        return (
            f"the last run was no success ({last.operation_name}: {ending(last)}), "
            "and only successes are cached"
        )

    async def _add_nearest(self, explanation: Explanation) -> None:
        """The difference from the latest like action that can still be read."""
        now = explanation.read
        if now is None:
            explanation.comparison.notes.append("what differs cannot be said without the action")
            return
        for row in await self._nearest(explanation, now):
            other = await read_action(self._blobs, row.action)
            if other is None:
                explanation.comparison.notes.append(
                    f"the earlier action {row.action} is not stored any more, or malformed"
                )
                continue
            compared = await compare_actions(self._blobs, other, now)
            compared.notes[:0] = explanation.comparison.notes
            explanation.compared_with, explanation.comparison = row, compared
            return

    async def _nearest(self, explanation: Explanation, read: ReadAction) -> list[HistoryRow]:
        """Like actions that ended before, the latest first."""
        row = explanation.operation
        target_key = row.target_key if row is not None else None
        # Of an action that is not known to have run, nobody has said the target.
        traits = traits_of(explanation.instance_name, read.digest, RequestMetadata(), read.command)
        queries = [HistoryQuery(program_key=traits.program_key)]
        if target_key is not None:
            queries.insert(0, HistoryQuery(target_key=target_key))
        for query in queries:
            found = await self._history.store.select(
                query._replace(
                    other_than=explanation.action,
                    finished_before=row.queued_at if row is not None else None,
                ),
                _MOST_NEAREST,
            )
            if found:
                return found
        return []
