"""The scheduler core alone: how many events it handles in a second, and how that changes with the
number of workers, of queued actions and of different requirements. No journal, no network, no
process but this one."""

import time
from collections import deque
from pathlib import Path

from reapi.scheduler.commands import Command, OfferLease
from reapi.scheduler.events import Enqueue, LeaseCompleted, WorkerConnected
from reapi.scheduler.model import Properties
from reapi.scheduler.policy import Policy
from reapi.scheduler.queue import Queue
from reapi.scheduler.snapshot import restore, take_snapshot

from .comparison import Comparison

_LINUX: Properties = (("OSFamily", "linux"),)
_PAIRS = 50_000
_TENANTS = 4
_INVOCATIONS = 50
_SHAPES = (
    (10, 1_000),
    (100, 10_000),
    (1_000, 100_000),
    (10_000, 100_000),
    (1_000, 1_000_000),
    (10_000, 1_000_000),
)
_AIMS = {(1_000, 100_000): 50_000.0}
_REQUIREMENTS = (30, 1_000)
_AMOUNTS = 30


async def measure_scheduler_core(_: Path) -> list[Comparison]:
    """A row for each size of fleet and queue, and two for snapshots; curves from top to bottom.

    Then rows for actions that ask for different properties, or different amounts, of one pool.
    """
    rows = []
    for workers, queued in _SHAPES:
        fleet = SaturatedFleet(workers, queued)
        rate = fleet.run(_PAIRS)
        name = f"scheduler: core alone, {workers:,} workers, {queued:,} queued"
        aim = _AIMS.get((workers, queued), 0)
        rows.append(Comparison(name, rate, "events/s", aim=aim, is_ratio=False))
        if aim:
            rows += _measure_snapshot(fleet.queue, queued)
    for properties, amounts in [*((number, 1) for number in _REQUIREMENTS), (1, _AMOUNTS)]:
        fleet = SaturatedFleet(1_000, 100_000, properties=properties, amounts=amounts)
        number, what = max((properties, "properties"), (amounts, "amounts of memory"))
        name = f"scheduler: core alone, 1,000 workers, 100,000 queued, {number:,} {what}"
        aim = 50_000.0 if properties > 1 else 0
        rows.append(Comparison(name, fleet.run(_PAIRS), "events/s", aim=aim, is_ratio=False))
    return rows


def _measure_snapshot(queue: Queue, queued: int) -> list[Comparison]:
    started = time.perf_counter()
    record = take_snapshot(queue)
    taken = time.perf_counter()
    restore(record)
    restored = time.perf_counter()
    name = f"scheduler: snapshot of {queued:,}, "
    return [
        Comparison(name + "taken", 1e3 * (taken - started), "ms"),
        Comparison(name + "restored", 1e3 * (restored - taken), "ms"),
    ]


class SaturatedFleet:
    """Workers that are always busy in front of a queue that stays as long as it is.

    Each step an action comes and another one, the oldest that runs, is completed: two events.
    Each worker offers all of the `properties` and more than any of the `amounts`.
    """

    def __init__(self, workers: int, queued: int, *, properties: int = 1, amounts: int = 1) -> None:
        self.queue = Queue(Policy(max_queued=0))
        self._images = tuple(("image", str(number)) for number in range(properties))
        self._amounts = amounts
        self._number = 0
        self._running: deque[LeaseCompleted] = deque()
        for _ in range(queued + workers):
            self._take(self.queue.handle(self._next_action(), self._number))
        for number in range(workers):
            connected = WorkerConnected(
                f"worker-{number}",
                "session",
                1,
                _LINUX + self._images,
                (),
                (("memory", 2 * amounts),),
            )
            self._take(self.queue.handle(connected, self._number))

    def run(self, pairs: int) -> float:
        """Events per second of one core, whoever else has the machine meanwhile."""
        handle = self.queue.handle
        actions = [self._next_action() for _ in range(pairs)]
        started = time.process_time()
        for now, action in enumerate(actions, start=self._number):
            self._take(handle(action, now))
            self._take(handle(self._running.popleft(), now))
        return 2 * pairs / (time.process_time() - started)

    def _next_action(self) -> Enqueue:
        number = self._number = self._number + 1
        return Enqueue(
            operation_name=f"operations/{number}",
            instance_name="main",
            action=f"blobs/{number:064x}/142",
            is_mergeable=True,
            properties=(*_LINUX, self._images[number % len(self._images)]),
            resources=(("memory", number % self._amounts + 1),) if self._amounts > 1 else (),
            priority=0,
            lease_template=b"template",
            tenant=f"tenant-{number % _TENANTS}",
            invocation=f"invocation-{number % _INVOCATIONS}",
        )

    def _take(self, commands: list[Command]) -> None:
        for command in commands:
            if type(command) is OfferLease:
                self._running.append(
                    LeaseCompleted(command.worker_id, command.execution_id, command.epoch)
                )
