"""How many actions are under way at once."""

import asyncio

import pytest

from reapi.clients.pipeline import allowance as allowance_module
from reapi.clients.pipeline.allowance import Allowance, fair_limit


@pytest.mark.parametrize(
    ("slots", "others_wait", "limit"),
    [
        (100, False, 200),
        (100, True, 80),
        (11, True, 9),
        (1, True, 1),
        (2, False, 16),
        (0, True, 16),
    ],
)
def test_V7_a_repository_leaves_a_fifth_of_the_slots_to_others_that_wait(
    slots: int, others_wait: bool, limit: int
) -> None:
    assert fair_limit(slots, others_wait=others_wait) == limit


class Crowd:
    """Tasks that want in, and stay until they are told to leave."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self.inside: list[int] = []
        self.leave: dict[int, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def come(self, *numbers: int) -> None:
        for number in numbers:
            self.leave[number] = asyncio.Event()
            self.tasks[number] = asyncio.create_task(self._stay(number))
        await self.settle()

    async def _stay(self, number: int) -> None:
        async with self._allowance.one():
            self.inside.append(number)
            try:
                await self.leave[number].wait()
            finally:
                self.inside.remove(number)

    async def go(self, number: int) -> None:
        self.leave[number].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for number in self.leave:
            self.leave[number].set()
        await asyncio.wait(self.tasks.values())


async def fixed(limit: int) -> int:
    return limit


async def test_no_more_than_the_limit_are_inside_and_the_first_to_come_is_the_next() -> None:
    crowd = Crowd(Allowance(lambda: fixed(2)))
    await crowd.come(1, 2, 3, 4)
    assert crowd.inside == [1, 2]
    await crowd.go(2)
    assert crowd.inside == [1, 3]
    await crowd.end()
    assert crowd.inside == []


async def test_one_that_is_cancelled_gives_its_place_to_the_next() -> None:
    crowd = Crowd(Allowance(lambda: fixed(1)))
    await crowd.come(1, 2, 3)
    crowd.tasks[2].cancel()
    crowd.tasks[1].cancel()
    await crowd.settle()
    await crowd.come(4)
    assert crowd.inside == [3]
    await crowd.end()


async def test_a_turn_that_comes_together_with_a_cancellation_is_not_lost() -> None:
    crowd = Crowd(Allowance(lambda: fixed(1)))
    await crowd.come(1, 2, 3)
    crowd.leave[1].set()
    await asyncio.sleep(0)
    crowd.tasks[2].cancel()
    await crowd.settle()
    assert crowd.inside == [3]
    await crowd.end()


async def test_a_limit_that_changes_counts_when_the_next_one_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allowance_module, "_FRESH_SECONDS", -1.0)
    limits = [1]

    async def limit() -> int:
        return limits[-1]

    crowd = Crowd(Allowance(limit))
    await crowd.come(1, 2, 3, 4)
    limits.append(2)
    await crowd.go(1)
    assert crowd.inside == [2, 3]
    limits.append(1)
    await crowd.go(2)
    assert crowd.inside == [3]
    await crowd.go(3)
    assert crowd.inside == [4]
    await crowd.end()


async def test_a_limit_is_not_asked_for_again_while_it_is_fresh() -> None:
    asked: list[int] = []

    async def limit() -> int:
        asked.append(1)
        return 1

    crowd = Crowd(Allowance(limit))
    await crowd.come(*range(10))
    await crowd.end()
    assert len(asked) == 1
