"""A closed-loop load: so many calls in flight, for so long; what it took."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Operation = Callable[[int], Awaitable[None]]
"""One operation; its argument counts up from 0 and is never given twice."""


@dataclass(frozen=True)
class Measured:
    """How many operations ended in how many seconds, and how long each took, sorted."""

    seconds: float
    latencies: list[float]

    @property
    def per_second(self) -> float:
        """Operations a second, over all that were in flight together."""
        return len(self.latencies) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """The latency that `share` of the operations did not exceed, in milliseconds."""
        last = len(self.latencies) - 1
        return 1000 * self.latencies[min(last, int(len(self.latencies) * share))]


async def measure(
    operation: Operation, *, in_flight: int, seconds: float, warm_up_seconds: float = 0.3
) -> Measured:
    """Keeps `in_flight` operations running; counts those that began after the warm-up."""
    numbers = itertools.count()
    latencies: list[float] = []
    begin = time.perf_counter() + warm_up_seconds
    end = begin + seconds

    async def keep_going() -> None:
        while (started := time.perf_counter()) < end:
            await operation(next(numbers))
            if started >= begin:
                latencies.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(keep_going())
    return Measured(time.perf_counter() - begin, sorted(latencies))


async def measure_burst(operation: Operation, *, count: int) -> Measured:
    """Starts `count` operations at once and waits for all."""
    latencies: list[float] = []

    async def once(number: int) -> None:
        started = time.perf_counter()
        await operation(number)
        latencies.append(time.perf_counter() - started)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(once(number))
    return Measured(time.perf_counter() - begin, sorted(latencies))
