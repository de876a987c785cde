"""How many actions of a repository are under way at once, and how many leave room for others."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_FRESH_SECONDS = 5.0
_LEAST = 16
"""At once while nobody else waits, so that answers from the cache come quickly on a small fleet."""

LearnLimit = Callable[[], Awaitable[int]]


def fair_limit(slots: int, *, others_wait: bool) -> int:
    """How many actions one repository has under way on a fleet of so many slots.

    While nobody else waits twice the slots, for workers that end one have the next one at hand. A
    fleet without workers may be one that starts them when something waits.
    """
    if not slots:
        return _LEAST
    return math.ceil(slots * 0.8) if others_wait else max(_LEAST, 2 * slots)


class Allowance:
    """Lets in as many as the limit says, in the order of their coming; in one event loop.

    The limit is learnt when somebody wants in or waits, some seconds apart at most. A lower one
    sends nobody away.
    """

    def __init__(self, learn_limit: LearnLimit) -> None:
        self._learn_limit = learn_limit
        self._limit = 1
        self._learnt_at: float | None = None
        self._learning = asyncio.Lock()
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Waits for its turn. What learning the limit raises passes through."""
        await self._learn()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise
        try:
            yield
            if self._waiting:
                await self._learn()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._inside < self._limit:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self._inside += 1
                turn.set_result(None)

    async def _learn(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._learning:
            is_fresh = (
                self._learnt_at is not None and loop.time() - self._learnt_at < _FRESH_SECONDS
            )
            if not is_fresh:
                self._limit = max(1, await self._learn_limit())
                self._learnt_at = loop.time()
