"""Executors that outlast the scheduler and the bucket."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from reapi.clients.channel import Channel
from reapi.clients.history import list_history
from reapi.clients.model import HistoryQuery
from reapi.clients.operations import get_operation
from reapi.core.postgresql.dsn import Dsn
from reapi.server.config import ServerConfig
from tests.integration.production import Production
from tests.integration.system import Gate, Notes, System, sh
from tests.minio import S3Server, new_bucket
from tests.ports import lasting_port
from tests.server_process import ServerProcess
from tests.unit.scheduler.harness import response_of

pytestmark = pytest.mark.timeout(180)

OUTPUTS = {"small": 300_000, "large": 3_000_000}
"""One that travels in a batch and one that is streamed; neither is kept in the database."""


@dataclass
class Fleet:
    """A scheduler and a frontend."""

    production: Production
    scheduler: ServerProcess
    frontend: ServerProcess
    system: System

    def executor(self, storage: str) -> ServerProcess:
        settings = {"storage": storage, "slots": "1"}
        if storage == "frontend":
            settings["frontend_endpoint"] = self.frontend.grpc
        return self.production.executor("executor", self.scheduler.grpc, **settings)

    async def begin(self, gate: Gate, script: str, *outputs: str) -> str:
        """The name of an operation whose action waits at the gate."""
        action = await self.system.add(sh(gate.script(script), output_paths=outputs))
        stream = self.system.stream(action)
        name = (await anext(stream)).name
        await gate.begun()
        await stream.aclose()
        return name


@pytest.fixture
def own_s3(minio_server: S3Server, tmp_path: Path) -> Iterator[S3Server]:
    """One that may be killed, and then still has its objects."""
    with S3Server(tmp_path / "s3", is_minio=True) as server:
        yield server


@asynccontextmanager
async def _fleet(folder: Path, dsn: Dsn, s3: S3Server) -> AsyncIterator[Fleet]:
    production = Production(folder, dsn, new_bucket(s3, folder))
    async with AsyncExitStack() as stack:
        scheduler = stack.enter_context(production.scheduler(listen=f"127.0.0.1:{lasting_port()}"))
        frontend = stack.enter_context(production.frontend("frontend", scheduler.grpc))
        channel = await stack.enter_async_context(Channel(frontend.grpc))
        system = System(ServerConfig(), frontend.grpc, channel, folder)
        yield Fleet(production, scheduler, frontend, system)


@pytest.mark.soak
@pytest.mark.parametrize("storage", ["frontend", "direct"])
async def test_compile_clients_F5_a_bucket_that_is_killed_delays_results_and_none_is_told_before(
    open_path: Path, postgresql_dsn: Dsn, own_s3: S3Server, gate: Gate, storage: str
) -> None:
    script = "; ".join(f"head -c {size} /dev/urandom >{name}" for name, size in OUTPUTS.items())
    async with _fleet(open_path, postgresql_dsn, own_s3) as fleet:
        with fleet.executor(storage) as executor:
            name = await fleet.begin(gate, script, *OUTPUTS)
            own_s3.kill()
            gate.open()
            await asyncio.to_thread(executor.wait_for_log, "trying again for")
            assert not (await get_operation(fleet.system.channel, name)).is_done
            await asyncio.to_thread(own_s3.start)
            response = response_of((await fleet.system.wait(name))[-1])
            assert response.status.code == 0, response.status
            sizes = {}
            for file in response.result.output_files:
                sizes[file.path] = len(await fleet.system.read(file.digest))
            assert sizes == OUTPUTS


async def test_a_result_outlives_the_scheduler_and_the_executor_that_had_it(
    open_path: Path, postgresql_dsn: Dsn, s3_server: S3Server, gate: Gate, notes: Notes
) -> None:
    """Both are killed, one after the other; the action is not run again."""
    async with _fleet(open_path, postgresql_dsn, s3_server) as fleet:
        with fleet.executor("direct") as executor:
            name = await fleet.begin(gate, f"echo run >'{notes.path}'; echo printed")
            fleet.scheduler.kill()
            gate.open()
            await asyncio.to_thread(executor.wait_for_log, "keeping the result")
            executor.kill()
        again = fleet.production.scheduler(listen=fleet.scheduler.grpc)
        with again, fleet.executor("direct"):
            await asyncio.to_thread(fleet.frontend.wait_for_log, "the active scheduler is", 2)
            response = response_of((await fleet.system.wait(name))[-1])
            assert await fleet.system.stdout(response) == "printed\n"
            (entry,) = await list_history(fleet.system.channel, HistoryQuery())
        assert len(entry.attempts) == 1
        assert notes.lines() == ["run"]
