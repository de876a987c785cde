"""What many ask for at about the same time is run as one, and each gets his own result."""

import asyncio
from collections.abc import Sequence

import pytest

from reapi.core.errors import Unavailable
from reapi.core.gathering import Gatherer


class Runs:
    """Doubles numbers; notes what came together, and waits while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def run(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]

    def gatherer(self, *, max_weight: int = 100, max_running: int = 1) -> Gatherer[int, int]:
        return Gatherer(
            self.run, max_weight=max_weight, max_running=max_running, weigh=lambda item: item
        )


async def test_calls_of_one_turn_are_one_run() -> None:
    runs = Runs()
    gatherer = runs.gatherer()
    assert await asyncio.gather(*map(gatherer.call, (1, 2, 3))) == [2, 4, 6]
    assert runs.batches == [[1, 2, 3]]


async def test_calls_during_a_run_are_the_next_one() -> None:
    runs = Runs()
    gatherer = runs.gatherer()
    runs.gate.clear()
    futures = [gatherer.call(1)]
    for _ in range(2):
        await asyncio.sleep(0)
    for number in (2, 3):
        futures.append(gatherer.call(number))
        await asyncio.sleep(0)
    runs.gate.set()
    assert await asyncio.gather(*futures) == [2, 4, 6]
    assert runs.batches == [[1], [2, 3]]


async def test_a_run_takes_no_more_than_its_weight_but_always_one() -> None:
    runs = Runs()
    gatherer = runs.gatherer(max_weight=10)
    await asyncio.gather(*map(gatherer.call, (50, 4, 6, 1)))
    assert runs.batches == [[50], [4, 6], [1]]


async def test_only_so_many_run_at_once() -> None:
    runs = Runs()
    gatherer = runs.gatherer(max_weight=1, max_running=2)
    runs.gate.clear()
    futures = [gatherer.call(number) for number in (1, 2, 3)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert runs.batches == [[1], [2]]
    runs.gate.set()
    assert await asyncio.gather(*futures) == [2, 4, 6]


async def test_a_bad_item_fails_alone() -> None:
    runs = Runs()
    gatherer = runs.gatherer()
    results = await asyncio.gather(*map(gatherer.call, (1, 13, 2)), return_exceptions=True)
    assert isinstance(results[1], ValueError)
    assert [results[0], results[2]] == [2, 4]


async def test_a_service_that_is_down_fails_all_at_once() -> None:
    runs = Runs()
    runs.error = Unavailable("down")
    gatherer = runs.gatherer()
    results = await asyncio.gather(*map(gatherer.call, (1, 2)), return_exceptions=True)
    assert results == [runs.error, runs.error]
    assert runs.batches == [[1, 2]]


async def test_who_is_cancelled_takes_nobody_along() -> None:
    runs = Runs()
    gatherer = runs.gatherer()
    runs.gate.clear()
    futures = [gatherer.call(number) for number in (1, 2)]
    await asyncio.sleep(0)
    futures[0].cancel()
    runs.gate.set()
    assert await futures[1] == 4
    with pytest.raises(asyncio.CancelledError):
        await futures[0]


async def test_closing_waits_for_all_that_was_asked_for() -> None:
    runs = Runs()
    gatherer = runs.gatherer(max_weight=1)
    futures = [gatherer.call(number) for number in (1, 2, 3)]
    await gatherer.close()
    assert [future.result() for future in futures] == [2, 4, 6]
