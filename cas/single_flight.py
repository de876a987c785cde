"""Work that several callers ask for at once is done once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class _Flight(Generic[Result]):
    """One run of the work, and how many wait for it."""

    def __init__(self, task: "asyncio.Task[Result]") -> None:
        self.task = task
        self.waiters = 0


class SingleFlight(Generic[Key, Result]):
    """Runs work by key: whoever asks while it runs gets the same result, or the same error.

    The work goes on while anybody waits for it. When the last one is cancelled it is cancelled too,
    and has ended before that one's call does; who asks from then on starts anew.
    """

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Result]] = {}

    async def run(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of `work()`, or of the run that is under way for `key`."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(work()))
            flight.task.add_done_callback(lambda _: self._forget(key, flight))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait((flight.task,))

    def _forget(self, key: Key, flight: _Flight[Result]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
