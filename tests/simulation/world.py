"""A seeded world around the scheduler core: clients, workers and a clock that jumps.

It keeps its own simple books of what it was told and compares them with what the core says.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

from google.rpc import code_pb2

from reapi.scheduler.commands import (
    Command,
    FinishOperations,
    Notice,
    OfferLease,
    RefuseWorker,
    RevokeLease,
    TellWaiters,
    WelcomeWorker,
)
from reapi.scheduler.events import (
    CancelOperation,
    CordonWorkers,
    DrainWorker,
    Enqueue,
    Event,
    LeaseCompleted,
    LeaseReturned,
    PolicySet,
    Restarted,
    TimePassed,
    WaiterJoined,
    WaiterLeft,
    WorkerConnected,
    WorkerDisconnected,
)
from reapi.scheduler.model import LeaseKey, Properties, Resources, Why
from reapi.scheduler.policy import MODULO, Policy
from reapi.scheduler.queue import Queue

SECOND = 1_000_000
POLICY = Policy(
    reconnect_grace=10 * SECOND,
    unwatched_grace=120 * SECOND,
    unmatched_grace=60 * SECOND,
    max_attempts=3,
)
LINUX: Properties = (("OSFamily", "linux"),)
BIG_LINUX: Properties = (("OSFamily", "linux"), ("size", "big"))
PLATFORMS: tuple[Properties, ...] = ((), LINUX, BIG_LINUX)
TOTALS: tuple[Resources, ...] = ((("cpu", 2000),), (("cpu", 4000), ("memory", 8)))
NEEDS: tuple[Resources, ...] = (
    *((),) * 5,
    (("cpu", 1000),),
    (("cpu", 3000), ("memory", 2)),
    (("licence", 1),),
    (("cpu", 500), ("licence", 2)),
)
PATTERNS = ("*", "worker-[01]", "worker-2", "worker-[!0]")


def draw_policy(random: Random) -> Policy:
    """Any mixture of what a policy may say."""
    policy = replace(
        POLICY,
        load_percent=random.choice((100, 125, 400)),
        preferred_wait=random.choice((0, SECOND // 2, 5 * SECOND)),
        starvation=random.choice((0, 3 * SECOND, 60 * SECOND)),
        hedge_percent=random.choice((0, 150)),
        tenants=random.choice(((), (("a", 3, 0, 0), ("b", 1, 2, 6), ("", 1, 0, 0)))),
        max_running_per_invocation=random.choice((0, 0, 1)),
        max_queued_per_invocation=random.choice((0, 0, 5)),
        max_queued=random.choice((1000, 12)),
        pools=random.choice(((), ((BIG_LINUX, (("cpu", 4000), ("memory", 8))),))),
        fleet_resources=(("licence", random.choice((1, 2, 3))),),
    )
    if random.random() < 0.3:
        policy = replace(policy, placement=MODULO, expected_workers=random.randint(1, 6))
    return policy


@dataclass
class SimulatedWorker:
    """A process that may have lost its stream, or its memory, or both.

    `finished` are leases of an earlier life whose completion is on its disk.
    """

    worker_id: str
    slots: int
    properties: Properties
    resources: Resources
    ordinal: int
    session: int = 0
    is_connected: bool = False
    leases: set[LeaseKey] = field(default_factory=set)
    finished: set[LeaseKey] = field(default_factory=set)

    def die(self, random: Random) -> None:
        """Another life of it begins; of its leases some had ended, and nobody knows that yet."""
        self.session += 1
        self.finished |= {lease for lease in sorted(self.leases) if random.random() < 0.5}
        self.leases.clear()

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
        self.reasons: Counter[Why | str] = Counter()
        self.workers = [
            SimulatedWorker(
                f"worker-{n}",
                self.random.randint(1, 3),
                self.random.choice(PLATFORMS),
                self.random.choice(TOTALS),
                self.random.choice((n, n, n, -1, 0)),
            )
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
            (2, self.cordon),
            (1, self.set_policy),
            (10, self.time_passes),
        )
        (draw,) = self.random.choices([d for _, d in draws], weights=[w for w, _ in draws])
        draw()

    def settle(self) -> None:
        """Lets all that is alive end: fresh workers finish everything, and time passes."""
        self.apply(PolicySet(POLICY))
        self.apply(CordonWorkers("*", False))
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
        self.note(event, commands)
        for command in commands:
            self._obey(command)
        broken, self.broken = self.broken, []
        for worker in broken:
            self._disconnect(worker)

    def note(self, event: Event, commands: list[Command]) -> None:
        """An event was handled; nobody has heard of the commands yet."""
        self.events.append((event, self.now))
        self.log.append(f"{self.now} {event!r} -> {commands!r}")

    def _obey(self, command: Command) -> None:
        match command:
            case OfferLease(worker_id, execution_id, epoch, choice):
                assert epoch not in self.epochs, "an epoch was used twice"
                self.epochs.add(epoch)
                worker = self._worker(worker_id)
                assert worker.is_connected, "a lease for a worker that is away"
                self._check_offer(worker, execution_id, choice.why)
                self.reasons[choice.why] += 1
                # One offer in twenty is lost on a stream that is just breaking.
                if self.random.random() < 0.95:
                    worker.leases.add((execution_id, epoch))
                else:
                    self.broken.append(worker)
            case RevokeLease(worker_id, execution_id, epoch):
                worker = self._worker(worker_id)
                self.old_leases.append((worker_id, (execution_id, epoch)))
            case WelcomeWorker(worker_id, revoked):
                worker = self._worker(worker_id)
                worker.leases -= set(revoked)
                assert len(worker.leases) <= worker.slots
                for lease in worker.leases:
                    assert self.queue.is_current(worker_id, *lease), "a lease of no use"
            case RefuseWorker(worker_id, session_id, _):
                worker = self._worker(worker_id)
                assert worker.session_id == session_id
                worker.is_connected = False
                worker.finished = worker.leases.copy()
                worker.leases.clear()
            case Notice(message):
                assert message.startswith("SCALING DETECTED")
            case FinishOperations(names, outcome):
                self.reasons[code_pb2.Code.Name(outcome.code) if outcome else "has run"] += 1
                for name in names:
                    assert name in self.alive, f"{name} ended twice or never began"
                    self.alive.remove(name)
                    self.ended.add(name)
            case TellWaiters(names, _):
                assert self.alive.issuperset(names), "news about what has ended"

    def _check_offer(self, worker: SimulatedWorker, execution_id: str, why: Why) -> None:
        """The worker can run it, is allowed to, and no cap is exceeded."""
        execution = self.queue.executions[execution_id]
        assert set(execution.properties) <= set(worker.properties)
        assert not self.queue.cordons.covers(worker.worker_id), "a lease for a cordoned worker"
        policy = self.queue.policy
        if policy.placement == MODULO:
            number = int(execution.action.split("/")[1], 16)
            assert number % policy.expected_workers == worker.ordinal, "not the owner"
        totals = dict(worker.resources + policy.fleet_resources)
        assert all(totals.get(name, 0) >= amount for name, amount in execution.resources)
        account = execution.account
        if why is not Why.HEDGE:
            for capped in (account, account.tenant):
                assert not capped.max_running or capped.running <= capped.max_running

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
                properties=self.random.choice((*PLATFORMS, (), ())),
                priority=self.random.randint(-1, 1),
                lease_template=b"template",
                tenant=self.random.choice("abc"),
                invocation=self.random.choice(("", "1", "2")),
                resources=self.random.choice(NEEDS),
                expected=self.random.choice((0, 2 * SECOND)),
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
            worker.die(self.random)
        worker.leases |= worker.finished
        worker.finished = set()
        worker.is_connected = True
        wanted = {
            lease for lease in worker.leases if self.queue.is_current(worker.worker_id, *lease)
        }
        self.apply(
            WorkerConnected(
                worker.worker_id,
                worker.session_id,
                worker.slots,
                worker.properties,
                tuple(sorted(worker.leases)),
                worker.resources,
                worker.ordinal,
            )
        )
        assert wanted <= worker.leases or not worker.is_connected, "what was done is lost"

    def lose_stream(self) -> None:
        self._disconnect(self.random.choice(self.workers))

    def _disconnect(self, worker: SimulatedWorker) -> None:
        if worker.is_connected:
            worker.is_connected = False
            self.apply(WorkerDisconnected(worker.worker_id, worker.session_id))

    def lose_process(self) -> None:
        worker = self.random.choice(self.workers)
        self._disconnect(worker)
        worker.die(self.random)

    def drain(self) -> None:
        worker = self.random.choice(self.workers)
        if worker.is_connected:
            self.apply(DrainWorker(worker.worker_id))

    def cordon(self) -> None:
        self.apply(CordonWorkers(self.random.choice(PATTERNS), self.random.random() < 0.5))

    def set_policy(self) -> None:
        self.apply(PolicySet(draw_policy(self.random)))

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
        upcoming = self.queue.next_deadline()
        if upcoming is not None:
            self.now = max(self.now, upcoming)
        self.apply(TimePassed())

    def _worker(self, worker_id: str) -> SimulatedWorker:
        return self.workers[int(worker_id.removeprefix("worker-"))]
