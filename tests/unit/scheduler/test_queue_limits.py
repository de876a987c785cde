"""Caps of tenants and invocations, and resources, in the scheduler core."""

import pytest
from google.rpc import code_pb2

from reapi.scheduler.events import (
    CancelOperation,
    LeaseReturned,
    TimePassed,
    WorkerConnected,
    WorkerDisconnected,
)
from reapi.scheduler.model import Resources, Stage, Why
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

CPU_4: Resources = (("cpu", 4000),)


def big(worker_id: str = "w1", *, slots: int = 8) -> WorkerConnected:
    """A worker with four cores and more slots than it needs."""
    return connect(worker_id, slots=slots, resources=CPU_4)


class TestCapsOnWhatWaits:
    @pytest.mark.parametrize(
        "policy",
        [
            {"max_queued": 2},
            {"max_queued_per_invocation": 2},
            {"tenants": (("t", 1, 0, 2),)},
            {"tenants": (("", 1, 0, 2), ("other", 1, 0, 0))},
        ],
        ids=["all", "invocation", "tenant", "tenant by default"],
    )
    def test_what_is_beyond_is_refused_for_now(self, policy: dict[str, object]) -> None:
        core = Core(**policy)
        for name in ("a", "b"):
            core(enqueue(name, tenant="t", invocation="i"))
        outcome = outcome_of(core(enqueue("c", tenant="t", invocation="i")))
        assert outcome.code == code_pb2.RESOURCE_EXHAUSTED
        assert outcome.retry_after_seconds > 0
        assert "try again later" in outcome.message
        assert "c" not in core.queue.operations

    def test_others_are_not_concerned_and_what_merges_neither(self) -> None:
        core = Core(max_queued_per_invocation=1, tenants=(("t", 1, 0, 2),))
        core(enqueue("a", tenant="t", invocation="i"))
        for name, tenant, invocation in (("b", "t", "j"), ("c", "u", "i")):
            core(enqueue(name, tenant=tenant, invocation=invocation))
            assert core.execution(name).stage is Stage.QUEUED
        core(enqueue("d", action="action of a", tenant="t", invocation="i"))
        assert core.execution("a").operations == ["a", "d"]

    def test_what_comes_back_from_a_lost_worker_is_not_refused(self) -> None:
        core = Core(max_queued=1)
        core(connect())
        core(enqueue("a"))
        core(enqueue("b"))
        core(WorkerDisconnected("w1", "s1"))
        core(TimePassed(), after=POLICY.reconnect_grace)
        assert core.queue.queued == 2


class TestCapsOnWhatRuns:
    def test_a_tenant_at_its_cap_waits_and_says_so(self) -> None:
        core = Core(tenants=(("t", 1, 1, 0),))
        core(connect(slots=4))
        core(enqueue("a", tenant="t"))
        core(enqueue("b", tenant="t"))
        core(enqueue("c", tenant="u"))
        assert core.why("b") == "tenant 't' runs 1 actions, as many as it may"
        assert core.runs_on("c") == "w1"
        assert leased(core.complete("a")) == [("b", "w1")]

    def test_an_end_on_one_worker_starts_what_only_another_can_run(self) -> None:
        core = Core(max_running_per_invocation=1)
        core(connect("mac", properties=(("OS", "mac"),)))
        core(connect("linux", properties=LINUX))
        core(enqueue("a", invocation="i", properties=(("OS", "mac"),)))
        core(enqueue("b", invocation="i", properties=LINUX))
        assert core.why("b") == "its invocation runs 1 actions, as many as it may"
        assert leased(core.complete("a")) == [("b", "linux")]

    def test_a_cancelled_one_makes_place_though_its_slot_is_still_taken(self) -> None:
        core = Core(tenants=(("t", 1, 1, 0),))
        core(connect(slots=2))
        core(enqueue("a", tenant="t"))
        core(enqueue("b", tenant="t"))
        assert leased(core(CancelOperation("a"))) == [("b", "w1")]

    def test_a_cap_that_is_raised_starts_what_waited_for_it(self) -> None:
        core = Core(max_running_per_invocation=1)
        core(connect(slots=3))
        for name in ("a", "b", "c"):
            core(enqueue(name))
        assert leased(core.set_policy(max_running_per_invocation=2)) == [("b", "w1")]


class TestResources:
    def test_a_worker_gets_no_more_than_it_has(self) -> None:
        core = Core()
        core(big())
        for name in ("a", "b", "c"):
            core(enqueue(name, resources=(("cpu", 1500),)))
        assert core.runs_on("b") == "w1"
        assert core.why("c") == (
            "1 of the workers that could run it have a free slot, but not "
            "cpu=1500m (at most 1 is free)"
        )
        assert leased(core(LeaseReturned("w1", "a", 1)))[0] == ("a", "w1")
        core.complete("a")
        assert core.runs_on("c") == "w1"

    def test_small_ones_pass_a_large_one_that_does_not_fit_until_it_starves(self) -> None:
        core = Core(starvation=10 * SECOND)
        core(big())
        core(enqueue("first", resources=(("cpu", 1000),)))
        core(enqueue("large", resources=CPU_4))
        core(enqueue("second", resources=(("cpu", 1000),)), after=SECOND)
        assert core.runs_on("second") == "w1"
        core(TimePassed(), after=9 * SECOND)
        core(enqueue("third", resources=(("cpu", 1000),)))
        assert "w1 is kept free for it" in core.why("large")
        assert not core.runs_on("third")
        assert not offers(core.complete("first"))
        (offer, *_) = offers(core.complete("second"))
        assert (offer.execution_id, offer.choice.why) == ("large", Why.RESERVED)

    def test_a_reservation_ends_with_what_it_was_for(self) -> None:
        core = Core(starvation=10 * SECOND)
        core(big())
        core(enqueue("first", resources=(("cpu", 1000),)))
        core(enqueue("large", resources=CPU_4))
        core(TimePassed(), after=10 * SECOND)
        core(enqueue("small", resources=(("cpu", 1000),)))
        assert leased(core(CancelOperation("large"))) == [("small", "w1")]

    def test_a_reserved_worker_that_is_lost_is_replaced_in_time(self) -> None:
        core = Core(starvation=10 * SECOND)
        core(big())
        core(enqueue("first", resources=(("cpu", 1000),)))
        core(enqueue("large", resources=CPU_4))
        core(TimePassed(), after=10 * SECOND)
        core(WorkerDisconnected("w1", "s1"))
        assert leased(core(big("w2"))) == [("large", "w2")]

    def test_tokens_of_the_fleet_are_shared_by_its_workers(self) -> None:
        core = Core(fleet_resources=(("licence", 1),))
        core(connect("w1"))
        core(connect("w2"))
        core(enqueue("a", resources=(("licence", 1),)))
        core(enqueue("b", resources=(("licence", 1),)))
        assert core.why("b") == "it needs 1 of the 1 licence of the fleet, of which 0 are free"
        core(enqueue("c"))
        assert core.runs_on("c")
        assert leased(core.complete("a")) == [("b", "w1" if core.runs_on("c") == "w2" else "w2")]

    def test_a_lost_worker_gives_its_tokens_back(self) -> None:
        core = Core(fleet_resources=(("licence", 1),))
        core(connect("w1"))
        core(enqueue("a", resources=(("licence", 1),)))
        core(connect("w2"))
        core(enqueue("b", resources=(("licence", 1),)))
        core(WorkerDisconnected("w1", "s1"))
        commands = core(TimePassed(), after=POLICY.reconnect_grace)
        assert leased(commands) == [("a", "w2")]

    def test_what_nobody_will_ever_have_fails_at_once(self) -> None:
        core = Core(fleet_resources=(("licence", 1),))
        core(big())
        outcome = outcome_of(
            core(enqueue("a", properties=LINUX, resources=(("cpu", 8000), ("licence", 2))))
        )
        assert outcome.code == code_pb2.FAILED_PRECONDITION
        assert [one.subject for one in outcome.violations] == [
            "OS=linux",
            "resource.cpu=8",
            "resource.licence=2",
        ]
        assert "The nearest queue is that of workers that offer resource.cpu=4" in outcome.message

    def test_a_declared_pool_without_workers_lets_wait_what_fits_it(self) -> None:
        core = Core(pools=((LINUX, CPU_4),))
        core(enqueue("a", properties=LINUX, resources=CPU_4))
        assert "declared pool" in core.why("a")
        assert core(TimePassed(), after=100 * POLICY.unmatched_grace) == []
        outcome = outcome_of(core(enqueue("b", properties=LINUX, resources=(("cpu", 5000),))))
        assert "the most that the fleet has in one place is 4" in outcome.message
        assert leased(core(connect(properties=LINUX, resources=CPU_4))) == [("a", "w1")]
