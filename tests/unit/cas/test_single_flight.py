"""One run serves all who wait, and none is left behind."""

import asyncio

import pytest

from reapi.cas.single_flight import SingleFlight


class Work:
    """Counts its runs; each ends when `release` is set, and says when it has."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.ended = 0
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        self.begun.set()
        try:
            await self.release.wait()
        finally:
            self.ended += 1
        if self._error is not None:
            raise self._error
        return run


async def callers(
    flights: SingleFlight[str, int], work: Work, count: int
) -> list["asyncio.Task[int]"]:
    tasks = [asyncio.create_task(flights.run("key", work)) for _ in range(count)]
    await work.begun.wait()
    await asyncio.sleep(0)
    return tasks


async def test_callers_at_once_share_a_run_and_later_ones_do_not() -> None:
    flights, work = SingleFlight[str, int](), Work()
    tasks = await callers(flights, work, 3)
    work.release.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await flights.run("key", work) == 2


async def test_keys_do_not_wait_for_each_other() -> None:
    flights, held, free = SingleFlight[str, int](), Work(), Work()
    free.release.set()
    (task,) = await callers(flights, held, 1)
    assert await flights.run("other key", free) == 1
    held.release.set()
    await task


async def test_all_callers_get_the_error_and_the_next_starts_anew() -> None:
    flights, work = SingleFlight[str, int](), Work(ValueError("no"))
    tasks = await callers(flights, work, 2)
    work.release.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no", "no"]
    with pytest.raises(ValueError, match="no"):
        await flights.run("key", work)
    assert work.runs == 2


async def test_work_goes_on_while_somebody_waits() -> None:
    flights, work = SingleFlight[str, int](), Work()
    first, second = await callers(flights, work, 2)
    first.cancel()
    await asyncio.wait((first,))
    assert first.cancelled()
    assert work.ended == 0
    work.release.set()
    assert await second == 1


async def test_work_has_ended_when_the_last_caller_is_cancelled() -> None:
    flights, work = SingleFlight[str, int](), Work()
    tasks = await callers(flights, work, 2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert work.ended == 1
    assert all(task.cancelled() for task in tasks)
    work.release.set()
    assert await flights.run("key", work) == 2


async def test_whoever_comes_while_cancelled_work_ends_starts_anew() -> None:
    flights, work = SingleFlight[str, int](), Work()
    (first,) = await callers(flights, work, 1)
    first.cancel()
    work.release.set()
    await asyncio.sleep(0)
    assert await flights.run("key", work) == 2
    await asyncio.wait((first,))
    assert first.cancelled()
