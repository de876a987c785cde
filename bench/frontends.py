"""Two frontends that share a port against one, with 16 connections.

The load needs processors too: with fewer than four, two frontends cannot have one each.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from .comparison import ROUNDS, SECONDS, Comparison, compare
from .load import Operation, measure
from .scenarios import find_missing, result_hits
from .servers import ALL_CORES, FRONTEND, RunningServer, running_server
from .wire import Wire

_CONNECTIONS = 16
_IN_FLIGHT = 64
_CORES_NEEDED = 4

_CALLS: dict[str, Callable[[Wire], Awaitable[Operation]]] = {
    "FindMissing of 1": find_missing(1),
    "GetActionResult, hit": result_hits,
}


@dataclass(frozen=True)
class _Run:
    """Calls a second, calls for each second of the server's processor time, cores busy."""

    rate: float
    per_cpu_second: float
    server_cores: float
    load_cores: float


async def measure_frontends(folder: Path) -> list[Comparison]:
    """Calls a second in all, and for each second of the server's processor time."""
    taken: dict[tuple[str, int], list[_Run]] = {}
    for number in range(ROUNDS):
        for processes in (1, 2):
            settings = {"SERVER__PROCESSES": str(processes)}
            data_dir = folder / f"{number}-{processes}"
            with running_server(data_dir, ALL_CORES, roles=FRONTEND, settings=settings) as server:
                for name, prepare in _CALLS.items():
                    run = await _run(server, prepare)
                    taken.setdefault((name, processes), []).append(run)
    if len(ALL_CORES) < _CORES_NEEDED:
        print(
            f"  {len(ALL_CORES)} processors for two frontends and the load: "
            f"a ratio of 1.7 needs {_CORES_NEEDED}"
        )
    rows = []
    for name in _CALLS:
        rows += _rows(name, taken[name, 1], taken[name, 2])
    return rows


async def _run(server: RunningServer, prepare: Callable[[Wire], Awaitable[Operation]]) -> _Run:
    async with AsyncExitStack() as stack:
        operations = []
        for _ in range(_CONNECTIONS):
            wire = await stack.enter_async_context(Wire(server.target))
            operations.append(await prepare(wire))

        async def operation(number: int) -> None:
            await operations[number % _CONNECTIONS](number // _CONNECTIONS)

        started, load_before = time.perf_counter(), time.process_time()
        server_before = server.cpu_seconds()
        measured = await measure(
            operation, in_flight=_IN_FLIGHT, seconds=SECONDS, warm_up_seconds=0
        )
        server_seconds = server.cpu_seconds() - server_before
        load_seconds = time.process_time() - load_before
        elapsed = time.perf_counter() - started
        return _Run(
            measured.per_second,
            len(measured.latencies) / server_seconds,
            server_seconds / elapsed,
            load_seconds / elapsed,
        )


def _rows(name: str, one: list[_Run], two: list[_Run]) -> list[Comparison]:
    def row(what: str, unit: str, figure: Callable[[_Run], float], aim: float = 0) -> Comparison:
        figures, limits = list(map(figure, two)), list(map(figure, one))
        return compare(f"2 frontends: {name}{what}", unit, figures, limits, "1 frontend", aim=aim)

    return [
        row("", "/s", lambda run: run.rate, aim=1.7),
        row(", per CPU second of the server", "/s", lambda run: run.per_cpu_second),
        row(", kept busy by the server", "cores", lambda run: run.server_cores),
        row(", kept busy by the load", "cores", lambda run: run.load_cores),
    ]
