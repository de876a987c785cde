"""The moments at which the core wants to be called even if nothing happens."""

from collections.abc import Iterator
from enum import IntEnum
from heapq import heappop, heappush

from .model import Properties


class Deadline(IntEnum):
    """What is due: the end of an unwatched execution, of an away worker, of an unmatched lane."""

    ABANDON = 1
    LOST = 2
    UNMATCHED = 3


DeadlineKey = tuple[Deadline, str | Properties]
"""What and whose: an execution_id, a worker_id, or the properties of a lane."""


class Deadlines:
    """A heap of moments. The objects hold the truth: an entry that they no longer agree with is
    stale, and whoever pops it ignores it. So nothing here needs to be saved or cancelled."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, DeadlineKey]] = []

    @property
    def next(self) -> int | None:
        """The earliest moment, in microseconds; perhaps a stale one."""
        return self._heap[0][0] if self._heap else None

    def add(self, at: int, kind: Deadline, key: str | Properties) -> None:
        heappush(self._heap, (at, (kind, key)))

    def pop_due(self, now: int) -> Iterator[tuple[int, DeadlineKey]]:
        """Those not later than `now`, earliest first; ties in the order of kind and key."""
        while self._heap and self._heap[0][0] <= now:
            yield heappop(self._heap)
