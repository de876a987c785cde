"""Which worker the core chooses: preferred ones, holds, stealing, bounded load, modulo, hedges."""

from itertools import count

import pytest
from google.rpc import code_pb2
from xxhash import xxh3_64_intdigest

from reapi.scheduler.commands import (
    FinishOperations,
    Notice,
    OfferLease,
    RefuseWorker,
    RevokeLease,
    TellWaiters,
)
from reapi.scheduler.events import (
    CordonWorkers,
    LeaseCompleted,
    LeaseReturned,
    Restarted,
    TimePassed,
    WaiterLeft,
    WorkerDisconnected,
)
from reapi.scheduler.model import Choice, Stage, Why
from reapi.scheduler.policy import MODULO, Policy
from tests.unit.scheduler.core import (
    LINUX,
    POLICY,
    SECOND,
    Core,
    connect,
    enqueue,
    leased,
    offers,
    outcome_of,
)

HOLD = POLICY.preferred_wait


def preferring(core: Core, worker_id: str) -> str:
    """An action whose preferred worker is this one."""
    lane = core.queue.fleet.lane((), (), "")
    for number in count():
        action = f"blobs/{number}/1"
        if lane.ring.preferred(xxh3_64_intdigest(action.encode())) == worker_id:
            return action
    raise AssertionError


@pytest.fixture
def core() -> Core:
    """Two workers of which the first one is busy with `busy`."""
    core = Core()
    core(connect("w1"))
    core(enqueue("busy"))
    core(connect("w2"))
    return core


class TestPreferredWorker:
    def test_it_gets_the_action_if_it_has_room(self, core: Core) -> None:
        (offer,) = offers(core(enqueue("a", action=preferring(core, "w2"))))
        assert offer.choice == Choice(Why.PREFERRED, 1, "w2")

    def test_it_is_waited_for_while_others_have_room(self, core: Core) -> None:
        assert core(enqueue("a", action=preferring(core, "w1"))) == [
            TellWaiters(("a",), Stage.QUEUED)
        ]
        assert core.queue.next_deadline() == HOLD
        assert core.why("a") == (
            "it waits up to 50 ms for w1, its preferred worker, which has no room at the moment"
        )
        (offer,) = offers(core.complete("busy"))
        assert offer.choice == Choice(Why.PREFERRED, 1, "w1")

    def test_after_a_while_the_next_in_rank_gets_the_action(self, core: Core) -> None:
        core(enqueue("a", action=preferring(core, "w1")))
        assert not core(TimePassed(), after=HOLD - 1)
        (offer,) = offers(core(TimePassed(), after=1))
        assert (offer.worker_id, offer.choice) == ("w2", Choice(Why.SPILL, 2, "w1"))

    def test_a_worker_that_becomes_idle_takes_what_is_held_for_another(self, core: Core) -> None:
        core(enqueue("other", action=preferring(core, "w2")))
        core(connect("w3"))
        core(enqueue("a", action=preferring(core, "w1")))
        (offer,) = offers(core.complete("other"))
        assert (offer.worker_id, offer.choice.why) == ("w2", Why.STOLEN)

    def test_what_is_held_may_be_cancelled_or_become_unwanted(self, core: Core) -> None:
        core(enqueue("a", action=preferring(core, "w1")))
        core(Restarted())
        assert core(TimePassed(), after=POLICY.unwatched_grace)[-1]
        assert not core.queue.operations

    def test_what_is_leased_and_abandoned_at_one_moment_is_never_offered(self, core: Core) -> None:
        core.set_policy(unwatched_grace=HOLD + 1)
        core(enqueue("a", action=preferring(core, "w1")))
        core(WaiterLeft("a"))
        commands = core(TimePassed(), after=2 * HOLD)
        assert not any(isinstance(one, OfferLease | RevokeLease) for one in commands)
        assert isinstance(commands[-1], FinishOperations)
        assert not core.queue.fleet.workers["w2"].leases
        assert leased(core(enqueue("b", action=preferring(core, "w2")))) == [("b", "w2")]

    def test_without_a_wait_the_next_in_rank_gets_it_at_once(self, core: Core) -> None:
        core.set_policy(preferred_wait=0)
        assert leased(core(enqueue("a", action=preferring(core, "w1")))) == [("a", "w2")]

    def test_nobody_is_waited_for_when_all_are_busy(self, core: Core) -> None:
        core(enqueue("b", action=preferring(core, "w2")))
        core(enqueue("a", action=preferring(core, "w1")))
        assert not core.execution("a").held_until
        assert core.why("a") == (
            "all 2 slots of the 2 workers that could run it are taken; about 0 start before it"
        )

    def test_no_worker_takes_much_more_than_the_average(self) -> None:
        core = Core(load_percent=125)
        core(connect("w1", slots=100))
        core(connect("w2", slots=100))
        core(enqueue("first"))
        action = preferring(core, "w1")
        for number in range(40):
            core(enqueue(f"a{number}", action=action, is_mergeable=False))
        leases = [len(worker.leases) for worker in core.queue.fleet.workers.values()]
        assert sum(leases) == 41
        assert max(leases) <= 27


class TestModulo:
    @pytest.fixture
    def core(self) -> Core:
        return Core(placement=MODULO, expected_workers=2)

    def test_each_action_goes_to_its_owner_and_nowhere_else(self, core: Core) -> None:
        core(connect("w-0", ordinal=0))
        core(connect("w-1", ordinal=1))
        (offer,) = offers(core(enqueue("a", action="blobs/0a/1")))
        assert (offer.worker_id, offer.choice) == ("w-0", Choice(Why.OWNER, 1, "w-0"))
        core(enqueue("b", action="blobs/0c/1"))
        assert core.execution("b").stage is Stage.QUEUED
        (offer,) = offers(core.complete("a"))
        assert (offer.worker_id, offer.choice.why) == ("w-0", Why.OWNER)

    def test_an_action_of_an_absent_owner_waits_and_says_for_whom(self, core: Core) -> None:
        core(connect("w-0", ordinal=0))
        core(enqueue("a", action="blobs/0b/1"))
        assert core(TimePassed(), after=100 * POLICY.unmatched_grace) == []
        assert core.why("a") == (
            "worker 1 of the 2 numbered from 0, which owns it (digest modulo the number of "
            "workers), is not connected"
        )
        assert leased(core(connect("w-1", ordinal=1))) == [("a", "w-1")]

    @pytest.mark.parametrize(
        ("ordinal", "words"),
        [(-1, "no ordinal"), (2, "too high"), (0, "as w-0 has already")],
    )
    def test_a_worker_without_a_place_of_its_own_is_refused_with_advice(
        self, core: Core, ordinal: int, words: str
    ) -> None:
        core(connect("w-0", ordinal=0))
        refusal, *notices = core(connect("x", "s2", ordinal=ordinal))
        assert isinstance(refusal, RefuseWorker)
        assert (refusal.worker_id, refusal.session_id) == ("x", "s2")
        assert words in refusal.message
        assert "executor.worker_id" in refusal.message
        assert "scheduler.expected_workers, which is 2" in refusal.message
        assert "x" not in core.queue.fleet.workers
        assert bool(notices) == (ordinal == 2)
        for notice in notices:
            assert isinstance(notice, Notice)
            assert notice.message.startswith("SCALING DETECTED: 2 workers are expected")

    def test_a_worker_that_restarts_takes_its_own_place(self, core: Core) -> None:
        core(connect("w-0", ordinal=0))
        core(connect("w-0", "s2", ordinal=0))
        assert core.queue.fleet.workers["w-0"].session_id == "s2"

    def test_another_number_of_workers_maps_anew_what_waits_and_lets_finish_what_runs(
        self, core: Core
    ) -> None:
        core(connect("w-0", ordinal=0))
        core(connect("w-1", ordinal=1))
        core(enqueue("runs", action="blobs/02/1"))
        core(enqueue("moves", action="blobs/04/1"))
        core(enqueue("stays", action="blobs/06/1"))
        epoch = core.queue.next_epoch
        notice, *others = core.set_policy(expected_workers=3)
        assert notice == Notice(
            "SCALING DETECTED: placement by modulo goes from 2 to 3 workers; 2 queued actions are "
            "mapped anew, 1 that run finish where they are"
        )
        assert leased(others) == [("moves", "w-1")]
        assert core.queue.next_epoch >> 32 == (epoch >> 32) + 1
        assert core.runs_on("runs") == "w-0"
        assert leased(core.complete("runs")) == [("stays", "w-0")]

    def test_a_worker_beyond_a_smaller_number_finishes_and_gets_nothing_new(
        self, core: Core
    ) -> None:
        core(connect("w-0", ordinal=0))
        core(connect("w-1", ordinal=1))
        core(enqueue("a", action="blobs/01/1"))
        core.set_policy(expected_workers=1)
        core(connect("w-1", ordinal=1, held=(("a", 1),)))
        assert core.queue.is_current("w-1", "a", 1)
        assert not leased(core.complete("a"))
        assert leased(core(enqueue("b", action="blobs/03/1"))) == [("b", "w-0")]

    def test_an_owner_that_lacks_what_is_asked_for_is_named_by_what_it_offers(
        self, core: Core
    ) -> None:
        core(connect("w-0", ordinal=0))
        core(connect("w-1", ordinal=1, properties=LINUX))
        outcome = outcome_of(core(enqueue("a", action="blobs/02/1", properties=LINUX)))
        assert outcome.code == code_pb2.FAILED_PRECONDITION
        assert "workers that offer no properties" in outcome.message

    def test_it_needs_a_number(self) -> None:
        with pytest.raises(ValueError, match="expected workers"):
            Policy(placement=MODULO)


class TestCordons:
    def test_a_cordoned_worker_finishes_and_gets_nothing_new(self, core: Core) -> None:
        core(CordonWorkers("w*", True))
        core(enqueue("a"))
        assert core.why("a") == ("of the workers that could run it none takes leases: 2 cordoned")
        assert core.complete("busy") == [FinishOperations(("busy",), None)]
        assert leased(core(CordonWorkers("w2", False))) == [("a", "w2")]

    def test_a_pattern_holds_for_workers_that_come_later(self, core: Core) -> None:
        core(CordonWorkers("w[3-5]", True))
        core(connect("w3"))
        assert core.queue.fleet.workers["w3"].is_cordoned
        core(CordonWorkers("*", False))
        assert not core.queue.fleet.workers["w3"].is_cordoned
        assert core.queue.cordons.rows == []


class TestHedges:
    @pytest.fixture
    def core(self) -> Core:
        """`slow` has a second lease, since it takes twice its time: epochs 1 and 2."""
        core = Core(hedge_percent=200)
        core(connect("w1"))
        core(enqueue("slow", expected=10 * SECOND))
        core(connect("w2"))
        assert not core(TimePassed(), after=20 * SECOND)
        (offer,) = offers(core(TimePassed(), after=SECOND))
        assert (offer.worker_id, offer.epoch) == ("w2", 2)
        assert (offer.choice.why, offer.choice.preferred) == (Why.HEDGE, "w1")
        return core

    @pytest.mark.parametrize(
        ("winner", "epoch", "loser", "other"), [("w1", 1, "w2", 2), ("w2", 2, "w1", 1)]
    )
    def test_the_first_result_counts_and_the_other_lease_is_revoked(
        self, core: Core, winner: str, epoch: int, loser: str, other: int
    ) -> None:
        assert core(LeaseCompleted(winner, "slow", epoch)) == [
            RevokeLease(loser, "slow", other),
            FinishOperations(("slow",), None),
        ]
        assert core(LeaseCompleted(loser, "slow", other)) == []

    def test_losing_one_of_the_two_leaves_the_other(self, core: Core) -> None:
        assert core(LeaseReturned("w1", "slow", 1)) == []
        assert core.queue.is_current("w2", "slow", 2)
        assert not core.queue.is_current("w1", "slow", 1)
        assert core(LeaseCompleted("w2", "slow", 2)) == [FinishOperations(("slow",), None)]

    def test_there_is_none_while_others_wait(self) -> None:
        core = Core(hedge_percent=200)
        core(connect("w1"))
        core(enqueue("slow", expected=10 * SECOND))
        core(enqueue("waits"))
        assert not core(TimePassed(), after=21 * SECOND)
        core(connect("w2"))
        core.complete("waits")
        assert leased(core(TimePassed(), after=22 * SECOND)) == [("slow", "w2")]

    def test_there_is_none_unless_asked_for(self) -> None:
        core = Core()
        core(connect("w1"))
        core(enqueue("slow", expected=10 * SECOND))
        core(connect("w2"))
        assert not core(TimePassed(), after=1000 * SECOND)


def test_what_kills_its_workers_is_ended_and_they_are_named() -> None:
    core = Core(max_attempts=2)
    core(connect("w1"))
    core(enqueue("a"))
    core(WorkerDisconnected("w1", "s1"))
    core(TimePassed(), after=POLICY.reconnect_grace)
    core(connect("w2"))
    core(WorkerDisconnected("w2", "s1"))
    outcome = outcome_of(core(TimePassed(), after=POLICY.reconnect_grace))
    assert outcome.code == code_pb2.ABORTED
    assert "gave up after 2 workers were lost while they ran this action (w1, w2)" in (
        outcome.message
    )
