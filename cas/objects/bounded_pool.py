"""A fixed number of things that many tasks want, and a bounded queue for them."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from reapi.core.errors import Unavailable

T = TypeVar("T")


class BoundedPool(Generic[T]):
    """Gives each of its items to one task at a time, to those that ask first first.

    For one event loop. More than `max_waiting` tasks do not wait: they get Unavailable at once.
    """

    def __init__(self, items: list[T], *, max_waiting: int) -> None:
        self._items = items
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[T]] = deque()

    async def take(self) -> T:
        """An item, which is the caller's until `give`."""
        if self._items:
            return self._items.pop()
        if len(self._waiting) >= self._max_waiting:
            raise Unavailable("too many requests wait for the object store", retry_after_seconds=2)
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                self.give(waiter.result())
            raise

    def give(self, item: T) -> None:
        """Puts an item back."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(item)
                return
        self._items.append(item)

    def refuse_waiting(self, error: Unavailable) -> None:
        """All who wait now get this error: they would wait long for the same answer."""
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(
                    Unavailable(error.message, retry_after_seconds=error.retry_after_seconds)
                )
