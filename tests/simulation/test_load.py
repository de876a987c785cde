"""Loads of reliability.md in virtual time, on thousands of seeds: what the core is promised to do
with very many actions, waiters, cancellations and equal requests."""

from collections import Counter
from random import Random

import pytest

from reapi.scheduler.commands import Command, FinishOperations, OfferLease, RevokeLease
from reapi.scheduler.events import (
    CancelOperation,
    Enqueue,
    LeaseCompleted,
    TimePassed,
    WaiterJoined,
    WaiterLeft,
    WorkerConnected,
)
from reapi.scheduler.invariants import check_invariants
from reapi.scheduler.model import LeaseKey
from reapi.scheduler.policy import Policy
from reapi.scheduler.queue import Queue
from reapi.scheduler.simulation.measurements import Measurements
from reapi.scheduler.simulation.trace import TraceAction, trace_of
from reapi.scheduler.simulation.virtual_fleet import VirtualFleet

SECOND = 1_000_000
SEEDS_PER_BATCH = 250
POLICY = Policy(max_queued=0)


def seeds_of(batch: int) -> range:
    return range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH)


def enqueue(name: str, number: int) -> Enqueue:
    return Enqueue(
        operation_name=name,
        instance_name="",
        action=f"blobs/{number:064x}/142",
        is_mergeable=True,
        properties=(),
        priority=0,
        lease_template=b"",
    )


def queue_of(workers: int, slots: int = 1) -> Queue:
    queue = Queue(POLICY)
    for number in range(workers):
        queue.handle(WorkerConnected(f"worker-{number}", "session", slots, (), ()), 0)
    return queue


def finished(commands: list[Command]) -> list[str]:
    return [
        name
        for command in commands
        if isinstance(command, FinishOperations)
        for name in command.operation_names
    ]


def run_no_ops(actions: int, workers: int, random: Random) -> Measurements:
    """Two instances fill the queue at once; every action takes about a second."""
    steps = [
        TraceAction(0, random.randint(SECOND // 2, 3 * SECOND // 2), f"{number}", tenant)
        for tenant in ("one", "two")
        for number in range(actions // 2)
    ]
    measured = Measurements(sample_interval=SECOND)
    fleet = VirtualFleet(trace_of(steps), POLICY, workers=workers, slots=1, measured=measured)
    fleet.run()
    check_invariants(fleet.queue)
    assert (measured.finished, measured.failed, measured.attempts) == (actions, 0, actions)
    assert measured.shares.keys() == {"one", "two"}
    return measured


def test_reliability_L4_two_hundred_executors_run_a_hundred_thousand_actions_once_each() -> None:
    measured = run_no_ops(100_000, 200, Random(4))
    for share in measured.shares.values():
        assert share.had == pytest.approx(share.due, rel=0.2)


@pytest.mark.parametrize("batch", range(4))
def test_reliability_L4_instances_share_a_fleet_evenly_whatever_its_size(batch: int) -> None:
    for seed in seeds_of(batch):
        random = Random(seed)
        workers = random.randint(4, 12)
        measured = run_no_ops(20 * workers, workers, random)
        for share in measured.shares.values():
            assert share.had == pytest.approx(share.due, rel=0.2), f"seed {seed}"


@pytest.mark.parametrize("batch", range(4))
def test_reliability_L5_waiters_cost_nothing_and_the_last_one_to_leave_counts(batch: int) -> None:
    for seed in seeds_of(batch):
        random = Random(seed)
        queue, now = Queue(POLICY), 0
        queue.handle(enqueue("op", 1), now)
        most = 5_000 if seed % SEEDS_PER_BATCH == 0 else 20
        waiting = 1
        for _ in range(2 * most):
            now += random.randint(0, SECOND)
            joins = waiting < most and random.random() < 0.6
            event = WaiterJoined("op") if joins else WaiterLeft("op")
            if joins or waiting:
                waiting += 1 if joins else -1
                assert queue.handle(event, now) == []
            queue.handle(TimePassed(), now)
            if not queue.operations:
                break
            assert len(queue.operations) == len(queue.executions) == 1
        for _ in range(waiting if queue.operations else 0):
            assert queue.handle(WaiterLeft("op"), now) == []
        if queue.operations:
            end = next(iter(queue.executions.values())).abandon_at
            assert queue.handle(TimePassed(), end - 1) == [], f"seed {seed}"
            assert finished(queue.handle(TimePassed(), end)) == ["op"]
        check_invariants(queue)


class Cancelling:
    """Clients of which 30 % cancel or leave, and workers that end what they are told to kill."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.queue = queue_of(self.random.randint(1, 5), 2)
        self.now = 0
        self.begun = 0
        self.leases: list[tuple[str, LeaseKey]] = []
        self.ended: Counter[str] = Counter()

    def run(self, actions: int) -> None:
        while self.begun < actions or self.queue.executions or self.leases:
            self.step(is_over=self.begun == actions)
            for execution in self.queue.executions.values():
                # No orphan is older than the grace: those without a waiter have an end in sight.
                assert execution.waiters or self.now < execution.abandon_at
                assert execution.abandon_at <= self.now + POLICY.unwatched_grace
        assert self.ended == Counter(f"op-{number}" for number in range(1, actions + 1))

    def step(self, *, is_over: bool) -> None:
        self.now += self.random.randint(0, 40 * SECOND)
        self.apply(TimePassed())
        if not is_over and self.random.random() < 0.6:
            self.begun += 1
            name = f"op-{self.begun}"
            self.apply(enqueue(name, self.random.randint(1, 8)))
            if self.random.random() < 0.3:
                leaves = self.random.random() < 0.5
                self.apply(WaiterLeft(name) if leaves else CancelOperation(name))
        elif self.leases:
            worker_id, key = self.leases.pop(self.random.randrange(len(self.leases)))
            self.apply(LeaseCompleted(worker_id, *key))

    def apply(
        self, event: Enqueue | WaiterLeft | CancelOperation | LeaseCompleted | TimePassed
    ) -> None:
        commands = self.queue.handle(event, self.now)
        self.ended.update(finished(commands))
        for command in commands:
            if isinstance(command, OfferLease):
                self.leases.append((command.worker_id, (command.execution_id, command.epoch)))
            if isinstance(command, RevokeLease):
                assert (command.worker_id, (command.execution_id, command.epoch)) in self.leases


@pytest.mark.parametrize("batch", range(4))
def test_reliability_L6_cancellations_leave_no_orphans_and_nothing_behind(batch: int) -> None:
    for seed in seeds_of(batch):
        world = Cancelling(seed)
        try:
            world.run(40)
        except AssertionError as error:
            raise AssertionError(f"seed {seed} fails") from error
        queue = world.queue
        check_invariants(queue)
        left = (queue.executions, queue.operations, queue.in_flight, queue.held)
        assert not any(left)
        assert not queue.accounts.invocations
        assert not any(worker.leases for worker in queue.fleet.workers.values())


@pytest.mark.parametrize("batch", range(4))
def test_reliability_L7_equal_requests_are_one_execution_with_a_result_for_each(batch: int) -> None:
    for seed in seeds_of(batch):
        random = Random(seed)
        queue = queue_of(random.randint(1, 4))
        clients = 500 if seed % 50 == 0 else random.randint(2, 40)
        names = [f"op-{number}" for number in range(clients)]
        offers = [
            command
            for now, name in enumerate(names)
            for command in queue.handle(enqueue(name, 1), now)
            if isinstance(command, OfferLease)
        ]
        (offer,) = offers
        lease = LeaseCompleted(offer.worker_id, offer.execution_id, offer.epoch)
        (end,) = [
            command
            for command in queue.handle(lease, clients)
            if isinstance(command, FinishOperations)
        ]
        assert (list(end.operation_names), end.outcome) == (names, None), f"seed {seed}"
        assert queue.handle(lease, clients + 1) == []
