"""Workers that die, or cannot be reached for a while, in the midst of their actions."""

from random import Random

import pytest

from reapi.scheduler import clock
from reapi.scheduler.commands import Command, FinishOperations, OfferLease, WelcomeWorker
from reapi.scheduler.events import (
    Enqueue,
    Event,
    LeaseCompleted,
    Restarted,
    TimePassed,
    WorkerConnected,
    WorkerDisconnected,
)
from reapi.scheduler.invariants import check_invariants
from reapi.scheduler.model import LeaseKey
from reapi.scheduler.policy import Policy
from reapi.scheduler.queue import Queue

SECOND = 1_000_000
GRACE = 10 * SECOND
SEEDS_PER_BATCH = 250


class Pair:
    """Two workers, `first` of which has the only action, under the lease `key`."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.queue = Queue(Policy(reconnect_grace=GRACE))
        self.now = 0
        self.results: list[LeaseKey] = []
        self.offers: list[OfferLease] = []
        for number in range(2):
            self.connect(f"worker-{number}", "session")
        self.apply(Enqueue("op", "", f"blobs/{seed:064x}/1", True, (), 0, b""))
        (offer,) = self.offers
        self.first = offer.worker_id
        self.key = (offer.execution_id, offer.epoch)

    def connect(self, worker_id: str, session: str, *held: LeaseKey) -> list[Command]:
        return self.apply(WorkerConnected(worker_id, session, 1, (), held))

    def disconnect(self) -> None:
        self.apply(WorkerDisconnected(self.first, "session"))

    def passes(self, microseconds: int) -> None:
        """Time, with all that is due on the way."""
        end = self.now + microseconds
        while (due := self.queue.next_deadline()) is not None and due <= end:
            self.now = due
            self.apply(TimePassed())
        self.now = end

    def complete(self, worker_id: str, key: LeaseKey) -> None:
        self.apply(LeaseCompleted(worker_id, *key))

    def apply(self, event: Event) -> list[Command]:
        commands = self.queue.handle(event, self.now)
        check_invariants(self.queue)
        for command in commands:
            if isinstance(command, OfferLease):
                self.offers.append(command)
            if isinstance(command, FinishOperations):
                assert isinstance(event, LeaseCompleted)
                self.results.append((event.execution_id, event.epoch))
        return commands


@pytest.mark.parametrize("batch", range(4))
def test_reliability_F5_the_action_of_a_dead_worker_runs_elsewhere_within_the_grace(
    batch: int,
) -> None:
    for seed in range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH):
        pair = Pair(seed)
        pair.passes(pair.random.randint(0, 60 * SECOND))
        pair.disconnect()
        if pair.random.random() < 0.5:
            pair.passes(GRACE - 1)
            assert len(pair.offers) == 1, f"seed {seed}: another worker has it too early"
            pair.passes(1)
        else:
            # A new process of that name says that the old one has gone.
            pair.passes(pair.random.randint(0, GRACE - 1))
            pair.connect(pair.first, "next session")
        _, again = pair.offers
        assert again.epoch > pair.key[1], f"seed {seed}"
        pair.complete(again.worker_id, (again.execution_id, again.epoch))
        assert pair.results == [(again.execution_id, again.epoch)]


@pytest.mark.parametrize("batch", range(4))
def test_reliability_F5_what_a_worker_had_done_when_it_died_is_not_run_again(batch: int) -> None:
    """Its next life has the completion on disk, and delivers it within the grace."""
    for seed in range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH):
        pair = Pair(seed)
        if pair.random.random() < 0.5:
            pair.disconnect()
        if pair.random.random() < 0.5:
            pair.apply(Restarted())
        pair.passes(pair.random.randint(0, GRACE - 1))
        foreign = ("op", pair.key[1] + 1)
        (welcome,) = pair.connect(pair.first, "next session", pair.key, foreign)
        assert isinstance(welcome, WelcomeWorker)
        assert welcome.revoked == (foreign,), f"seed {seed}"
        pair.complete(pair.first, pair.key)
        pair.complete(pair.first, pair.key)
        assert pair.results == [pair.key]
        assert len(pair.offers) == 1


@pytest.mark.parametrize("batch", range(4))
def test_reliability_N1_after_a_partition_one_epoch_has_the_only_result(batch: int) -> None:
    for seed in range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH):
        pair = Pair(seed)
        pair.disconnect()
        away = pair.random.choice(
            (GRACE - 1, GRACE, 90 * SECOND, pair.random.randint(0, 2 * GRACE))
        )
        pair.passes(away)
        was_lost = away >= GRACE
        (welcome,) = [
            command
            for command in pair.connect(pair.first, "session", pair.key)
            if isinstance(command, WelcomeWorker)
        ]
        assert welcome.revoked == ((pair.key,) if was_lost else ()), f"seed {seed}"
        # It may have been done before it hears that it was to stop.
        leases = [(pair.first, pair.key)]
        leases += [(one.worker_id, (one.execution_id, one.epoch)) for one in pair.offers[1:]]
        expected = leases[-1][1]
        pair.random.shuffle(leases)
        for worker_id, key in leases:
            pair.complete(worker_id, key)
        assert pair.results == [expected], f"seed {seed}"


class Machine:
    """The clocks of a machine whose wall clock is set by hours, in the place of `time`."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._monotonic = random.randint(0, 1 << 50)

    def passes(self, microseconds: int) -> None:
        self._monotonic += 1000 * microseconds

    def monotonic_ns(self) -> int:
        return self._monotonic

    def time_ns(self) -> int:
        hours = self._random.choice((-1, 0, 1))
        return 1_800_000_000 * 10**9 + self._monotonic + hours * 3600 * 10**9


@pytest.mark.parametrize("batch", range(4))
def test_reliability_C1_a_wall_clock_that_is_set_loses_no_worker(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH):
        pair = Pair(seed)
        machine = Machine(pair.random)
        monkeypatch.setattr(clock, "time", machine)
        core_clock = clock.Clock(not_before=pair.random.choice((0, 1 << 61)))
        pair.now = core_clock.now()
        pair.disconnect()
        left = GRACE
        while left > 1:
            pause = pair.random.randint(1, left - 1)
            machine.passes(pause)
            left -= pause
            pair.now = core_clock.now()
            pair.apply(TimePassed())
            assert len(pair.offers) == 1, f"seed {seed}: lost {left} us too early"
        machine.passes(left)
        pair.now = core_clock.now()
        pair.apply(TimePassed())
        assert len(pair.offers) == 2, f"seed {seed}"
