"""Two schedulers on one database: one dies, freezes or ends under load, and no build notices.

What a client sees of an operation is asked through a frontend without retries of its own.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
from google.longrunning.operations_pb2 import CancelOperationRequest, Operation
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2

from reapi.clients.bidirectional_call import BidirectionalCall
from reapi.clients.channel import Channel
from reapi.clients.execution import execute
from reapi.clients.methods import CANCEL_OPERATION, CONNECT, HEALTH_WATCH, READ
from reapi.core.digest import Digest
from reapi.core.errors import Unavailable
from reapi.core.postgresql.dsn import Dsn
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecuteResponse,
)
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest, ReadResponse
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    Completion,
    ConnectRequest,
    ConnectResponse,
    Lease,
    Register,
)
from reapi.server.config import ServerConfig
from tests.integration.production import Production
from tests.integration.system import Gate, System, checked, sh
from tests.minio import S3Server, new_bucket
from tests.postgresql import PostgresqlServer
from tests.server_process import ServerProcess
from tests.unit.scheduler.harness import metadata_of, response_of

pytestmark = pytest.mark.timeout(180)

ACTIVE = "this scheduler is active"
QUICK = {"heartbeat_seconds": "30", "worker_timeout_seconds": "4"}
"""A worker that does not come back after a take-over is lost soon; a silent one is not."""


@dataclass
class Pair:
    """An active scheduler, one that stands by, and a frontend that knows both."""

    production: Production
    active: ServerProcess
    standby: ServerProcess
    frontend: ServerProcess
    system: System

    @property
    def endpoint(self) -> str:
        return f"{self.active.grpc},{self.standby.grpc}"

    @contextmanager
    def executor(self, name: str) -> Iterator[ServerProcess]:
        with self.production.executor(name, self.endpoint, storage="direct", slots="2") as process:
            yield process

    async def taken_over(self) -> None:
        await asyncio.to_thread(self.standby.wait_for_log, ACTIVE)


@pytest.fixture
async def pair(open_path: Path, postgresql_dsn: Dsn, s3_server: S3Server) -> AsyncIterator[Pair]:
    production = Production(open_path, postgresql_dsn, new_bucket(s3_server, open_path))
    async with AsyncExitStack() as stack:
        active = stack.enter_context(production.scheduler("active", **QUICK))
        standby = stack.enter_context(production.scheduler("standby", **QUICK))
        endpoint = f"{active.grpc},{standby.grpc}"
        frontend = stack.enter_context(production.frontend("frontend", endpoint))
        channel = await stack.enter_async_context(Channel(frontend.grpc))
        system = System(ServerConfig(), frontend.grpc, channel, open_path)
        yield Pair(production, active, standby, frontend, system)


class Load:
    """Clients that execute one action after the other, each of which says its number once."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._number = 0
        self._changed = asyncio.Condition()
        self._is_stopped = False
        self.answers = 0

    async def run(self) -> None:
        system = self._pair.system
        while not self._is_stopped:
            self._number += 1
            number = self._number
            action = await system.add(sh(f"echo {number}"))
            states = [state async for state in execute(system.channel, "", action)]
            assert {state.name for state in states} == {states[-1].name}
            assert states[-1].is_done
            assert await self._output_of(action) == f"{number}\n"
            self.answers += 1
            async with self._changed:
                self._changed.notify_all()

    async def _output_of(self, action: Digest) -> str:
        result = await self._pair.system.cached(action)
        return await self._pair.system.stdout(ExecuteResponse(result=result))

    async def answered(self, more: int) -> None:
        wanted = self.answers + more
        async with self._changed:
            await self._changed.wait_for(lambda: self.answers >= wanted)

    def stop(self) -> None:
        self._is_stopped = True


@asynccontextmanager
async def _load(pair: Pair) -> AsyncIterator[Load]:
    """Under load when entered, and still when it is left."""
    load = Load(pair)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(load.run())
        await load.answered(5)
        yield load
        await load.answered(10)
        load.stop()


class Watched:
    """An operation whose stream is open all the time."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._messages: list[Operation] = []
        self._named = asyncio.Event()

    async def begin(self, script: str) -> None:
        """Returns when it has a name."""
        self.action = await self._system.add(sh(script))
        self._reading = asyncio.create_task(self._read())
        await self._named.wait()

    async def _read(self) -> None:
        async for message in self._system.stream(self.action):
            self._messages.append(message)
            self._named.set()

    async def result(self) -> str:
        """What the stream says at its end, which all others say too."""
        await self._reading
        last = checked(self._messages)[-1]
        assert (await self._system.wait(last.name))[-1] == last
        response = response_of(last)
        told = response.result.stdout_raw.decode() or await self._system.stdout(response)
        result = await self._system.cached(self.action)
        assert await self._system.stdout(ExecuteResponse(result=result)) == told
        return told


async def _held(pair: Pair, gate: Gate) -> Watched:
    """An operation whose action runs until the gate opens; every run of it says another word."""
    watched = Watched(pair.system)
    await watched.begin(gate.script("cat /proc/sys/kernel/random/uuid"))
    await gate.begun()
    return watched


async def _get(server: ServerProcess, path: str) -> str:
    def get() -> str:
        with urlopen(f"http://{server.http}{path}") as response:
            return str(response.read().decode())

    return await asyncio.to_thread(get)


async def _metric(server: ServerProcess, name: str) -> float:
    lines = (await _get(server, "/metrics")).splitlines()
    (value,) = [line.split()[-1] for line in lines if line.startswith(f"{name}{{")]
    return float(value)


async def test_a_standby_is_ready_refuses_calls_and_says_why(pair: Pair) -> None:
    """Kubernetes must go on with a rollout; its Execution service is NOT_SERVING."""
    assert await _get(pair.active, "/readyz") == "ready\n"
    assert (await _get(pair.standby, "/readyz")).startswith("standby: another scheduler is active")
    assert await _metric(pair.active, "reapi_scheduler_active") == 1
    assert await _metric(pair.standby, "reapi_scheduler_active") == 0
    async with Channel(pair.standby.grpc) as channel:
        system = System(ServerConfig(), pair.standby.grpc, channel, pair.production.folder)
        with pytest.raises(Unavailable, match="not active: standby") as caught:
            await system.wait("operations/any")
        assert caught.value.retry_after_seconds
        for service, expected in (
            ("", health_pb2.HealthCheckResponse.SERVING),
            (
                "build.bazel.remote.execution.v2.Execution",
                health_pb2.HealthCheckResponse.NOT_SERVING,
            ),
        ):
            request = health_pb2.HealthCheckRequest(service=service)
            states = channel.server_stream(HEALTH_WATCH, request)
            assert (await anext(states)).status == expected
            await states.aclose()


async def test_reliability_F6_kill_9_of_the_active_scheduler_under_load_is_noticed_by_nobody(
    pair: Pair, gate: Gate
) -> None:
    with pair.executor("executor"):
        held = await _held(pair, gate)
        async with _load(pair):
            pair.active.kill()
            await pair.taken_over()
        gate.open()
        assert await held.result()


async def test_a_log_that_is_watched_goes_on_over_a_take_over(pair: Pair) -> None:
    """In one Read, of a client that does not try again: each byte comes once."""
    script = "echo one; exec sleep 1000"
    with pair.executor("executor"):
        async with aclosing(pair.system.stream(await pair.system.add(sh(script)))) as stream:
            operation = await anext(stream)
            name = metadata_of(operation).stdout_stream_name
            log = await _printed(pair.system, name)
            pair.active.kill()
            await pair.taken_over()
            other = await _printed(pair.system, name)
            cancel = CancelOperationRequest(name=operation.name)
            await pair.system.channel.unary(CANCEL_OPERATION, cancel)
            for each in (log, other):
                assert b"".join([reply.data async for reply in each]) == b""
        last = pair.system.channel.server_stream(READ, ReadRequest(resource_name=name))
        assert b"".join([reply.data async for reply in last]) == b"one\n"


async def _printed(system: System, name: str) -> AsyncGenerator[ReadResponse, None]:
    """The rest of a log of which a first line was read."""
    log = system.channel.server_stream(READ, ReadRequest(resource_name=name))
    seen = b""
    while seen != b"one\n":
        seen += (await anext(log)).data
    return log


async def test_reliability_F7_a_frozen_scheduler_is_replaced_and_writes_nothing_when_it_wakes(
    pair: Pair,
) -> None:
    """It has the result of an action on its way in when it freezes; the action runs once more, and
    what that gave is what everybody sees, before and after."""
    watched = Watched(pair.system)
    await watched.begin("the workers here run nothing")
    async with _worker(pair.active.grpc, "first") as first:
        lease = await first.lease()
        pair.active.freeze()
        await first.complete(lease, b"of the first")
        await pair.taken_over()
        async with _worker(pair.standby.grpc, "second") as second:
            again = await second.lease()
            assert again.key.operation_name == lease.key.operation_name
            assert again.key.epoch > lease.key.epoch
            await second.complete(again, b"of the second")
            assert await watched.result() == "of the second"
            pair.active.thaw()
            await asyncio.to_thread(pair.active.wait_for_log, "has taken over")
    assert await _metric(pair.active, "reapi_scheduler_fenced_total") == 1
    assert await _metric(pair.standby, "reapi_scheduler_fenced_total") == 0
    assert await watched.result() == "of the second"


async def test_reliability_F7_under_load_a_freeze_is_noticed_by_nobody_and_roles_change_again(
    pair: Pair, gate: Gate
) -> None:
    with pair.executor("executor"):
        held = await _held(pair, gate)
        async with _load(pair) as load:
            pair.active.freeze()
            await pair.taken_over()
            await load.answered(5)
            pair.active.thaw()
            await asyncio.to_thread(pair.active.wait_for_log, "has taken over")
            await load.answered(5)
            pair.standby.kill()
            await asyncio.to_thread(pair.active.wait_for_log, ACTIVE, 2)
        gate.open()
        assert await held.result()
    assert await _metric(pair.active, "reapi_scheduler_fenced_total") == 1


async def test_reliability_F10_sigterm_of_the_active_scheduler_under_load_hands_over(
    pair: Pair, gate: Gate
) -> None:
    """It ends with exit code 0, and while it does so the other one is active already."""
    with pair.executor("executor"):
        held = await _held(pair, gate)
        async with _load(pair):
            pair.active.terminate()
            await pair.taken_over()
        gate.open()
        assert await held.result()


async def test_reliability_F9_execution_is_away_with_the_database_and_so_back_with_it(
    pair: Pair, postgresql_server: PostgresqlServer
) -> None:
    request = health_pb2.HealthCheckRequest(service="build.bazel.remote.execution.v2.Execution")
    states = health_pb2.HealthCheckResponse
    watched = pair.system.channel.server_stream(HEALTH_WATCH, request)
    with pair.executor("executor"):
        await pair.system.check_alive()
        while (await anext(watched)).status != states.SERVING:
            pass
        action = await pair.system.add(sh("echo back"))
        postgresql_server.kill()
        running = asyncio.create_task(_result_of(pair.system, action))
        while (await anext(watched)).status != states.NOT_SERVING:
            pass
        await asyncio.to_thread(postgresql_server.start)
        while (await anext(watched)).status != states.SERVING:
            pass
        await running
    await watched.aclose()


async def _result_of(system: System, action: Digest) -> None:
    states = [state async for state in execute(system.channel, "", action)]
    assert states[-1].is_done


class Worker:
    """The worker's side of the protocol, told by a test what to say."""

    def __init__(self, call: BidirectionalCall[ConnectRequest, ConnectResponse]) -> None:
        self._call = call
        self._replies = aiter(call)

    async def lease(self) -> Lease:
        while not (reply := await anext(self._replies)).HasField("lease"):
            pass
        return reply.lease

    async def complete(self, lease: Lease, stdout: bytes) -> None:
        result = ActionResult(stdout_raw=stdout)
        completion = Completion(key=lease.key, response=ExecuteResponse(result=result))
        assert completion.response.status.code == code_pb2.OK
        await self._call.send(ConnectRequest(completion=completion))


@asynccontextmanager
async def _worker(address: str, name: str) -> AsyncIterator[Worker]:
    async with Channel(address) as channel, channel.bidirectional(CONNECT) as call:
        register = Register(worker_id=name, session_id=name, slots=1)
        await call.send(ConnectRequest(register=register))
        yield Worker(call)
