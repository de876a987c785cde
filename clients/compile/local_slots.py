"""How much runs on this machine at once, whatever -j says."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


def usable_processors() -> int:
    """The processors that this process may run on."""
    return len(os.sched_getaffinity(0))


class LocalSlots:
    """Slots for local work, given in the order in which they were asked for.

    A call that waits for one holds a token of its make's jobserver and runs nothing, so make and
    this never exceed the smaller of both limits. For one event loop.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def taken(self) -> int:
        """How many are in use."""
        return self.count - self._free

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return sum(1 for waiter in self._waiting if not waiter.done())

    def take_now(self) -> bool:
        """Takes a slot, if one is free that nobody waits for."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        """Waits for a slot; a caller that is cancelled has none."""
        if self.take_now():
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """Frees a slot that was taken: the first that waits has it at once."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A slot for as long as the block runs."""
        await self.take()
        try:
            yield
        finally:
            self.give_back()
