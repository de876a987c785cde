"""A seeded world around the scheduler core: clients, workers and a clock that jumps.

It keeps its own simple books of what it was told and compares them with what the core says.
"""

from dataclasses import dataclass, field
from random import Random

from reapi.scheduler.commands import (
    Command,
    FinishOperations,
    OfferLease,
    RevokeLease,
    TellWaiters,
    WelcomeWorker,
)
from reapi.scheduler.events import (
    CancelOperation,
    DrainWorker,
    Enqueue,
    Event,
    LeaseCompleted,
    LeaseReturned,
    Restarted,
    TimePassed,
    WaiterJoined,
    WaiterLeft,
    WorkerConnected,
    WorkerDisconnected,
)
from reapi.scheduler.model import LeaseKey, Properties
from reapi.scheduler.queue import Queue
from reapi.scheduler.state import Limits

SECOND = 1_000_000
LIMITS = Limits(
    reconnect_grace=10 * SECOND,
    unwatched_grace=120 * SECOND,
    unmatched_grace=60 * SECOND,
    max_attempts=3,
)
LINUX: Properties = (("OSFamily", "linux"),)
BIG_LINUX: Properties = (("OSFamily", "linux"), ("size", "big"))
PLATFORMS: tuple[Properties, ...] = ((), LINUX, BIG_LINUX)


@dataclass
class SimulatedWorker:
    """A process that may have lost its stream, or its memory, or both."""

    worker_id: str
    slots: int
    properties: Properties
    session: int = 0
    is_connected: bool = False
    leases: set[LeaseKey] = field(default_factory=set)

    @property
    def session_id(self) -> str:
        return f"{self.worker_id}-{self.session}"


class World:
    """Draws one event after the other; `run` returns the log of all events and commands."""

    def __init__(self, seed: int, queue: Queue) -> None:
        self.random = Random(seed)
        self.queue = queue
        self.now = 1_000 * SECOND
        self.log: list[str] = []
        self.events: list[tuple[Event, int]] = []
        self.alive: set[str] = set()
        self.ended: set[str] = set()
        self.old_leases: list[tuple[str, LeaseKey]] = []
        self.epochs: set[int] = set()
        self.broken: list[SimulatedWorker] = []
        self.names = 0
        self.workers = [
            SimulatedWorker(f"worker-{n}", self.random.randint(1, 3), self.random.choice(PLATFORMS))
            for n in range(self.random.randint(1, 5))
        ]

    def step(self) -> None:
        """One thing happens, or time passes."""
        draws = (
            (30, self.enqueue),
            (25, self.complete),
            (10, self.connect),
            (5, self.lose_stream),
            (3, self.lose_process),
            (4, self.cancel),
            (6, self.waiter_leaves),
            (4, self.waiter_joins),
            (4, self.stale_word),
            (3, self.give_back),
            (1, self.drain),
            (1, self.restart),
            (10, self.time_passes),
        )
        (draw,) = self.random.choices([d for _, d in draws], weights=[w for w, _ in draws])
        draw()

    def settle(self) -> None:
        """Lets all that is alive end: fresh workers finish everything, and time passes."""
        for worker in self.workers:
            self._connect(worker, new_session=True)
        for _ in range(200):
            if not self.alive:
                return
            for worker in self.workers:
                if not worker.is_connected:
                    self._connect(worker, new_session=True)
                while worker.leases:
                    self._complete(worker, min(worker.leases))
            self.time_passes()
        raise AssertionError(f"never ended: {sorted(self.alive)}")

    def apply(self, event: Event) -> None:
        self.now += self.random.randint(0, SECOND)
        commands = self.queue.handle(event, self.now)
        self.events.append((event, self.now))
        self.log.append(f"{self.now} {event!r} -> {commands!r}")
        for command in commands:
            self._obey(command)
        broken, self.broken = self.broken, []
        for worker in broken:
            self._disconnect(worker)

    def _obey(self, command: Command) -> None:
        match command:
            case OfferLease(worker_id, execution_id, epoch):
                assert epoch not in self.epochs, "an epoch was used twice"
                self.epochs.add(epoch)
                worker = self._worker(worker_id)
                assert worker.is_connected, "a lease for a worker that is away"
                # One offer in twenty is lost on a stream that is just breaking.
                if self.random.random() < 0.95:
                    worker.leases.add((execution_id, epoch))
                else:
                    self.broken.append(worker)
            case RevokeLease(worker_id, execution_id, epoch):
                worker = self._worker(worker_id)
                self.old_leases.append((worker_id, (execution_id, epoch)))
            case WelcomeWorker(worker_id, revoked):
                self._worker(worker_id).leases -= set(revoked)
            case FinishOperations(names, _):
                for name in names:
                    assert name in self.alive, f"{name} ended twice or never began"
                    self.alive.remove(name)
                    self.ended.add(name)
            case TellWaiters(names, _):
                assert self.alive.issuperset(names), "news about what has ended"

    def enqueue(self) -> None:
        self.names += 1
        name = f"op-{self.names}"
        self.alive.add(name)
        self.apply(
            Enqueue(
                operation_name=name,
                instance_name=self.random.choice(("", "main")),
                action=f"blobs/{self.random.randint(1, 12):064x}/142",
                is_mergeable=self.random.random() < 0.8,
                properties=self.random.choice(PLATFORMS),
                priority=self.random.randint(-1, 1),
                lease_template=b"template",
            )
        )

    def complete(self) -> None:
        busy = [one for one in self.workers if one.is_connected and one.leases]
        if busy:
            worker = self.random.choice(busy)
            self._complete(worker, self.random.choice(sorted(worker.leases)))

    def _complete(self, worker: SimulatedWorker, lease: LeaseKey) -> None:
        worker.leases.remove(lease)
        self.old_leases.append((worker.worker_id, lease))
        self.apply(LeaseCompleted(worker.worker_id, *lease))

    def give_back(self) -> None:
        busy = [one for one in self.workers if one.is_connected and one.leases]
        if busy:
            worker = self.random.choice(busy)
            lease = self.random.choice(sorted(worker.leases))
            worker.leases.remove(lease)
            self.apply(LeaseReturned(worker.worker_id, *lease))

    def stale_word(self) -> None:
        """A completion arrives a second time, or after its lease was fenced off."""
        if self.old_leases:
            worker_id, lease = self.random.choice(self.old_leases)
            if lease not in self._worker(worker_id).leases:
                self.apply(LeaseCompleted(worker_id, *lease))

    def connect(self) -> None:
        self._connect(self.random.choice(self.workers), new_session=self.random.random() < 0.3)

    def _connect(self, worker: SimulatedWorker, *, new_session: bool) -> None:
        if new_session:
            worker.session += 1
            worker.leases.clear()
        worker.is_connected = True
        self.apply(
            WorkerConnected(
                worker.worker_id,
                worker.session_id,
                worker.slots,
                worker.properties,
                tuple(sorted(worker.leases)),
            )
        )

    def lose_stream(self) -> None:
        self._disconnect(self.random.choice(self.workers))

    def _disconnect(self, worker: SimulatedWorker) -> None:
        if worker.is_connected:
            worker.is_connected = False
            self.apply(WorkerDisconnected(worker.worker_id, worker.session_id))

    def lose_process(self) -> None:
        worker = self.random.choice(self.workers)
        self._disconnect(worker)
        worker.session += 1
        worker.leases.clear()

    def drain(self) -> None:
        worker = self.random.choice(self.workers)
        if worker.is_connected:
            self.apply(DrainWorker(worker.worker_id))

    def cancel(self) -> None:
        if self.names:
            self.apply(CancelOperation(f"op-{self.random.randint(1, self.names)}"))

    def waiter_leaves(self) -> None:
        if self.names:
            self.apply(WaiterLeft(f"op-{self.random.randint(1, self.names)}"))

    def waiter_joins(self) -> None:
        if self.names:
            self.apply(WaiterJoined(f"op-{self.random.randint(1, self.names)}"))

    def restart(self) -> None:
        for worker in self.workers:
            worker.is_connected = False
        self.apply(Restarted())

    def time_passes(self) -> None:
        upcoming = self.queue.deadlines.next
        if upcoming is not None:
            self.now = max(self.now, upcoming)
        self.apply(TimePassed())

    def _worker(self, worker_id: str) -> SimulatedWorker:
        return self.workers[int(worker_id.removeprefix("worker-"))]
