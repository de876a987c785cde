"""Operations by name, as clients see them: live ones in memory, finished ones in the journal."""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest

from reapi.core.digest import Digest
from reapi.core.errors import NotFound, ReapiError
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecuteResponse,
    RequestMetadata,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease

from . import operation_message
from .answered_operations import AnsweredOperations
from .journal import Journal
from .lease_builder import action_digest_of
from .live_operation import Describe, LiveOperation
from .model import Execution, Stage
from .operation_filter import OperationFilter

LONGEST_NAME = 1024
_MOST_ANSWERED = 10_000
_MOST_ANSWERED_BYTES = 16 << 20
_ROWS_AT_ONCE = 500
_MOST_ROWS_PER_PAGE = 5000

Announcement = tuple[LiveOperation, bytes]
"""A last message that is told when the commit is through."""


@dataclass(frozen=True, slots=True)
class Page:
    """Serialized operations by name, and the name behind which the list goes on, if it does."""

    operations: list[tuple[str, bytes]]
    goes_on_after: str


class OperationBook:
    """An operation is live until its last message is journaled, then finished, then forgotten.

    `describe` is that of its LiveOperations.
    """

    def __init__(self, journal: Journal, describe: Describe) -> None:
        self._journal = journal
        self._describe = describe
        self._live: dict[str, LiveOperation] = {}
        self._answered = AnsweredOperations(
            max_count=_MOST_ANSWERED, max_bytes=_MOST_ANSWERED_BYTES
        )

    def open(
        self,
        name: str,
        instance_name: str,
        action_digest: Digest,
        stage: Stage,
        metadata: RequestMetadata,
    ) -> LiveOperation:
        """`metadata` is of the call that makes it."""
        live = LiveOperation(name, instance_name, action_digest, stage, self._describe)
        live.invocation = metadata.tool_invocation_id
        live.target = metadata.target_id
        self._live[name] = live
        return live

    def reopen(self, execution: Execution) -> None:
        """The operations of an execution that was live when the process ended."""
        template = Lease.FromString(execution.lease_template)
        digest = action_digest_of(template)
        for name in execution.operations:
            metadata = template.request_metadata
            live = self.open(name, execution.instance_name, digest, execution.stage, metadata)
            live.attempts = execution.losses
            if execution.stage is Stage.EXECUTING:
                live.lease("its worker had it before the scheduler started anew")

    def join(self, live: LiveOperation, execution: Execution) -> None:
        """An operation was merged into an execution, and hears what is known of that already."""
        live.join(self._live[execution.operations[0]])

    def answer(self, name: str, operation: bytes) -> None:
        """Remembers an operation that ended before it was queued."""
        self._answered.put(name, operation)

    def live(self, name: str) -> LiveOperation | None:
        return self._live.get(name)

    def lease(self, names: Iterable[str], reason: str) -> None:
        """A worker was chosen for their execution."""
        for name in names:
            self._live[name].lease(reason)

    def tell(self, names: Iterable[str], stage: Stage) -> None:
        for name in names:
            self._live[name].advance(stage)

    def finish(
        self, names: Iterable[str], response: ExecuteResponse, now: int
    ) -> list[Announcement]:
        """Journals the end of these operations; `announce` it after the commit."""
        announcements = []
        for name in names:
            live = self._live[name]
            final = operation_message.done(name, live.action_digest, response, live.state())
            self._journal.finish(name, live.instance_name, now, final)
            announcements.append((live, final))
        return announcements

    def announce(self, announcements: Iterable[Announcement]) -> None:
        for live, final in announcements:
            del self._live[live.name]
            live.finish(final)

    async def add_logs(self, names: Iterable[str], result: ActionResult, now: int) -> None:
        """What the action of these finished operations printed; durable on return."""
        for name in names:
            final = await self._journal.finished(name, now)
            if final is not None:
                await self._journal.amend(name, operation_message.with_logs(final, result))

    def close(self, error: ReapiError) -> None:
        """Ends the streams of all live operations, which another scheduler may go on with."""
        for live in self._live.values():
            live.fail(error)

    async def message(self, name: str, now: int) -> bytes:
        """The serialized Operation as it is now. Raises NotFound for one that nobody remembers."""
        live = self._live.get(name)
        if live is not None:
            return live.answer()
        final = self._answered.get(name)
        if final is None and len(name) <= LONGEST_NAME:
            final = await self._journal.finished(name, now)
        if final is None:
            raise NotFound(
                f"operation {name[:LONGEST_NAME]!r} is not known; finished ones are forgotten "
                "after a while"
            )
        return final

    async def page(
        self, instance_name: str | None, wanted: OperationFilter, after: str, limit: int, now: int
    ) -> Page:
        """Up to `limit` operations by name behind `after`, of one instance or of all.

        It looks at a bounded number of finished ones, so a page may be short and yet not the last.
        """
        # One more than wanted tells whether there is a next page.
        live = self._live_page(instance_name, wanted, after, limit + 1)
        found, reached = await self._finished_page(instance_name, wanted, after, limit + 1, now)
        # Those that ended meanwhile too: their message is the last one by now.
        found.update((one.name, one.answer()) for one in live if not reached or one.name <= reached)
        rows = sorted(found.items())
        if len(rows) > limit:
            return Page(rows[:limit], rows[limit - 1][0])
        return Page(rows, reached)

    def _live_page(
        self, instance_name: str | None, wanted: OperationFilter, after: str, limit: int
    ) -> list[LiveOperation]:
        if not wanted.wants_live:
            return []
        names = nsmallest(
            limit,
            (
                name
                for name, one in self._live.items()
                if name > after
                and instance_name in (None, one.instance_name)
                and wanted.accepts_live(one)
            ),
        )
        return [self._live[name] for name in names]

    async def _finished_page(
        self, instance_name: str | None, wanted: OperationFilter, after: str, limit: int, now: int
    ) -> tuple[dict[str, bytes], str]:
        """Finished ones, and the name up to which was looked, if there are more behind it."""
        found: dict[str, bytes] = {}
        if not wanted.wants_finished:
            return found, ""
        at_once = _ROWS_AT_ONCE if wanted.conditions else limit
        for _ in range(0, _MOST_ROWS_PER_PAGE, at_once):
            rows = await self._journal.list_finished(instance_name, after, at_once, now)
            found.update(row for row in rows if wanted.accepts_finished(row[1]))
            if len(rows) < at_once:
                return found, ""
            after = rows[-1][0]
            if len(found) >= limit:
                break
        return found, after
