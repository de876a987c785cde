"""Whole actions through a server with its executor, and what the executor itself adds to one."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from reapi.clients.schedulers import Schedulers
from reapi.core.digest import Digest, digest_of
from reapi.executor.config import ExecutorConfig
from reapi.executor.sandbox_choice import SandboxSetting
from reapi.executor.worker import Worker
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.fake_scheduler import FakeScheduler, Stream
from tests.unit.executor.harness import Tree, add_lease, add_tree

from .comparison import Comparison, compare, in_turns
from .load import measure
from .scenarios import many_inputs, no_op_actions
from .servers import ALL_CORES, running_server
from .wire import Wire

_ROUNDS = 5
_SECONDS = 2.0
_HEADERS = 300
_HEADER = """#pragma once
#include <map>
#include <string>
#include <vector>
inline std::map<std::string, std::vector<int>> values_{0}(int n) {{
  std::map<std::string, std::vector<int>> all;
  for (int i = 0; i < n; ++i) all[std::to_string(i + {0})].push_back(i);
  return all;
}}
"""
_BUSY = "i=0; while [ $i -lt 700000 ]; do i=$((i+1)); done"


async def measure_small_actions(folder: Path) -> list[Comparison]:
    """Server and executor share one core, the load has the other; and the executor on its own."""
    parts = []
    for sandbox in ("none", "bubblewrap"):
        (folder / sandbox).mkdir(mode=0o711)
        parts += await _measure_server(folder / sandbox, sandbox)
        parts.append(await _measure_own_time(folder / sandbox, sandbox))
    return parts


async def _measure_server(folder: Path, sandbox: SandboxSetting) -> list[Comparison]:
    settings = {"EXECUTOR__SANDBOX": sandbox}
    with running_server(folder / "server", ALL_CORES[:1], settings=settings) as server:
        async with Wire(server.target) as wire:
            no_op = await no_op_actions(wire)
            await no_op(0)
            cpu_seconds = server.cpu_seconds()
            at_once = [await measure(no_op, in_flight=16, seconds=_SECONDS) for _ in range(3)]
            cpu_seconds = server.cpu_seconds() - cpu_seconds
            one = [
                await measure(await no_op_actions(wire), in_flight=1, seconds=_SECONDS)
                for _ in range(3)
            ]
            inputs = await many_inputs(wire)
            large = [await measure(inputs, in_flight=8, seconds=_SECONDS) for _ in range(3)]
    has_aims = sandbox == "none"
    return [
        compare(
            f"executor: no-op actions on one core, 16 in flight, sandbox {sandbox}",
            "/s",
            [each.per_second for each in at_once],
            aim=260 if has_aims else 0,
            is_ratio=False,
        ),
        compare(
            "executor: processor time of each, all processes and /bin/true together",
            "ms",
            [1000 * cpu_seconds / sum(len(each.latencies) for each in at_once)],
        ),
        compare(
            f"executor: a no-op action on one core, median, sandbox {sandbox}",
            "ms",
            [each.quantile_ms(0.5) for each in one],
            aim=4.5 if has_aims else 0,
            is_ratio=False,
            is_ceiling=True,
        ),
        compare(
            f"executor: actions with 500 inputs, 5 new, 8 in flight, sandbox {sandbox}",
            "/s",
            [each.per_second for each in large],
            aim=100 if has_aims else 0,
            is_ratio=False,
        ),
    ]


async def _measure_own_time(folder: Path, sandbox: SandboxSetting) -> Comparison:
    """From the lease that is sent to the completion that has come, less the command's own time,
    which begins and ends with bubblewrap's."""
    store = MemoryBlobStore()
    lease = add_lease(store, re_pb2.Command(arguments=["/bin/true"]), {})
    async with _worker(folder / "executor", store, sandbox) as stream:
        own = sorted([await _own_milliseconds(stream, lease, number) for number in range(300)])
    return compare(
        f"executor: own time of a warm no-op action, median, sandbox {sandbox}",
        "ms",
        [own[len(own) // 2]],
        aim=3 if sandbox == "none" else 6,
        is_ratio=False,
        is_ceiling=True,
    )


@asynccontextmanager
async def _worker(
    cache_dir: Path, store: MemoryBlobStore, sandbox: SandboxSetting
) -> AsyncIterator[Stream]:
    """A worker of one slot; what it hears and says goes over a socket."""
    config = ExecutorConfig(worker_id="bench", cache_dir=cache_dir, slots=1, sandbox=sandbox)
    async with (
        FakeScheduler() as scheduler,
        Schedulers(scheduler.address, tool_name="bench") as schedulers,
        Worker(config, schedulers, lambda _: store) as worker,
    ):
        running = asyncio.create_task(worker.run())
        stream = await scheduler.stream()
        await stream.next("register")
        stream.welcome()
        yield stream
        running.cancel()
        await asyncio.wait((running,))


async def _own_milliseconds(stream: Stream, lease: Lease, number: int) -> float:
    lease.key.operation_name = f"operations/{number}"
    started = time.perf_counter()
    stream.lease(lease)
    response = (await stream.next("completion")).completion.response
    elapsed = time.perf_counter() - started
    stream.acknowledge(lease.key)
    metadata = response.result.execution_metadata
    return 1000 * elapsed - metadata.virtual_execution_duration.ToNanoseconds() / 1e6


async def measure_long_actions(folder: Path) -> list[Comparison]:
    """What takes seconds, with all cores for all.

    Of all rounds the best counts: whatever else runs here can only take time.
    """
    with running_server(folder / "server", ALL_CORES) as server:
        async with Wire(server.target) as wire:
            return [await _measure_compile(wire, folder / "by-hand"), *await _measure_two(wire)]


async def _measure_compile(wire: Wire, folder: Path) -> Comparison:
    """Each time with another source, as a build has it; the headers are the same."""
    headers = {f"h{number}.h": _HEADER.format(number).encode() for number in range(_HEADERS)}
    includes = "".join(f'#include "include/{name}"\n' for name in headers)
    command = re_pb2.Command(
        arguments=["/usr/bin/g++", "-O1", "-c", "main.cc", "-o", "main.o"],
        output_paths=["main.o"],
        environment_variables=[
            re_pb2.Command.EnvironmentVariable(name="PATH", value="/usr/bin:/bin")
        ],
    )
    (folder / "include").mkdir(parents=True)
    for name, content in headers.items():
        (folder / "include" / name).write_bytes(content)

    def source(number: int) -> bytes:
        return f"{includes}int main() {{ return values_{number}(3).size(); }}\n".encode()

    async def remotely() -> float:
        tree: Tree = {"include": headers, "main.cc": source(next(numbers))}
        action = await _upload_action(wire, command, tree)
        return await _timed(lambda: wire.execute(action, skip_cache_lookup=True))

    async def by_hand() -> float:
        content = source(next(numbers))

        async def compile_it() -> None:
            (folder / "main.cc").write_bytes(content)
            await _run(*command.arguments, directory=folder)

        return await _timed(compile_it)

    numbers = iter(range(_HEADERS))
    await remotely()
    await by_hand()
    taken = await in_turns({"remotely": remotely, "by hand": by_hand}, rounds=_ROUNDS)
    return compare(
        f"executor: C++ compile with {_HEADERS} headers, all included",
        "s",
        [min(taken["remotely"])],
        [min(taken["by hand"])],
        "by hand in the same tree",
        aim=1.04,
        is_ceiling=True,
    )


async def _measure_two(wire: Wire) -> list[Comparison]:
    """Also without us: how much two cores are at this moment."""
    shell = ["/bin/sh", "-c", _BUSY]

    async def remotely() -> None:
        command = re_pb2.Command(arguments=[*shell, os.urandom(8).hex()])
        await wire.execute(await _upload_action(wire, command, {}), skip_cache_lookup=True)

    async def bare() -> None:
        await _run(*shell)

    def one_of(run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
        async def rate() -> float:
            return 1 / await _timed(run)

        return rate

    def two_of(run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
        async def both() -> None:
            await asyncio.gather(run(), run())

        async def rate() -> float:
            return 2 / await _timed(both)

        return rate

    await remotely()
    taken = await in_turns(
        {
            "one": one_of(remotely),
            "two": two_of(remotely),
            "one bare": one_of(bare),
            "two bare": two_of(bare),
        },
        rounds=_ROUNDS,
    )
    return [
        compare(
            "executor: two busy actions at once",
            "/s",
            [max(taken["two"])],
            [max(taken["one"])],
            "one after the other",
            aim=1.9,
        ),
        compare(
            "executor: the same two commands without us",
            "/s",
            [max(taken["two bare"])],
            [max(taken["one bare"])],
            "one after the other",
        ),
    ]


async def _upload_action(wire: Wire, command: re_pb2.Command, tree: Tree) -> Digest:
    store = MemoryBlobStore()
    action = re_pb2.Action(
        command_digest=store.add(command.SerializeToString()).to_message(),
        input_root_digest=add_tree(store, tree).to_message(),
        salt=os.urandom(8),
    ).SerializeToString()
    await wire.upload([*store.blobs.values(), action])
    return digest_of(action)


async def _timed(run: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await run()
    return time.perf_counter() - started


async def _run(*command: str, directory: Path | None = None) -> None:
    await asyncio.to_thread(subprocess.run, command, cwd=directory, check=True)
