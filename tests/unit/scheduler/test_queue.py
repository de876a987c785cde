"""The scheduler core, one situation at a time; random histories are in tests/simulation."""

from dataclasses import replace
from itertools import product

import pytest
from google.rpc import code_pb2

from reapi.scheduler.commands import (
    FinishOperations,
    OfferLease,
    RevokeLease,
    TellWaiters,
    WelcomeWorker,
)
from reapi.scheduler.events import (
    CancelOperation,
    LeaseCompleted,
    LeaseReturned,
    Restarted,
    TimePassed,
    WaiterLeft,
    WorkerDisconnected,
)
from reapi.scheduler.invariants import check_invariants
from reapi.scheduler.model import (
    TRANSITIONS,
    Choice,
    Execution,
    IllegalTransition,
    Stage,
    Trigger,
    Why,
)
from reapi.scheduler.policy import MODULO
from reapi.scheduler.queue import DuplicateOperation
from tests.unit.scheduler.core import (
    LINUX,
    POLICY,
    SECOND,
    Core,
    connect,
    enqueue,
    leased,
    offers,
)


@pytest.fixture
def core() -> Core:
    return Core()


PREFERRED = Choice(Why.PREFERRED, 1, "w1")


def offer(execution_id: str, epoch: int, choice: Choice = PREFERRED) -> OfferLease:
    return OfferLease("w1", execution_id, epoch, choice)


class TestTransitions:
    @pytest.mark.parametrize(("stage", "trigger"), list(product(Stage, Trigger)))
    def test_pairs_outside_the_table_raise_and_change_nothing(
        self, stage: Stage, trigger: Trigger
    ) -> None:
        execution = Execution("op", "", "a", True, (), 0, 1, b"", stage=stage)
        before = replace(execution)
        if (stage, trigger) in TRANSITIONS:
            execution.advance(trigger)
            assert execution.stage is TRANSITIONS[stage, trigger]
        else:
            with pytest.raises(IllegalTransition):
                execution.advance(trigger)
            assert execution == before

    def test_nothing_leads_out_of_completed(self) -> None:
        assert all(stage is not Stage.COMPLETED for stage, _ in TRANSITIONS)


class TestPlacingAndCompleting:
    def test_an_idle_worker_gets_the_action_at_once(self, core: Core) -> None:
        assert core(connect()) == [WelcomeWorker("w1", ())]
        assert core(enqueue("a")) == [
            offer("a", 1),
            TellWaiters(("a",), Stage.EXECUTING),
        ]
        assert core(LeaseCompleted("w1", "a", 1)) == [FinishOperations(("a",), None)]
        assert not core.queue.executions

    def test_a_freed_slot_goes_to_the_most_urgent_then_the_oldest(self, core: Core) -> None:
        core(connect())
        core(enqueue("running"))
        for name, priority in (("b", 1), ("a", 0), ("c", 0), ("d", -1)):
            core(enqueue(name, priority=priority))
        order = []
        execution_id, epoch = "running", 1
        for _ in range(4):
            (offer,) = offers(core(LeaseCompleted("w1", execution_id, epoch)))
            execution_id, epoch = offer.execution_id, offer.epoch
            order.append(execution_id)
        assert order == ["d", "a", "c", "b"]

    def test_a_name_is_used_once(self, core: Core) -> None:
        core(enqueue("a"))
        with pytest.raises(DuplicateOperation):
            core(enqueue("a"))
        check_invariants(core.queue)

    def test_merging_raises_the_priority_of_what_waits(self, core: Core) -> None:
        core(enqueue("first", action="x", priority=5))
        core(enqueue("other", action="y", priority=1))
        core(enqueue("joined", action="x", priority=0))
        (offer,) = offers(core(connect()))
        assert offer.execution_id == "first"
        assert core(LeaseCompleted("w1", "first", 1))[0] == FinishOperations(
            ("first", "joined"), None
        )

    def test_a_worker_is_chosen_by_what_it_offers(self, core: Core) -> None:
        core(connect("plain", properties=()))
        core(connect("linux", properties=(("ISA", "arm"), *LINUX)))
        for name in ("a", "b"):
            commands = core(enqueue(name, properties=LINUX))
            assert all(offer.worker_id == "linux" for offer in offers(commands))
        assert core.queue.executions["b"].stage is Stage.QUEUED


class TestLosingWorkers:
    def test_a_lost_worker_puts_its_action_back_in_front(self, core: Core) -> None:
        core(connect())
        core(enqueue("a"))
        core(enqueue("b"))
        core(WorkerDisconnected("w1", "s1"))
        commands = core(TimePassed(), after=POLICY.reconnect_grace)
        assert commands == [TellWaiters(("a",), Stage.QUEUED)]
        (offer,) = offers(core(connect("w2")))
        assert (offer.execution_id, offer.epoch) == ("a", 2)

    def test_an_early_return_changes_nothing(self, core: Core) -> None:
        core(connect())
        core(enqueue("a"))
        core(WorkerDisconnected("w1", "s1"))
        assert core(connect(held=(("a", 1),)), after=SECOND) == [WelcomeWorker("w1", ())]
        assert core(TimePassed(), after=POLICY.reconnect_grace) == []
        assert core.queue.is_current("w1", "a", 1)

    def test_an_offer_that_never_arrived_is_made_again_and_is_no_loss(self, core: Core) -> None:
        core(connect())
        core(enqueue("a"))
        for epoch in range(2, 8):
            core(WorkerDisconnected("w1", "s1"))
            assert offers(core(connect())) == [offer("a", epoch)]

    def test_the_last_allowed_loss_ends_it_as_aborted(self, core: Core) -> None:
        core(connect())
        core(enqueue("a"))
        core(LeaseReturned("w1", "a", 1))
        core(LeaseReturned("w1", "a", 2))
        (finish,) = core(LeaseReturned("w1", "a", 3))
        assert isinstance(finish, FinishOperations)
        assert finish.outcome is not None
        assert finish.outcome.code == code_pb2.ABORTED

    def test_a_stale_word_is_ignored(self, core: Core) -> None:
        core(connect())
        core(enqueue("a"))
        core(LeaseReturned("w1", "a", 1))
        assert core(LeaseCompleted("w1", "a", 1)) == []
        assert core(LeaseCompleted("w2", "a", 2)) == []
        assert core.queue.is_current("w1", "a", 2)

    def test_a_goodbye_of_an_old_session_is_ignored(self, core: Core) -> None:
        core(connect(session="s1"))
        core(connect(session="s2"))
        core(WorkerDisconnected("w1", "s1"))
        assert core.queue.fleet.workers["w1"].is_connected


class TestEnds:
    def test_cancel_revokes_and_the_slot_stays_taken_until_the_worker_is_done(
        self, core: Core
    ) -> None:
        core(connect())
        core(enqueue("a"))
        commands = core(CancelOperation("a"))
        assert commands[0] == RevokeLease("w1", "a", 1)
        assert not offers(core(enqueue("b")))
        assert offers(core(LeaseCompleted("w1", "a", 1))) == [offer("b", 2, Choice(Why.TURN))]

    def test_unwatched_work_ends_after_the_grace_time_and_not_before(self, core: Core) -> None:
        core(connect())
        core(enqueue("a"))
        core(WaiterLeft("a"))
        assert core.queue.next_deadline() == core.now + POLICY.unwatched_grace
        assert core(TimePassed(), after=POLICY.unwatched_grace - 1) == []
        revoke, finish = core(TimePassed(), after=1)
        assert revoke == RevokeLease("w1", "a", 1)
        assert isinstance(finish, FinishOperations)

    def test_a_new_caller_of_the_same_action_saves_it(self, core: Core) -> None:
        core(connect())
        core(enqueue("a", action="x"))
        core(WaiterLeft("a"))
        core(enqueue("b", action="x"))
        assert core(TimePassed(), after=10 * POLICY.unwatched_grace) == []

    def test_what_no_worker_can_run_fails_at_once(self, core: Core) -> None:
        core(connect())
        (finish,) = core(enqueue("a", properties=LINUX))
        assert isinstance(finish, FinishOperations)
        assert finish.outcome is not None
        assert finish.outcome.code == code_pb2.FAILED_PRECONDITION
        assert "OS=linux" in finish.outcome.message

    def test_an_empty_fleet_lets_everything_wait(self, core: Core) -> None:
        assert core(enqueue("a", properties=LINUX)) == [TellWaiters(("a",), Stage.QUEUED)]
        assert core(TimePassed(), after=100 * POLICY.unmatched_grace) == []
        core(connect())
        (finish,) = core(TimePassed(), after=POLICY.unmatched_grace)
        assert isinstance(finish, FinishOperations)

    def test_a_worker_that_fits_and_comes_in_time_runs_it(self, core: Core) -> None:
        core(enqueue("a", properties=LINUX))
        core(connect("other"))
        assert offers(core(connect("linux", properties=LINUX), after=SECOND))
        assert core(TimePassed(), after=POLICY.unmatched_grace) == []


class TestNewSession:
    def test_what_is_done_books_nothing_any_more(self, core: Core) -> None:
        """Others may have it at once, also before its completion has come."""
        core.set_policy(fleet_resources=(("licence", 1),))
        core(connect(slots=2, resources=(("cpu", 1000),)))
        core(enqueue("a", resources=(("cpu", 1000), ("licence", 1))))
        core(enqueue("b", resources=(("cpu", 1000), ("licence", 1))))
        held = (("a", core.execution("a").epoch),)
        again = connect(session="s2", slots=2, resources=(("cpu", 1000),), held=held)
        assert leased(core(again)) == [("b", "w1")]
        assert core.runs_on("a") == "w1"

    def test_what_is_done_beyond_the_slots_of_the_next_life_is_run_again(self, core: Core) -> None:
        core(connect(slots=2))
        core(enqueue("a"))
        core(enqueue("b"))
        held = tuple((name, core.execution(name).epoch) for name in "ab")
        assert WelcomeWorker("w1", held[1:]) in core(connect(session="s2", slots=1, held=held))
        assert core.execution("b").stage is Stage.QUEUED

    def test_a_life_that_is_refused_delivers_nothing(self, core: Core) -> None:
        core(connect(ordinal=0))
        core(enqueue("a", action=f"blobs/{0:064x}/1"))
        held = (("a", core.execution("a").epoch),)
        core.set_policy(placement=MODULO, expected_workers=1)
        core(connect(session="s2", ordinal=7, held=held))
        assert core.execution("a").stage is Stage.QUEUED


class TestRestart:
    def test_epochs_jump_over_offers_that_may_not_have_been_journaled(self, core: Core) -> None:
        core(connect())
        core(enqueue("a"))
        core(Restarted())
        core(LeaseReturned("w1", "a", 1))
        core(connect(session="s2"))
        (lease,) = core.queue.fleet.workers["w1"].leases
        assert lease > 1 << 32

    def test_C1_what_waits_for_a_fitting_worker_waits_on_however_late_it_is(
        self, core: Core
    ) -> None:
        core(enqueue("a", properties=LINUX))
        core(connect("other"))
        core(Restarted(), after=100 * POLICY.unmatched_grace)
        assert core(TimePassed()) == []
        assert offers(core(connect("linux", properties=LINUX)))

    def test_without_anybody_coming_back_all_ends(self, core: Core) -> None:
        core(connect())
        core(enqueue("a"))
        core(Restarted())
        core(TimePassed(), after=POLICY.reconnect_grace)
        assert not core.queue.fleet.workers
        core(TimePassed(), after=POLICY.unwatched_grace)
        assert not core.queue.operations
