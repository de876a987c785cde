"""Where the journal is kept: rows whose meaning is known to journal.py alone."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class EventRow(NamedTuple):
    """An event; sequences rise by one."""

    sequence: int
    record: str


class SnapshotRow(NamedTuple):
    """The whole state after the event `sequence`, at the time `now`."""

    sequence: int
    now: int
    record: str


class FinishedRow(NamedTuple):
    """The last word about an operation; numbers rise by one."""

    number: int
    name: str
    instance_name: str
    finished_at: int
    operation: bytes


class Journaled(NamedTuple):
    """What was kept: the events are those after the snapshot, in order."""

    snapshot: SnapshotRow | None
    events: Sequence[EventRow]
    last_finished: FinishedRow | None


class JournalStore(Protocol):
    """Keeps rows in the order of the calls. Changes are taken without waiting and committed
    together; a commit that fails keeps its rows, and the next one carries them too.
    """

    @property
    def place(self) -> str:
        """Where it is and how to start anew, for a person."""

    def check(self) -> None:
        """Raises Unavailable while it is known that nothing can be committed."""

    async def load(self) -> Journaled:
        """All that was committed. Only before the first change."""

    def append(self, row: EventRow) -> None:
        """One more event."""

    def finish(self, row: FinishedRow) -> None:
        """One more finished operation."""

    def amend(self, name: str, operation: bytes) -> None:
        """More is known of a finished operation that was committed; unless it is forgotten."""

    def expire(self, finished_before: int, last_number: int) -> None:
        """Forgets finished operations that are older, or whose number is not higher."""

    def fold(self, row: SnapshotRow) -> None:
        """Puts a snapshot in the place of the one before and of all events up to it."""

    def commit(self) -> "asyncio.Future[None]":
        """Commits all changes so far soon; the future says when that is done, or why not."""

    async def finished(self, name: str, after: int) -> bytes | None:
        """The operation of that name, if it finished after that time."""

    async def list_finished(
        self, instance_name: str | None, name: str, after: int, limit: int
    ) -> list[tuple[str, bytes]]:
        """Operations that finished after that time, in the order of their names, behind `name`;
        of one instance or of all."""
