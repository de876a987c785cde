"""Many callers of one action, callers who leave (reliability L6, L7), and workers who leave."""

import asyncio
import os
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from reapi.clients.channel import Channel
from reapi.clients.fleet import Fleet
from reapi.clients.methods import EXECUTE
from reapi.clients.workers import list_workers
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteRequest
from tests.integration.system import Gate, Notes, System, checked, sh
from tests.transport import rpc_server
from tests.unit.scheduler.harness import FakeWorker, Scheduler, metadata_of, response_of

_CALLERS = 500
_ACTIONS = 600
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


async def test_reliability_L7_a_herd_that_wants_one_action_runs_it_once(
    idle_system: System, gate: Gate, notes: Notes
) -> None:
    script = gate.script(f"echo run >'{notes.path}'; echo result")
    async with idle_system.worker():
        action = await idle_system.add(sh(script))
        arrived = 0
        all_arrived = asyncio.Event()

        async def call() -> bytes:
            nonlocal arrived
            operations = []
            async for operation in idle_system.stream(action):
                if not operations:
                    arrived += 1
                    if arrived == _CALLERS:
                        all_arrived.set()
                operations.append(operation)
            last = checked(operations)[-1]
            assert not response_of(last).cached_result
            return last.name.encode() + b"\0" + last.response.value

        calls = [asyncio.create_task(call()) for _ in range(_CALLERS)]
        await all_arrived.wait()
        await gate.begun()
        gate.open()
        ended = [await each for each in calls]
    names, responses = zip(*(each.split(b"\0", 1) for each in ended), strict=True)
    assert len(set(names)) == _CALLERS
    assert len(set(responses)) == 1
    assert notes.lines() == ["run"]


async def _work(worker: FakeWorker) -> None:
    """Runs what comes."""
    while True:
        message = await worker.next()
        if message.HasField("lease"):
            worker.complete(message.lease)


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES / (1 << 20)


async def test_reliability_L6_callers_who_leave_leave_no_orphans(tmp_path: Path) -> None:
    """In short: 30 % of the calls are cancelled, and soon nothing is queued or runs."""
    async with (
        Scheduler(tmp_path / "scheduler.db", unwatched_seconds=0.05) as scheduler,
        rpc_server(scheduler.execution.methods()) as server,
        Channel(f"127.0.0.1:{server.port}") as channel,
    ):
        workers = [FakeWorker(scheduler, f"w{number}", slots=8) for number in range(4)]

        async def call(number: int) -> int:
            digest = scheduler.add_action(str(number))
            request = ExecuteRequest(action_digest=digest.to_message())
            stages = 0
            async with aclosing(channel.server_stream(EXECUTE, request)) as operations:
                async for operation in operations:
                    stages += 1
                    if number % 10 < 3:
                        return 0
                    last = operation
            assert response_of(last).status.code == 0, metadata_of(last)
            return 1

        before = _resident_mib()
        # The first third waits, so that it is cancelled in the queue; the others find workers.
        early = [asyncio.create_task(call(number)) for number in range(_ACTIONS // 3)]
        while len(scheduler.dispatcher.queue.operations) < _ACTIONS // 5:
            await scheduler.dispatcher.changes.after(scheduler.dispatcher.changes.count)
        working = []
        for worker in workers:
            await worker.connect()
            working.append(asyncio.create_task(_work(worker)))
        late = [asyncio.create_task(call(number)) for number in range(_ACTIONS // 3, _ACTIONS)]
        assert sum(await asyncio.gather(*early, *late)) == _ACTIONS * 7 // 10
        async with asyncio.timeout(60):
            while scheduler.dispatcher.queue.executions:
                await scheduler.dispatcher.changes.after(scheduler.dispatcher.changes.count)
        queue = scheduler.dispatcher.queue
        assert not queue.operations
        assert not any(worker.leases for worker in queue.fleet.workers.values())
        print(f"L6: resident memory {before:.1f} MiB before, {_resident_mib():.1f} MiB after")
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def test_scale_in_under_load_loses_nothing_and_runs_nothing_twice(
    idle_system: System, gate: Gate, notes: Notes
) -> None:
    """A pod that is told to go finishes what it runs; all else goes to those that stay."""
    scripts = [gate.script(f"echo held-{number} >'{notes.path}'") for number in range(4)]
    async with idle_system.worker("stays"), AsyncExitStack() as stack:
        await stack.enter_async_context(idle_system.worker("goes"))
        held = [asyncio.create_task(idle_system.sh(script)) for script in scripts]
        for _ in held:
            await gate.begun()
        queued = [
            asyncio.create_task(idle_system.sh(f"echo queued-{number} >'{notes.path}'"))
            for number in range(20)
        ]
        fleet = Fleet(idle_system.channel)
        while (await fleet.status()).queued < len(queued):
            pass
        leaving = asyncio.create_task(stack.aclose())
        while not any(one.is_draining for one in await list_workers(idle_system.channel)):
            pass
        for _ in held:
            gate.open()
        await leaving
        responses = await asyncio.gather(*held, *queued)
    assert all(response.status.code == 0 for response in responses)
    done_by = [response.result.execution_metadata.worker for response in responses]
    assert done_by.count("goes") == 2
    expected = [f"held-{number}" for number in range(4)]
    expected += [f"queued-{number}" for number in range(20)]
    assert sorted(notes.lines()) == sorted(expected)
