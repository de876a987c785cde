"""Gives a core the events of a journal once more, and compares its decisions with the recorded."""

from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter

from .codec import VERSION, read, revive
from .decisions import Decision, decisions_of
from .events import Event
from .journal_store import EventRow, SnapshotRow
from .queue import Queue
from .snapshot import restore, take_snapshot


@dataclass(frozen=True)
class Difference:
    """Where a core decided otherwise than the journal says. `event` is None for a snapshot that is
    not what the events before it lead to. `now` is in microseconds since 1970."""

    sequence: int
    now: int
    event: Event | None
    recorded: list[Decision]
    decided: list[Decision]


@dataclass
class Replayed:
    """What was replayed. Times are in microseconds since 1970, 0 when there are no events."""

    events: int = 0
    snapshots: int = 0
    decisions: int = 0
    # Without decisions: an older version wrote them.
    incomparable: int = 0
    first_at: int = 0
    last_at: int = 0
    seconds: float = 0.0
    difference: Difference | None = None


def replay(rows: Iterable[SnapshotRow | EventRow]) -> Replayed:
    """Replays rows in their order until the first difference.

    A snapshot sets the core to what it says; if the events so far lead up to it, to nothing else.
    Raises ValueError for a record that this version cannot read.
    """
    replaying = _Replay()
    started = perf_counter()
    for row in rows:
        if isinstance(row, SnapshotRow):
            replaying.take_snapshot(row)
        else:
            replaying.take_event(row)
        if replaying.done.difference is not None:
            break
    replaying.done.seconds = perf_counter() - started
    return replaying.done


class _Replay:
    def __init__(self) -> None:
        self.done = Replayed()
        self._queue: Queue | None = Queue()
        self._sequence = 0

    def take_snapshot(self, row: SnapshotRow) -> None:
        version, _ = read(row.record)
        reached = self._queue if self._sequence == row.sequence else None
        if reached is not None and version == VERSION and take_snapshot(reached) != row.record:
            self.done.difference = Difference(row.sequence, row.now, None, [], [])
            return
        self._queue = restore(row.record)
        self._sequence = row.sequence
        self.done.snapshots += 1

    def take_event(self, row: EventRow) -> None:
        done = self.done
        version, (now, record, *decisions) = read(row.record)
        done.events += 1
        done.first_at = done.first_at or now
        done.last_at = now
        if row.sequence == 1:
            self._queue = Queue()
        elif row.sequence != self._sequence + 1:
            raise ValueError(f"event {row.sequence} does not follow {self._sequence}")
        self._sequence = row.sequence
        if version < VERSION:
            # Other rules applied: the state after it is unknown, until a snapshot says it.
            self._queue = None
        if self._queue is None:
            done.incomparable += 1
            return
        event: Event = revive(record)
        decided = self._decide(self._queue, event, now)
        if not decisions:
            done.incomparable += 1
        elif decided != decisions[0]:
            done.difference = Difference(row.sequence, now, event, decisions[0], decided)
        else:
            done.decisions += len(decided)

    def _decide(self, queue: Queue, event: Event, now: int) -> list[Decision]:
        try:
            return decisions_of(queue.handle(event, now))
        except Exception as error:  # whatever it is, the recorded core did not raise it
            return [["fail", f"{type(error).__name__}: {error}"]]
