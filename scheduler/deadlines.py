"""The moments at which the core wants to be called even if nothing happens."""

from collections.abc import Callable, Iterator
from enum import IntEnum
from heapq import heappop, heappush

from .lane import LaneKey


class Deadline(IntEnum):
    """What is due: the end of an unwatched execution, of an away worker, of an unmatched lane;
    the end of waiting for a preferred worker, a worker for a lane that starves, a second lease."""

    ABANDON = 1
    LOST = 2
    UNMATCHED = 3
    HELD = 4
    STARVED = 5
    HEDGE = 6


Key = str | LaneKey
"""Whose: an execution_id, a worker_id, or the key of a lane."""


class Deadlines:
    """A heap of moments. The objects hold the truth: an entry that they no longer agree with is
    stale, and whoever meets it ignores it. So nothing here needs to be saved or cancelled."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, Deadline, Key]] = []

    def next_of(self, is_due: Callable[[int, Deadline, Key], bool]) -> int | None:
        """The earliest moment, in microseconds, that is not stale; None if there is none."""
        heap = self._heap
        while heap and not is_due(*heap[0]):
            heappop(heap)
        return heap[0][0] if heap else None

    def add(self, at: int, kind: Deadline, key: Key) -> None:
        heappush(self._heap, (at, kind, key))

    def pop_due(self, now: int) -> Iterator[tuple[int, Deadline, Key]]:
        """Those not later than `now`, earliest first; ties in the order of kind and key."""
        while self._heap and self._heap[0][0] <= now:
            yield heappop(self._heap)
