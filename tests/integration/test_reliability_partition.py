"""N1: the network between an executor and its scheduler is cut while an action runs, then heals."""

from pathlib import Path

from reapi.clients.methods import LIST_RESULTS
from reapi.clients.workers import list_workers
from reapi.protos.reapi.admin.v1.admin_pb2 import ListResultsRequest
from tests.fakes.fault_proxy import FaultProxy
from tests.integration.system import Gate, System, checked, open_system, sh
from tests.unit.scheduler.harness import response_of

IMPATIENT = {"heartbeat_seconds": 0.3, "worker_timeout_seconds": 1.2}
"""A silent worker loses its stream after 0.6 s, and its actions as much later."""


async def _worker_of_result(system: System, action_hash: str) -> str:
    page = await system.channel.unary(LIST_RESULTS, ListResultsRequest())
    (entry,) = [one for one in page.results if one.action_digest.hash == action_hash]
    return entry.worker


async def _connected(system: System) -> set[str]:
    return {one.name for one in await list_workers(system.channel) if one.is_connected}


async def test_reliability_N1_an_action_beyond_a_partition_is_run_again_and_has_one_result(
    open_path: Path, gate: Gate
) -> None:
    async with (
        open_system(open_path, scheduler=IMPATIENT) as system,
        FaultProxy(system.address) as network,
        system.worker("beyond", scheduler_address=network.endpoint),
    ):
        action = await system.add(sh(gate.script("echo done")))
        stream = system.stream(action)
        messages = [await anext(stream)]
        await gate.begun()
        network.flowing.clear()
        async with system.worker("here"):
            await gate.begun()
            gate.open()
            gate.open()
            messages += [message async for message in stream]
            last = checked(messages)[-1]
            assert response_of(last).result.execution_metadata.worker == "here"
            network.flowing.set()
            # The worker beyond comes back with what it has, and is told that it is not wanted.
            while await _connected(system) != {"beyond", "here"}:
                pass
        assert await _worker_of_result(system, action.hash) == "here"
        assert (await system.wait(last.name))[-1] == last


async def test_reliability_N1_a_short_partition_costs_no_second_run(
    open_path: Path, gate: Gate
) -> None:
    """What was said meanwhile arrives later: the lease is still the worker's."""
    async with (
        open_system(open_path, scheduler={"worker_timeout_seconds": 600}) as system,
        FaultProxy(system.address) as network,
        system.worker("beyond", scheduler_address=network.endpoint),
    ):
        action = await system.add(sh(gate.script("echo done")))
        stream = system.stream(action)
        messages = [await anext(stream)]
        await gate.begun()
        network.flowing.clear()
        gate.open()
        await system.add(sh("something that takes its time"))
        network.flowing.set()
        messages += [message async for message in stream]
        assert response_of(checked(messages)[-1]).result.execution_metadata.worker == "beyond"
