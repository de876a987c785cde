"""The heaps behind fair shares: exact weights of priorities, and no garbage that piles up."""

import pytest

from reapi.scheduler.events import CancelOperation, LeaseCompleted
from reapi.scheduler.priority import scale
from tests.unit.scheduler.core import LINUX, Core, connect, enqueue

WIDE = (("OS", "wide"),)


def test_a_hundred_priorities_are_a_factor_of_two_in_whole_numbers() -> None:
    assert scale(0) == 1 << 20
    assert scale(100) == 1 << 21
    assert scale(-300) == 1 << 17
    assert scale(50) ** 2 <= 1 << 41 < (scale(50) + 1) ** 2
    assert sorted(map(scale, range(-1000, 1001))) == [scale(one) for one in range(-1000, 1001)]


def test_priorities_beyond_the_advertised_range_count_as_its_ends() -> None:
    assert scale(2**31 - 1) == scale(1000)
    assert scale(-(2**31)) == scale(-1000)


def test_what_was_cancelled_does_not_pile_up_behind_what_waits() -> None:
    core = Core()
    core(enqueue("waits"))
    for number in range(2000):
        core.queue.handle(enqueue(f"a{number}"), 1)
        core.queue.handle(CancelOperation(f"a{number}"), 1)
    (line,) = core.execution("waits").account.lines.values()
    assert len(line.heap) < 100


def test_the_turns_of_many_leases_do_not_pile_up() -> None:
    core = Core(max_queued=0)
    for number in range(3000):
        name = str(number % 3)
        core.queue.handle(enqueue(f"a{number}", tenant=name, invocation=name), number)
    core.queue.handle(connect(slots=7), 0)
    lane = core.execution("a2999").lane
    for _ in range(2900):
        running = next(one for one in core.queue.executions.values() if one.worker_id)
        end = LeaseCompleted("w1", running.execution_id, running.epoch)
        core.queue.handle(end, 1)
    assert len(lane.heap) < 50
    assert all(len(branch.heap) < 50 for branch in lane.branches.values())


@pytest.mark.parametrize("ends", [1, 10, 5000])
def test_a_lane_that_is_looked_at_late_knows_who_runs_less_by_then(ends: int) -> None:
    core = Core(max_queued=0)
    handle = core.queue.handle
    handle(connect("wide", slots=20, properties=WIDE), 0)
    handle(connect("narrow", properties=LINUX), 0)
    handle(enqueue("first", properties=LINUX, tenant="other"), 0)
    for tenant in ("more", "less"):
        for number in range(10):
            handle(enqueue(f"{tenant}-{number}", properties=WIDE, tenant=tenant), 0)
        handle(enqueue(f"{tenant}-waits", properties=LINUX, tenant=tenant), 0)
    for number in range(ends):
        if number:
            handle(enqueue(f"less-{9 + number}", properties=WIDE, tenant="less"), 0)
        handle(core.completion(f"less-{9 + number if number else 0}"), 0)
    core.complete("first")
    assert core.runs_on("less-waits") == "narrow"
    assert core.runs_on("more-waits") == ""
