"""The real core, told of events by an agenda: no clock is asked, and nobody waits."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from heapq import heappop, heappush

from reapi.scheduler.commands import Command
from reapi.scheduler.events import Event, TimePassed
from reapi.scheduler.policy import Policy
from reapi.scheduler.queue import Queue

from .measurements import Measurements


class VirtualTime(ABC):
    """A core whose time is `now`, in microseconds. `events` counts what it was told."""

    def __init__(self, policy: Policy, measured: Measurements) -> None:
        self.queue = Queue(policy)
        self.now = 0
        self.events = 0
        self.measured = measured
        # (time, a number for ties, what then happens)
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0

    @abstractmethod
    def obey(self, command: Command) -> None:
        """Does what the core commands."""

    def apply(self, event: Event) -> None:
        """Something happens now."""
        self.events += 1
        for command in self.queue.handle(event, self.now):
            self.obey(command)

    def plan(self, delay: int, then: Callable[[], None]) -> None:
        """Has something happen later, after what is planned for that moment already."""
        self._planned += 1
        heappush(self._agenda, (self.now + delay, self._planned, then))

    def run_until(self, end: int | None) -> None:
        """All that happens before `end`; without one, until the last execution has ended."""
        agenda = self._agenda
        while end is not None or self.queue.executions:
            due = self.queue.next_deadline()
            if agenda and (due is None or agenda[0][0] < due):
                due = agenda[0][0]
            if due is None or (end is not None and due >= end):
                break
            self.now = max(due, self.now)
            if self.now >= self.measured.next_sample_at:
                self.measured.sample(self.now, self.queue)
            if agenda and agenda[0][0] == due:
                heappop(agenda)[2]()
            else:
                self.apply(TimePassed())
        if end is not None:
            self.now = end
