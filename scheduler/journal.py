"""The scheduler's memory on disk: events, a snapshot now and then, and what has finished.

What happens in one turn of the event loop is in one commit. Recovery is the snapshot and the
events after it, replayed; finished operations are kept for a while so that WaitExecution finds them
after a restart too.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from reapi.core.errors import FailedPrecondition

from .codec import decode, encode, is_of_this_version, revive
from .commands import Command
from .decisions import decisions_of
from .events import Event
from .journal_store import EventRow, FinishedRow, JournalStore, SnapshotRow
from .policy import Policy
from .queue import Queue
from .snapshot import restore, take_snapshot

_EXPIRE_EVERY = 256


@dataclass(frozen=True)
class Recovered:
    """The core as it was, and the time of its last event."""

    queue: Queue
    now: int


class Journal:
    """Appends in order; a commit that fails keeps its rows, and the next one carries them too.

    Times are in microseconds. `finished_retention` and `max_finished` bound the finished
    operations; the number of kept events is bounded by `snapshot_interval` and by what is live.
    """

    def __init__(
        self,
        store: JournalStore,
        *,
        finished_retention: int,
        max_finished: int,
        snapshot_interval: int,
    ) -> None:
        self._store = store
        self._finished_retention = finished_retention
        self._max_finished = max_finished
        self._snapshot_interval = snapshot_interval
        self._sequence = 0
        self._snapshot_sequence = 0
        self._finished_number = 0

    async def recover(self, former_policy: Policy) -> Recovered:
        """Loads what was journaled; raises FailedPrecondition if it cannot be read.

        `former_policy` is for records of a version that did not journal the policy.
        """
        journaled = await self._store.load()
        oldest = [journaled.snapshot, *journaled.events[:1]]
        is_old = any(row is not None and not is_of_this_version(row[-1]) for row in oldest)
        queue, now = Queue(former_policy if is_old else None), 0
        try:
            if journaled.snapshot is not None:
                self._sequence, now, record = journaled.snapshot
                self._snapshot_sequence = self._sequence
                queue = restore(record, former_policy)
            queue.gives_leases = not is_old
            for sequence, record in journaled.events:
                now, event, *_ = decode(record)
                queue.handle(revive(event), now)
                self._sequence = sequence
        except (ValueError, KeyError, TypeError) as error:
            raise FailedPrecondition(
                f"cannot read the journal after event {self._sequence}: {error}. "
                f"It is {self._store.place}"
            ) from error
        if journaled.last_finished is not None:
            self._finished_number = journaled.last_finished.number
            now = max(now, journaled.last_finished.finished_at)
        if is_old:
            await self._settle_old(queue, now)
        return Recovered(queue, now)

    async def _settle_old(self, queue: Queue, now: int) -> None:
        """The end of reading events whose decisions this version would not repeat.

        Who wants what is certain, and so is what has finished. All else is queued; a worker that
        still runs some of it is told to stop. From here on the journal is of this version.
        """
        for name in list(queue.operations):
            if await self._store.finished(name, 0) is not None:
                queue.forget(name)
        queue.gives_leases = True
        self._snapshot_sequence = self._sequence
        self._store.fold(SnapshotRow(self._sequence, now, take_snapshot(queue)))

    def check(self) -> None:
        """Raises Unavailable while it is known that nothing can be journaled."""
        self._store.check()

    def append(self, event: Event, now: int, commands: Sequence[Command]) -> "asyncio.Future[None]":
        """Journals an event in the coming commit; the future says when that is done.

        Of the `commands` that it led to, the decisions are kept beside it.
        """
        self._sequence += 1
        record = encode(now, event, decisions_of(commands))
        self._store.append(EventRow(self._sequence, record))
        return self._store.commit()

    def finish(self, name: str, instance_name: str, now: int, operation: bytes) -> None:
        """Keeps the last word about an operation; goes with the events of this turn."""
        self._finished_number += 1
        number = self._finished_number
        self._store.finish(FinishedRow(number, name, instance_name, now, operation))
        if number % _EXPIRE_EVERY == 0:
            self._store.expire(now - self._finished_retention, number - self._max_finished)

    def amend(self, name: str, operation: bytes) -> "asyncio.Future[None]":
        """Keeps this in place of the last word about an operation that is finished already; the
        future says when that is done."""
        self._store.amend(name, operation)
        return self._store.commit()

    def commit(self) -> "asyncio.Future[None]":
        """The coming commit, which carries all that an earlier one could not."""
        return self._store.commit()

    def fold(self, queue: Queue, now: int) -> None:
        """Replaces the journal by a snapshot if that is due.

        The more is live, the rarer: a snapshot costs in proportion to it. Call it right after the
        last `append`, with the state that this led to.
        """
        live = len(queue.executions) + len(queue.fleet.workers)
        since = self._sequence - self._snapshot_sequence
        if since < self._snapshot_interval + 4 * live:
            return
        self._snapshot_sequence = self._sequence
        self._store.fold(SnapshotRow(self._sequence, now, take_snapshot(queue)))

    async def finished(self, name: str, now: int) -> bytes | None:
        """The serialized Operation of that name, if it finished and is not forgotten."""
        return await self._store.finished(name, now - self._finished_retention)

    async def list_finished(
        self, instance_name: str | None, after: str, limit: int, now: int
    ) -> list[tuple[str, bytes]]:
        """Up to `limit` finished operations in the order of their names, of one instance or all."""
        return await self._store.list_finished(
            instance_name, after, now - self._finished_retention, limit
        )
