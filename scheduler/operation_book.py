"""Operations by name, as clients see them: live ones in memory, finished ones in the journal."""

from collections.abc import Iterable
from heapq import nsmallest

from reapi.core.digest import Digest
from reapi.core.errors import NotFound
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteResponse

from . import operation_message
from .journal import Journal
from .live_operation import LiveOperation
from .model import Stage

LONGEST_NAME = 1024

Announcement = tuple[LiveOperation, bytes]
"""A last message that is told when the commit is through."""


class OperationBook:
    """An operation is live until its last message is journaled, then finished, then forgotten."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._live: dict[str, LiveOperation] = {}

    def open(
        self, name: str, instance_name: str, action_digest: Digest, stage: Stage
    ) -> LiveOperation:
        live = self._live[name] = LiveOperation(name, instance_name, action_digest, stage)
        return live

    def live(self, name: str) -> LiveOperation | None:
        return self._live.get(name)

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
            final = operation_message.done(name, live.action_digest, response)
            self._journal.finish(name, live.instance_name, now, final)
            announcements.append((live, final))
        return announcements

    def announce(self, announcements: Iterable[Announcement]) -> None:
        for live, final in announcements:
            del self._live[live.name]
            live.finish(final)

    async def message(self, name: str, now: int) -> bytes:
        """The serialized Operation as it is now. Raises NotFound for one that nobody remembers."""
        live = self._live.get(name)
        if live is not None:
            return live.message()
        is_possible = len(name) <= LONGEST_NAME
        final = await self._journal.finished(name, now) if is_possible else None
        if final is None:
            raise NotFound(
                f"operation {name[:LONGEST_NAME]!r} is not known; finished ones are forgotten "
                "after a while"
            )
        return final

    async def page(
        self, instance_name: str | None, after: str, limit: int, now: int
    ) -> list[tuple[str, bytes]]:
        """The first operations by name behind `after`, of one instance or of all, serialized."""
        live = nsmallest(
            limit,
            (
                (name, one)
                for name, one in self._live.items()
                if name > after and instance_name in (None, one.instance_name)
            ),
        )
        rows = await self._journal.list_finished(instance_name, after, limit, now)
        found = {name: operation for name, operation in rows}
        # Those that ended meanwhile too: their message is the last one by now.
        found.update((name, one.message()) for name, one in live)
        return sorted(found.items())[:limit]
