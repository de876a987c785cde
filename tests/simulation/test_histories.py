"""Thousands of random histories of the scheduler core, with its invariants checked at each step."""

from collections import Counter

import pytest

from reapi.scheduler.codec import decode, encode, revive
from reapi.scheduler.invariants import check_invariants
from reapi.scheduler.model import Why
from reapi.scheduler.queue import Queue
from reapi.scheduler.snapshot import restore, take_snapshot
from tests.simulation.world import World

HISTORIES_PER_BATCH = 250


def run(seed: int, steps: int, *, checked: bool) -> World:
    """One history, to its very end; a failure names its seed."""
    world = World(seed, Queue())
    try:
        world.set_policy()
        for _ in range(steps):
            world.step()
            if checked:
                check_invariants(world.queue)
        world.settle()
        check_invariants(world.queue)
        assert not world.queue.operations
        assert len(world.ended) == world.names
    except Exception as error:
        story = "\n".join(world.log[-20:])
        raise AssertionError(f"seed {seed} fails after:\n{story}") from error
    return world


@pytest.mark.parametrize("batch", range(8))
def test_every_operation_ends_exactly_once_whatever_happens(batch: int) -> None:
    for seed in range(batch * HISTORIES_PER_BATCH, (batch + 1) * HISTORIES_PER_BATCH):
        run(seed, 60, checked=True)


def test_histories_come_across_every_kind_of_decision_and_end() -> None:
    """Otherwise the tests above would prove less than they say."""
    seen: Counter[Why | str] = Counter()
    for seed in range(100):
        seen += run(4_000_000 + seed, 100, checked=False).reasons
    ends = {"has run", "CANCELLED", "ABORTED", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
    assert {*Why, *ends} <= seen.keys(), seen


@pytest.mark.parametrize("seed", range(20))
def test_long_histories_keep_the_invariants(seed: int) -> None:
    run(1_000_000 + seed, 1_000, checked=True)


@pytest.mark.parametrize("seed", range(100))
def test_two_runs_of_a_seed_give_the_same_commands_byte_for_byte(seed: int) -> None:
    first = run(2_000_000 + seed, 300, checked=False)
    second = run(2_000_000 + seed, 300, checked=False)
    assert "\n".join(first.log).encode() == "\n".join(second.log).encode()


@pytest.mark.parametrize("seed", range(60))
def test_a_snapshot_and_the_later_events_give_the_same_commands(seed: int) -> None:
    """Recovery from a snapshot taken at a random moment, through the journal's own encoding."""
    world = World(3_000_000 + seed, Queue())
    world.set_policy()
    cut = world.random.randint(0, 300)
    snapshot = ""
    for step in range(300):
        if step == cut:
            snapshot, position = take_snapshot(world.queue), len(world.events)
        world.step()
    queue = restore(snapshot)
    for index in range(position, len(world.events)):
        event, now = world.events[index]
        (revived,) = decode(encode(event))
        commands = queue.handle(revive(revived), now)
        check_invariants(queue)
        assert f"{now} {event!r} -> {commands!r}" == world.log[index], f"seed {seed}"
    assert take_snapshot(queue) == take_snapshot(world.queue)
