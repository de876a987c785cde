"""Who gets how much of a fleet, in virtual time."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from reapi.scheduler.policy import Policy
from tests.simulation.virtual_fleet import SECOND, VirtualFleet

POLICY = Policy(max_queued=0)


def about_a_second(seed: int) -> Callable[[], int]:
    """Durations between half a second and one and a half."""
    random = Random(seed)
    return lambda: random.randint(SECOND // 2, 3 * SECOND // 2)


@pytest.mark.parametrize("workers", [16, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_small_invocation_beside_a_huge_one_takes_at_most_twice_its_time_alone(
    seed: int, workers: int
) -> None:
    count = 10 * workers
    alone = VirtualFleet(workers, POLICY)
    names = alone.enqueue(count, about_a_second(seed), invocation="small")
    alone.run()
    time_alone = alone.end_of(names)
    beside = VirtualFleet(workers, POLICY)
    beside.enqueue(50 * count, about_a_second(seed + 100), invocation="huge")
    beside.run(until=10 * SECOND)
    begin = beside.now
    names = beside.enqueue(count, about_a_second(seed), invocation="small")
    beside.run()
    assert beside.end_of(names) - begin <= 2 * time_alone


def test_two_invocations_take_turns_on_a_single_worker() -> None:
    fleet = VirtualFleet(1, POLICY)
    huge = fleet.enqueue(100, lambda: SECOND, invocation="huge")
    small = fleet.enqueue(10, lambda: SECOND, invocation="small")
    fleet.run()
    # Whoever comes later is behind those who have not had their turn since.
    assert fleet.started[2:22:2] == small
    assert fleet.started[:2] + fleet.started[3:21:2] == huge[:11]


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (5, 3, 2), (10, 1)])
@pytest.mark.parametrize("workers", [30, 64])
def test_tenants_get_shares_by_their_weights(weights: tuple[int, ...], workers: int) -> None:
    tenants = tuple((f"tenant-{n}", weight, 0, 0) for n, weight in enumerate(weights))
    fleet = VirtualFleet(workers, replace(POLICY, tenants=tenants))
    for number, (name, _, _, _) in enumerate(tenants):
        # Many invocations do not make a tenant's share larger.
        for invocation in range(1 + 3 * number):
            fleet.enqueue(
                60 * workers // (1 + 3 * number),
                about_a_second(number + invocation),
                tenant=name,
                invocation=str(invocation),
            )
    fleet.run(until=40 * SECOND)
    busy = {name: 0 for name, _, _, _ in tenants}
    for (tenant, _), time in fleet.busy.items():
        busy[tenant] += time
    for name, weight, _, _ in tenants:
        share = busy[name] / sum(busy.values())
        fair = weight / sum(weights)
        assert 0.9 * fair <= share <= 1.1 * fair, f"{name} got {share:.3f} instead of {fair:.3f}"


def test_the_fleet_of_an_absent_tenant_is_shared_by_the_others() -> None:
    tenants = (("a", 9, 0, 0), ("b", 1, 0, 0))
    fleet = VirtualFleet(10, replace(POLICY, tenants=tenants))
    names = fleet.enqueue(100, lambda: SECOND, tenant="b")
    fleet.run()
    assert fleet.end_of(names) == 10 * SECOND


def test_a_hundred_priorities_are_twice_the_share() -> None:
    fleet = VirtualFleet(30, POLICY)
    for priority in (0, 100):
        fleet.enqueue(2000, about_a_second(priority), invocation=str(priority), priority=priority)
    fleet.run(until=40 * SECOND)
    urgent, other = fleet.busy["", "0"], fleet.busy["", "100"]
    assert 1.8 < urgent / other < 2.2


def test_inside_an_invocation_the_longest_start_first() -> None:
    durations = [SECOND, 4 * SECOND, 2 * SECOND, 8 * SECOND]
    fleet = VirtualFleet(1, POLICY)
    first = fleet.enqueue(1, lambda: SECOND)
    names = fleet.enqueue(4, iter(durations).__next__, is_known=True)
    fleet.run()
    order = sorted(zip(durations, names, strict=True), reverse=True)
    assert fleet.started == first + [name for _, name in order]


def test_what_is_less_urgent_gets_its_turn_beside_an_endless_stream() -> None:
    """Waiting for `ageing` counts as much as one priority, so nothing starves."""
    fleet = VirtualFleet(1, POLICY)
    fleet.enqueue(1, lambda: SECOND, priority=0)
    (late,) = fleet.enqueue(1, lambda: SECOND, priority=20)
    for second in range(40):
        fleet.enqueue(1, lambda: SECOND, priority=0)
        fleet.run(until=second * SECOND)
    fleet.run()
    assert 20 * SECOND <= fleet.ended_at[late] <= 24 * SECOND
