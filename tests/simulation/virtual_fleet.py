"""A fleet in virtual time around the scheduler core: it runs what it is given for as long as the
action says, and books who had how much of it."""

from collections import defaultdict
from collections.abc import Callable
from heapq import heappop, heappush

from reapi.scheduler.commands import Command, FinishOperations, OfferLease
from reapi.scheduler.events import Enqueue, Event, LeaseCompleted, TimePassed, WorkerConnected
from reapi.scheduler.policy import Policy
from reapi.scheduler.queue import Queue

SECOND = 1_000_000


class VirtualFleet:
    """Workers with one slot each. Times are in microseconds; equal ones are in order of epochs."""

    def __init__(self, workers: int, policy: Policy) -> None:
        self.queue = Queue(policy)
        self.now = 0
        self.started: list[str] = []
        self.ended_at: dict[str, int] = {}
        self.busy: dict[tuple[str, str], int] = defaultdict(int)
        self._durations: dict[str, int] = {}
        self._payers: dict[str, tuple[str, str]] = {}
        self._ends: list[tuple[int, int, str, str]] = []
        for number in range(workers):
            self._apply(WorkerConnected(f"worker-{number}", "session", 1, (), ()))

    def enqueue(
        self,
        count: int,
        duration: Callable[[], int],
        *,
        tenant: str = "",
        invocation: str = "",
        priority: int = 0,
        is_known: bool = False,
    ) -> list[str]:
        """That many actions, by name; if `is_known`, history says how long they take."""
        names = []
        for _ in range(count):
            name = f"operation-{len(self._durations)}"
            names.append(name)
            self._durations[name] = duration()
            self._payers[name] = (tenant, invocation)
            self._apply(
                Enqueue(
                    operation_name=name,
                    instance_name="",
                    action=f"blobs/{len(self._durations):064x}/1",
                    is_mergeable=True,
                    properties=(),
                    priority=priority,
                    lease_template=b"",
                    tenant=tenant,
                    invocation=invocation,
                    expected=self._durations[name] if is_known else 0,
                )
            )
        return names

    def run(self, until: int | None = None) -> None:
        """Until nothing runs any more, or until that time."""
        while self._ends and (until is None or self._ends[0][0] <= until):
            self.now = self._ends[0][0]
            due = self.queue.next_deadline()
            if due is not None and due <= self.now:
                self._apply(TimePassed())
            _, epoch, worker_id, name = heappop(self._ends)
            self._apply(LeaseCompleted(worker_id, name, epoch))

    def end_of(self, names: list[str]) -> int:
        """When the last of them ended."""
        return max(self.ended_at[name] for name in names)

    def _apply(self, event: Event) -> None:
        for command in self.queue.handle(event, self.now):
            self._obey(command)

    def _obey(self, command: Command) -> None:
        match command:
            case OfferLease(worker_id, name, epoch, _):
                self.started.append(name)
                self.busy[self._payers[name]] += self._durations[name]
                heappush(self._ends, (self.now + self._durations[name], epoch, worker_id, name))
            case FinishOperations(names, _):
                self.ended_at.update(dict.fromkeys(names, self.now))
