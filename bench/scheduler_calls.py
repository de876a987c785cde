"""No-op actions by Execute of a real server, with workers that answer at once."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .comparison import Comparison, compare
from .load import measure
from .no_op_workers import no_op_worker
from .scenarios import upload_actions
from .servers import ALL_CORES, FRONTEND, RunningServer, pin, running_server
from .wire import Wire

_WORKERS = 8
_SLOTS = 8
_IN_FLIGHT = _WORKERS * _SLOTS
_ROUNDS = 3
_SECONDS = 2.0
_ACTIONS_PER_ROUND = 10_000
_ACTIONS_PER_SECOND = 1_000
_IDLE_ACTIONS = 500
_MOST_IDLE_MS = 3.0


async def measure_shell_calls(folder: Path) -> list[Comparison]:
    """The server has one core; clients and workers have the other."""
    with running_server(folder / "data", ALL_CORES[:1], roles=FRONTEND) as server:
        pin(ALL_CORES[-1:])
        latencies = await _idle_latencies_ms(server)
        rates, cpu_us = await _rates(server)
    return [
        compare(
            f"scheduler: no-op workers over gRPC, {_IN_FLIGHT} in flight",
            "actions/s",
            rates,
            aim=_ACTIONS_PER_SECOND,
            is_ratio=False,
        ),
        compare("scheduler: processor time of the server for each of them", "us", cpu_us),
        compare(
            "scheduler: Execute sent to lease received, idle",
            "ms",
            latencies,
            aim=_MOST_IDLE_MS,
            is_ratio=False,
            is_ceiling=True,
        ),
    ]


async def _idle_latencies_ms(server: RunningServer) -> list[float]:
    """With one action at a time and the only worker in this process: one clock for both ends."""
    latencies: list[float] = []
    sent = 0.0

    def heard() -> None:
        latencies.append(1e3 * (time.perf_counter() - sent))

    async with Wire(server.target) as wire:
        actions = await upload_actions(wire, _IDLE_ACTIONS, do_not_cache=True)
        async with no_op_worker(server.target, "idle", 1, heard):
            for action in actions:
                sent = time.perf_counter()
                await wire.execute(action, skip_cache_lookup=True)
    return latencies


async def _rates(server: RunningServer) -> tuple[list[float], list[float]]:
    """Actions per second of each round, and what the server used for each action."""
    rates, cpu_us = [], []
    async with Wire(server.target) as wire:
        actions = iter(await upload_actions(wire, _ROUNDS * _ACTIONS_PER_ROUND, do_not_cache=True))

        async def run(_: int) -> None:
            await wire.execute(next(actions), skip_cache_lookup=True)

        with _worker_process(server.target):
            for _ in range(_ROUNDS):
                cpu_before = server.cpu_seconds()
                measured = await measure(run, in_flight=_IN_FLIGHT, seconds=_SECONDS)
                rates.append(measured.per_second)
                cpu = server.cpu_seconds() - cpu_before
                cpu_us.append(1e6 * cpu / len(measured.latencies))
    return rates, cpu_us


@contextlib.contextmanager
def _worker_process(target: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.no_op_workers", target, str(_WORKERS), str(_SLOTS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise SystemExit("the no-op workers did not connect")
        yield
    finally:
        process.stdin.close()
        process.wait()
