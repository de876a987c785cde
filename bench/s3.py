"""What obstore alone does with a bucket: the figures against which ours are measured.

Both run against the same server in the same run, for its speed is most of the figure.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable

import obstore
from obstore.store import S3Store

_LARGE_BYTES = 64 << 20
_SMALL = bytes(1024)
_IN_FLIGHT = 32
_SMALL_OPERATIONS = 1000
_ROUNDS = 5

Operation = Callable[[int], Awaitable[object]]


async def measure_obstore(store: S3Store) -> dict[str, float]:
    """Figures by name, medians of some rounds; writes below the key `bench/`."""
    data = os.urandom(_LARGE_BYTES)

    async def put_large(_: int) -> None:
        await obstore.put_async(store, "bench/large", data)

    async def get_large(_: int) -> None:
        answer = await obstore.get_async(store, "bench/large")
        async for _chunk in answer.stream():
            pass

    async def put_small(number: int) -> None:
        await obstore.put_async(store, f"bench/small/{number}", _SMALL)

    async def get_small(number: int) -> None:
        await (await obstore.get_async(store, f"bench/small/{number}")).bytes_async()

    return {
        "S3 put, 64 MiB, MiB/s": await stream_rate(put_large),
        "S3 get, 64 MiB, MiB/s": await stream_rate(get_large),
        "S3 put, 1 KiB, 32 in flight, /s": await call_rate(put_small),
        "S3 get, 1 KiB, 32 in flight, /s": await call_rate(get_small),
    }


async def stream_rate(operation: Operation) -> float:
    """MiB/s of an operation that moves 64 MiB, one at a time."""
    return statistics.median([64 * await _rate(operation, 1, 1) for _ in range(_ROUNDS)])


async def call_rate(operation: Operation) -> float:
    """Operations/s with 32 in flight; each gets another number."""
    rates = [await _rate(operation, _SMALL_OPERATIONS, _IN_FLIGHT) for _ in range(_ROUNDS)]
    return statistics.median(rates)


async def _rate(operation: Operation, count: int, in_flight: int) -> float:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await operation(number)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return count / (time.perf_counter() - started)
