"""A journal in memory, whose commits come when the test says, or never."""

import asyncio
from collections.abc import Callable

from reapi.scheduler.journal_store import EventRow, FinishedRow, Journaled, SnapshotRow


class MemoryJournal:
    """A JournalStore. What was not committed by `flush` is not in the `survivor` of a crash."""

    def __init__(self) -> None:
        self.events: dict[int, EventRow] = {}
        self.snapshot: SnapshotRow | None = None
        self.finished_rows: dict[str, FinishedRow] = {}
        self._pending: list[Callable[[], None]] = []
        self._commit: asyncio.Future[None] | None = None

    def survivor(self) -> "MemoryJournal":
        """What the next process finds."""
        survivor = MemoryJournal()
        survivor.events = dict(self.events)
        survivor.snapshot = self.snapshot
        survivor.finished_rows = dict(self.finished_rows)
        return survivor

    def flush(self) -> None:
        """Commits all changes so far."""
        pending, self._pending = self._pending, []
        for change in pending:
            change()
        if self._commit is not None:
            self._commit.set_result(None)
            self._commit = None

    @property
    def place(self) -> str:
        return "in memory"

    def check(self) -> None:
        """Memory is always there."""

    async def load(self) -> Journaled:
        last = max(self.finished_rows.values(), default=None)
        return Journaled(self.snapshot, [self.events[one] for one in sorted(self.events)], last)

    def append(self, row: EventRow) -> None:
        self._pending.append(lambda: self.events.update({row.sequence: row}))

    def finish(self, row: FinishedRow) -> None:
        self._pending.append(lambda: self.finished_rows.update({row.name: row}))

    def amend(self, name: str, operation: bytes) -> None:
        def change() -> None:
            row = self.finished_rows.get(name)
            if row is not None:
                self.finished_rows[name] = row._replace(operation=operation)

        self._pending.append(change)

    def expire(self, finished_before: int, last_number: int) -> None:
        def change() -> None:
            self.finished_rows = {
                name: row
                for name, row in self.finished_rows.items()
                if row.finished_at >= finished_before and row.number > last_number
            }

        self._pending.append(change)

    def fold(self, row: SnapshotRow) -> None:
        def change() -> None:
            self.snapshot = row
            self.events = {
                sequence: event
                for sequence, event in self.events.items()
                if sequence > row.sequence
            }

        self._pending.append(change)

    def commit(self) -> "asyncio.Future[None]":
        if self._commit is None:
            self._commit = asyncio.get_running_loop().create_future()
        return self._commit

    async def finished(self, name: str, after: int) -> bytes | None:
        row = self.finished_rows.get(name)
        return row.operation if row is not None and row.finished_at > after else None

    async def list_finished(
        self, instance_name: str | None, name: str, after: int, limit: int
    ) -> list[tuple[str, bytes]]:
        found = [
            (row.name, row.operation)
            for row in sorted(self.finished_rows.values(), key=lambda row: row.name)
            if row.name > name
            and row.finished_at > after
            and instance_name in (None, row.instance_name)
        ]
        return found[:limit]
