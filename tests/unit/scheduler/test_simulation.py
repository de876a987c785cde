"""The simulation measures what it says, on traces whose numbers can be had by hand."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from reapi.scheduler.policy import MODULO, RENDEZVOUS
from reapi.scheduler.simulation.plot import plot
from reapi.scheduler.simulation.report import report_rows
from reapi.scheduler.simulation.results import MovedActions, Results, Spread
from reapi.scheduler.simulation.simulate import simulate
from reapi.scheduler.simulation.synthetic import HOUR, Shape, synthetic_trace
from reapi.scheduler.simulation.trace import (
    FleetResized,
    Step,
    TraceAction,
    WorkerFails,
    trace_of,
)

SECOND = 1_000_000
MINUTE = 60 * SECOND
SMALL = Shape(workers=20, slots=2, hours=6, actions=2_000, load=0.5, seed=1)
PLACEMENTS = (RENDEZVOUS, MODULO)


def played(*steps: Step, placement: str = RENDEZVOUS, workers: int = 1, slots: int = 1) -> Results:
    return simulate(trace_of(steps), placement, workers=workers, slots=slots, weights=())


def action(at: int, seconds: int, inputs: str = "", tenant: str = "") -> TraceAction:
    return TraceAction(at * SECOND, seconds * SECOND, inputs or f"at {at}", tenant, f"build {at}")


def test_actions_wait_for_the_one_slot_and_fill_it() -> None:
    results = played(action(0, 60), action(10, 60), action(200, 40), action(400, 1))
    assert (results.actions, results.finished, results.failed, results.attempts) == (4, 4, 0, 4)
    assert results.queue_seconds == Spread(0, 0, 50)
    assert results.utilisation == pytest.approx(160 / 400)
    assert results.most_queued == 1
    # (110 - 10) / 60 for the second; all others begin at once.
    assert results.small_slowdown == Spread(1, 1, pytest.approx(120 / 60 - 10 / 60))
    assert results.simulated_hours == pytest.approx(401 / 3600)


def test_locality_is_that_of_inputs_that_were_there_before() -> None:
    results = played(action(0, 1, "a"), action(2, 1, "b"), action(4, 1, "a"), action(6, 1, "c"))
    assert (results.locality, results.locality_of_recurring) == (0.25, 1.0)
    assert results.preferred == 1.0


def test_the_action_of_a_worker_that_dies_is_tried_again() -> None:
    failure = WorkerFails(30 * SECOND, 0, 300 * SECOND)
    results = played(action(0, 60), failure, action(31, 1), action(500, 1))
    assert (results.finished, results.attempts) == (3, 4)
    # It waits from the death of the only worker until there is one again.
    assert results.queue_seconds.max == pytest.approx(299, abs=61)


@pytest.mark.parametrize(("placement", "workers"), [(RENDEZVOUS, 10), (MODULO, 10)])
def test_a_change_of_the_fleet_moves_actions_and_lets_what_runs_finish(
    placement: str, workers: int
) -> None:
    actions = [action(number, 100, f"{number}") for number in range(500)]
    steps = (FleetResized(300 * SECOND, 15), FleetResized(450 * SECOND, 10))
    results = played(*actions, *steps, placement=placement, workers=workers, slots=20)
    assert (results.finished, results.failed, results.attempts) == (500, 0, 500)
    assert [(one.before, one.after) for one in results.moved] == [(10, 15), (15, 10)]
    assert all(one.least == pytest.approx(1 / 3) for one in results.moved)
    for moved in results.moved:
        # As few as possible by rendezvous; by modulo only the hashes that agree for both stay.
        assert moved.share == pytest.approx(1 / 3 if placement == RENDEZVOUS else 2 / 3, abs=0.12)


def test_a_resize_to_the_same_size_is_none() -> None:
    assert played(action(0, 1), FleetResized(0, 1)).moved == []


def test_tenants_that_wait_together_have_shares_by_weight() -> None:
    steps = [
        replace(action(0, 10 + number % 7, f"{tenant} {number}"), tenant=tenant)
        for tenant in ("app", "infra")
        for number in range(400)
    ]
    trace = trace_of(steps)
    results = simulate(trace, RENDEZVOUS, workers=10, slots=2, weights=[("app", 3)])
    share = results.tenants["app"]
    assert share.entitled == pytest.approx(0.75)
    assert share.share == pytest.approx(0.75, rel=0.1)


def test_a_tenant_is_not_due_more_than_it_wants() -> None:
    many = [
        TraceAction(0, 100 * SECOND, f"many {number}", "infra", "huge") for number in range(100)
    ]
    few = [TraceAction(SECOND, SECOND, f"few {number}", "app", "small") for number in range(3)]
    results = simulate(trace_of([*many, *few]), RENDEZVOUS, workers=20, slots=1, weights=())
    assert results.tenants["app"].entitled == pytest.approx(3 / 20)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_synthetic_day_ends_well_and_alike_every_time(placement: str) -> None:
    first, second = (
        simulate(synthetic_trace(SMALL), placement, workers=20, slots=2, weights=())
        for _ in range(2)
    )
    assert (first.actions, first.finished, first.failed) == (2_000, 2_000, 0)
    assert replace(first, seconds=0) == replace(second, seconds=0)
    assert (first.preferred == 1.0) == (placement == MODULO)


def test_a_synthetic_trace_has_the_shape_that_was_asked_for() -> None:
    trace = synthetic_trace(SMALL)
    actions = [step for step in trace.steps if isinstance(step, TraceAction)]
    assert len(actions) == 2_000
    assert sum(one.duration for one in actions) == pytest.approx(0.5 * 20 * 2 * 6 * HOUR, rel=0.01)
    assert all(one.at <= other.at for one, other in pairwise(trace.steps))
    assert {one.tenant for one in actions} == {"app", "infra", "research"}
    assert len({one.inputs for one in actions}) < len(actions)
    others = [step for step in trace.steps if not isinstance(step, TraceAction)]
    assert [one.workers for one in others if isinstance(one, FleetResized)] == [22, 20]
    assert trace != synthetic_trace(replace(SMALL, seed=2))


def test_the_report_has_a_column_for_each_policy() -> None:
    trace = synthetic_trace(SMALL)
    results = [simulate(trace, one, workers=20, slots=2, weights=()) for one in PLACEMENTS]
    rows = list(report_rows(results))
    assert rows[0] == ("", "rendezvous", "modulo")
    assert {len(row) for row in rows} == {3}
    names = " ".join(row[0] for row in rows)
    for part in ("utilisation", "queue time", "locality", "tenant app", "20 -> 22 workers"):
        assert part in names
    values = results[0].json()
    assert "samples" not in values
    assert values["moved"] == [vars(one) for one in results[0].moved]
    assert isinstance(results[0].moved[0], MovedActions)


def test_a_plot_has_two_panels_for_each_policy(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    trace = synthetic_trace(SMALL)
    results = [simulate(trace, one, workers=20, slots=2, weights=()) for one in PLACEMENTS]
    heights = []
    for count in (1, 2):
        plot(results[:count], "a day", tmp_path / "plot.png")
        picture = (tmp_path / "plot.png").read_bytes()
        assert picture.startswith(b"\x89PNG\r\n")
        heights.append(int.from_bytes(picture[20:24], "big"))
    assert heights[1] > 1.5 * heights[0]
