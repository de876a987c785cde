"""What streams cost that wait for an operation: thousands of WaitExecution calls at once (L5)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from .comparison import Comparison, compare
from .scenarios import upload_actions
from .servers import ALL_CORES, FRONTEND, RunningServer, running_server
from .wire import Wire

_STREAMS = 5000
_CONNECTIONS = 10
_MOST_KIB = 30


async def measure_waiters(folder: Path) -> list[Comparison]:
    """Memory per idle stream, and the time in which all of them hear of a change."""
    with running_server(folder / "data", ALL_CORES[:1], roles=FRONTEND) as server:
        async with _idle_streams(server) as idle:
            started = time.perf_counter()
            await idle.end()
            seconds = time.perf_counter() - started
    return [
        compare(
            f"{_STREAMS:,} idle WaitExecution streams: each",
            "KiB",
            [idle.kib],
            aim=_MOST_KIB,
            is_ratio=False,
            is_ceiling=True,
        ),
        compare(f"{_STREAMS:,} waiters hear of the end", "/s", [_STREAMS / seconds]),
    ]


async def idle_stream_kib(server: RunningServer) -> float:
    """The memory of one of many streams that wait."""
    async with _idle_streams(server) as idle:
        await idle.end()
        return idle.kib


@dataclass(frozen=True)
class _IdleStreams:
    """Streams that wait for an operation, each of which takes `kib` of the server."""

    kib: float
    end: Callable[[], Awaitable[None]]
    """Ends the operation, and waits until all streams have heard of it."""


@asynccontextmanager
async def _idle_streams(server: RunningServer) -> AsyncIterator[_IdleStreams]:
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire(server.target)) for _ in range(_CONNECTIONS)]
        (action,) = await upload_actions(wires[0], 1)
        name = await wires[0].begin(action)
        # What a server allocates once for the first streams of a connection is not theirs.
        first = await asyncio.gather(*(wire.wait(name) for wire in wires))
        before = server.unshared_mib()
        streams = await asyncio.gather(
            *(wires[number % _CONNECTIONS].wait(name) for number in range(_STREAMS))
        )
        kib = (server.unshared_mib() - before) * 1024 / _STREAMS

        async def end() -> None:
            await wires[0].cancel(name)
            await asyncio.gather(*(_end(stream) for stream in (*first, *streams)))

        yield _IdleStreams(kib, end)


async def _end(stream: grpc.aio.UnaryStreamCall) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass
