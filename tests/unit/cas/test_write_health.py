"""A store that cannot be written is known, and found out to be well again."""

import asyncio

import pytest

from reapi.cas.write_health import OBJECTS, STATE, WriteHealth
from reapi.core.errors import ReapiError, ResourceExhausted, Unavailable


class Disk:
    """Fails while it is told to; counts how often it is tried."""

    def __init__(self) -> None:
        self.error: ReapiError | None = None
        self.checks = 0
        self.checked = asyncio.Event()

    async def check(self) -> None:
        self.checks += 1
        self.checked.set()
        if self.error is not None:
            raise self.error


@pytest.fixture
async def disk() -> Disk:
    return Disk()


def fail(health: WriteHealth, part: str, error: ReapiError) -> None:
    with pytest.raises(type(error)), health.watch(part):
        raise error


async def test_a_problem_lasts_until_that_part_works(disk: Disk) -> None:
    health = WriteHealth({OBJECTS: disk.check, STATE: disk.check}, probe_seconds=1e6)
    told: list[str | None] = []
    health.add_listener(told.append)
    fail(health, OBJECTS, Unavailable("broken"))
    health.works(STATE)
    assert health.problem == "broken"
    health.works(OBJECTS)
    assert health.problem is None
    assert told == ["broken", None]
    await health.aclose()


async def test_a_full_store_is_well(disk: Disk) -> None:
    health = WriteHealth({OBJECTS: disk.check}, probe_seconds=1e6)
    fail(health, OBJECTS, ResourceExhausted("full"))
    assert health.problem is None
    await health.aclose()


async def test_a_part_that_turns_out_to_be_full_is_well(disk: Disk) -> None:
    health = WriteHealth({OBJECTS: disk.check}, probe_seconds=0)
    well = asyncio.Event()
    health.add_listener(lambda problem: None if problem else well.set())
    disk.error = ResourceExhausted("full")
    fail(health, OBJECTS, Unavailable("broken"))
    await well.wait()
    await health.aclose()


async def test_it_is_tried_until_it_works_and_no_longer(disk: Disk) -> None:
    health = WriteHealth({STATE: disk.check}, probe_seconds=0)
    well = asyncio.Event()
    health.add_listener(lambda problem: None if problem else well.set())
    disk.error = Unavailable("still broken")
    fail(health, STATE, Unavailable("broken"))
    await disk.checked.wait()
    assert health.problem == "broken"
    disk.error = None
    await well.wait()
    checks = disk.checks
    for _ in range(10):
        await asyncio.sleep(0)
    assert disk.checks == checks
    fail(health, STATE, Unavailable("broken again"))
    well.clear()
    await well.wait()
    await health.aclose()
