"""Things that many want: fair, bounded, and never lost."""

import asyncio

import pytest

from reapi.cas.objects.bounded_pool import BoundedPool
from reapi.core.errors import Unavailable


async def _waiting(pool: BoundedPool[str]) -> "asyncio.Task[str]":
    task = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    return task


async def test_who_asks_first_is_served_first() -> None:
    pool = BoundedPool(["item"], max_waiting=10)
    assert await pool.take() == "item"
    first, second = await _waiting(pool), await _waiting(pool)
    pool.give("item")
    assert await first == "item"
    assert not second.done()
    pool.give("item")
    assert await second == "item"


async def test_too_many_do_not_wait() -> None:
    pool = BoundedPool(["item"], max_waiting=1)
    await pool.take()
    waiting = await _waiting(pool)
    with pytest.raises(Unavailable):
        await pool.take()
    pool.give("item")
    assert await waiting == "item"


async def test_who_is_cancelled_gives_up_the_place() -> None:
    pool = BoundedPool(["item"], max_waiting=1)
    await pool.take()
    waiting = await _waiting(pool)
    waiting.cancel()
    await asyncio.wait((waiting,))
    next_one = await _waiting(pool)
    pool.give("item")
    assert await next_one == "item"


async def test_an_item_that_came_together_with_a_cancellation_is_not_lost() -> None:
    pool = BoundedPool(["item"], max_waiting=1)
    await pool.take()
    waiting = await _waiting(pool)
    pool.give("item")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await pool.take() == "item"


async def test_all_who_wait_can_be_refused_at_once() -> None:
    pool = BoundedPool(["item"], max_waiting=5)
    await pool.take()
    waiting = [await _waiting(pool) for _ in range(5)]
    pool.refuse_waiting(Unavailable("down", retry_after_seconds=3))
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, Unavailable)
        assert outcome.retry_after_seconds == 3
    pool.give("item")
    assert await pool.take() == "item"
