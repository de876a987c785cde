"""Waiting for what must come to its end."""

import asyncio

import pytest

from reapi.core.errors import Unavailable
from reapi.core.uninterrupted import uninterrupted


async def begun() -> tuple["asyncio.Future[str]", "asyncio.Task[str]"]:
    """Work that ends when its future does, and a task that waits for it."""
    work: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(uninterrupted(work))
    await asyncio.sleep(0)
    return work, waiting


async def test_the_result_is_that_of_the_work() -> None:
    work, waiting = await begun()
    work.set_result("done")
    assert await waiting == "done"


async def test_an_error_of_the_work_is_raised() -> None:
    work, waiting = await begun()
    work.set_exception(Unavailable("gone"))
    with pytest.raises(Unavailable):
        await waiting


@pytest.mark.parametrize("error", [None, Unavailable("gone")])
async def test_cancellations_come_through_when_the_work_has_ended(
    error: Unavailable | None,
) -> None:
    work, waiting = await begun()
    for _ in range(3):
        waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        assert not work.cancelled()
    if error is None:
        work.set_result("done")
    else:
        work.set_exception(error)
    with pytest.raises(asyncio.CancelledError):
        await waiting
