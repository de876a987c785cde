"""The scheduler dies between any two writes of its journal (reliability F6)."""

from random import Random

import pytest

from reapi.scheduler.replay import replay
from tests.simulation.crashing_world import Crashes, CrashingWorld

HISTORIES_PER_BATCH = 125
STEPS = 40


async def run(seed: int, crashes: Crashes) -> CrashingWorld:
    """One history; a failure names its seed."""
    world = CrashingWorld(seed, crashes)
    try:
        await world.run(STEPS)
    except Exception as error:
        story = "\n".join(world.log[-20:])
        raise AssertionError(f"seed {seed} fails after:\n{story}") from error
    return world


@pytest.mark.parametrize("batch", range(8))
async def test_reliability_F6_operations_survive_crashes_and_end_once(batch: int) -> None:
    crashed = 0
    for seed in range(batch * HISTORIES_PER_BATCH, (batch + 1) * HISTORIES_PER_BATCH):
        random = Random(-1 - seed)
        crashed += (await run(seed, lambda _, random=random: random.random() < 0.08)).crashed
    assert crashed > HISTORIES_PER_BATCH


@pytest.mark.parametrize("seed", range(10_000, 10_025))
async def test_reliability_F6_a_crash_after_each_event_of_a_history_loses_nothing(
    seed: int,
) -> None:
    events = len((await run(seed, lambda _: False)).events)
    for number in range(1, events + 1):
        await run(seed, lambda handled, number=number: handled == number)


@pytest.mark.parametrize("seed", range(20_000, 20_100))
async def test_what_is_left_in_the_journal_replays_to_the_same_decisions(seed: int) -> None:
    random = Random(seed)
    world = await run(seed, lambda _: random.random() < 0.05)
    journaled = await world.store.load()
    rows = [*([journaled.snapshot] if journaled.snapshot else []), *journaled.events]
    replayed = replay(rows)
    assert replayed.difference is None
    assert (replayed.events, replayed.incomparable) == (len(journaled.events), 0)
