"""Group commit for what is asked over a network: calls made at about the same time become one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from .errors import ReapiError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Gatherer(Generic[Item, Result]):
    """Gives what callers ask for to `run`, many at once, and each his result back.

    Calls of one turn of the event loop go together; those that come while `max_running` runs are
    under way wait for the next one and go together too. A run gets items until their weights are
    `max_weight`, and always one. If it raises a ReapiError, all its callers get that. Any other
    error may be the fault of one item: then each is run alone. A caller that is cancelled is not
    waited for, and his item may be run all the same. `close` waits for all that was asked for.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_weight: int,
        max_running: int,
        weigh: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._run = run
        self._max_weight = max_weight
        self._max_running = max_running
        self._weigh = weigh
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._is_start_scheduled = False

    def call(self, item: Item) -> "asyncio.Future[Result]":
        """The result of one item."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if not self._is_start_scheduled and len(self._running) < self._max_running:
            self._is_start_scheduled = True
            loop.call_soon(self._start)
        return future

    async def close(self) -> None:
        """Returns when nothing is under way any more."""
        while self._waiting or self._running:
            self._start()
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def _start(self) -> None:
        self._is_start_scheduled = False
        while self._waiting and len(self._running) < self._max_running:
            task = asyncio.create_task(self._serve(self._take()))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._start()

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        taken = [self._waiting.popleft()]
        weight = self._weigh(taken[0][0])
        while self._waiting:
            weight += self._weigh(self._waiting[0][0])
            if weight > self._max_weight:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _serve(self, taken: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        wanted = [(item, future) for item, future in taken if not future.cancelled()]
        if not wanted:
            return
        try:
            results = await self._run([item for item, _ in wanted])
        except Exception as error:
            if len(wanted) > 1 and not isinstance(error, ReapiError):
                for one in wanted:
                    await self._serve([one])
                return
            for _, future in wanted:
                if not future.done():
                    future.set_exception(error)
            return
        except BaseException:
            for _, future in wanted:
                future.cancel()
            raise
        for (_, future), result in zip(wanted, results, strict=True):
            if not future.done():
                future.set_result(result)
