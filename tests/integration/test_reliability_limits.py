"""Actions that use too much, through the whole service: workers and servers outlive them."""

import asyncio

import pytest
from google.rpc import code_pb2

from reapi.executor.cgroups import Cgroups
from reapi.executor.limits import MEMORY, PROCESSES, Limits
from reapi.executor.sandbox_choice import SandboxSetting
from tests.integration.system import System, sh

LIMITS = {"memory": "100Mi", "processes": 50, "log_size_bytes": 1 << 20}
FORK_BOMB = "i=0; while [ $i -lt 300 ]; do sleep 1000 & i=$((i + 1)); done"
ENDLESS_LOG = "while :; do head -c 100000 /dev/zero; done"
MEMORY_BOMB = "python3 -c \"x = b'x' * (300 << 20)\""


@pytest.mark.parametrize("sandbox", ["auto", "none"])
async def test_reliability_S10_S11_bombs_side_by_side_cost_no_worker(
    idle_system: System, sandbox: SandboxSetting
) -> None:
    system = idle_system
    absent = Cgroups(system.folder, Limits()).absent
    if not absent.keys().isdisjoint((MEMORY, PROCESSES)):
        pytest.skip(f"no cgroups here: {absent}")
    async with system.worker(limits=LIMITS, sandbox=sandbox) as worker:
        bombs = (FORK_BOMB, MEMORY_BOMB, ENDLESS_LOG, "truncate -s 1T out")
        forked, memory, log, sparse = await asyncio.gather(*map(system.sh, bombs))
        assert forked.result.exit_code != 0
        assert forked.message == "the action met its limit of 50 processes"
        assert (memory.result.exit_code, memory.status.code) == (137, code_pb2.OK)
        assert "memory limit of 100 MiB" in memory.message
        assert log.status.code == code_pb2.RESOURCE_EXHAUSTED
        assert log.result.stdout_digest.size_bytes == 1 << 20
        assert sparse.result.exit_code == 153
        await system.check_alive()
        assert not worker.done()
        books = sh(MEMORY_BOMB)
        books.platform.properties.add(name="resource.memory", value="400Mi")
        assert (await system.run(books)).result.exit_code == 0
