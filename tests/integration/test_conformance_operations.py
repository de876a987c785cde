"""Conformance of WaitExecution and Operations (conformance 1.7: EX13 to EX16, OP1 to OP3)."""

import asyncio
import base64
import re
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty
from google.rpc import code_pb2

from reapi.clients.channel import Channel
from reapi.clients.methods import (
    CANCEL_OPERATION,
    GET_OPERATION,
    LIST_OPERATIONS,
    ClientMethod,
)
from reapi.core.errors import InvalidArgument, NotFound, Unimplemented
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.scheduler.config import SchedulerConfig
from reapi.server import scheduler_config
from tests.integration.system import Gate, Notes, System, codes, open_system, sh
from tests.unit.scheduler.harness import metadata_of, response_of

UNKNOWN = "operations/00000000-0000-4000-8000-000000000000"


async def begin(system: System, gate: Gate, script: str = "echo done") -> str:
    """The name of an operation that runs and that nobody watches any more."""
    stream = system.stream(await system.add(sh(gate.script(script))))
    name = (await anext(stream)).name
    await gate.begun()
    await stream.aclose()
    return name


async def get(system: System, name: str) -> operations_pb2.Operation:
    return await system.channel.unary(GET_OPERATION, operations_pb2.GetOperationRequest(name=name))


async def cancel(system: System, name: str) -> None:
    request = operations_pb2.CancelOperationRequest(name=name)
    assert await system.channel.unary(CANCEL_OPERATION, request) == Empty()


async def list_page(system: System, **fields: object) -> operations_pb2.ListOperationsResponse:
    request = operations_pb2.ListOperationsRequest(**fields)
    return await system.channel.unary(LIST_OPERATIONS, request)


class TestWaitExecution:
    async def test_EX13_EX14_an_operation_outlives_its_client_and_is_rejoined(
        self, system: System, gate: Gate
    ) -> None:
        """The state now, then the end; afterwards the end alone, also from GetOperation."""
        name = await begin(system, gate)
        stream = asyncio.create_task(system.wait(name))
        assert metadata_of(await get(system, name)).stage == re_pb2.ExecutionStage.EXECUTING
        gate.open()
        operations = await stream
        assert operations[-1].name == name
        assert await system.stdout(response_of(operations[-1])) == "done\n"
        assert await system.wait(name) == operations[-1:]
        assert await get(system, name) == operations[-1]

    async def test_L4_hundreds_of_streams_on_several_connections_are_open_at_once(
        self, system: System, gate: Gate
    ) -> None:
        name = await begin(system, gate)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for _ in range(3):
                channel = await stack.enter_async_context(Channel(system.address))
                elsewhere = replace(system, channel=channel)
                for _ in range(150):
                    group.create_task(elsewhere.wait(name))
            # Answered while all of them are open.
            assert not (await get(system, name)).done
            gate.open()

    async def test_EX14_several_clients_wait_for_one_operation(
        self, system: System, gate: Gate
    ) -> None:
        name = await begin(system, gate)
        async with Channel(system.address) as other:
            elsewhere = replace(system, channel=other)
            async with asyncio.TaskGroup() as group:
                waits = [group.create_task(client.wait(name)) for client in (system, elsewhere) * 5]
                gate.open()
        assert len({wait.result()[-1].SerializeToString() for wait in waits}) == 1

    async def test_EX14_the_current_state_comes_at_once(self, idle_system: System) -> None:
        stream = idle_system.stream(await idle_system.add(sh("true")))
        name = (await anext(stream)).name
        async with idle_system.worker():
            await idle_system.wait(name)
        operations = [operation async for operation in stream]
        assert operations[-1].done

    @pytest.mark.parametrize("name", [UNKNOWN, "", "x" * 100_000, "operations/\0", "../etc"])
    async def test_EX14_OP2_an_unknown_name_is_not_found(self, system: System, name: str) -> None:
        for call in (system.wait(name), get(system, name), cancel(system, name)):
            with pytest.raises(NotFound):
                await call

    async def test_EX13_what_nobody_watches_for_long_is_stopped(
        self, open_path: Path, gate: Gate
    ) -> None:
        """The grace time is a setting; a worker is free again afterwards."""
        impatient = {"unwatched_seconds": 0.05}
        async with open_system(open_path, scheduler=impatient) as system, system.worker(slots=1):
            name = await begin(system, gate)
            await system.check_alive()  # had to wait for the slot
            response = response_of((await system.wait(name))[-1])
        assert response.status.code == code_pb2.ABORTED

    async def test_EX15_EX16_a_quiet_stream_repeats_its_state_and_stays_open(
        self, open_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def often(**settings: float) -> SchedulerConfig:
            return SchedulerConfig(**settings, update_interval_seconds=0.01)  # type: ignore[arg-type]

        monkeypatch.setattr(scheduler_config, "SchedulerConfig", often)
        async with open_system(open_path) as system:
            stream = system.stream(await system.add(sh("true")))
            quiet = [await anext(stream) for _ in range(5)]
            assert all(operation == quiet[0] for operation in quiet)
            assert not quiet[0].done
            async with system.worker():
                assert [operation async for operation in stream][-1].done


class TestOperations:
    @pytest.mark.parametrize(
        ("name", "request_type"),
        [
            ("DeleteOperation", operations_pb2.DeleteOperationRequest),
            ("WaitOperation", operations_pb2.WaitOperationRequest),
        ],
    )
    async def test_OP1_what_is_not_offered_is_unimplemented(
        self, system: System, name: str, request_type: type
    ) -> None:
        path = f"/google.longrunning.Operations/{name}"
        method = ClientMethod(path, request_type, operations_pb2.Operation)
        with pytest.raises(Unimplemented):
            await system.channel.unary(method, request_type(name=UNKNOWN))

    async def test_OP1_operations_are_listed_page_by_page(self, system: System, gate: Gate) -> None:
        """Live and finished ones, each once, of one instance or of all."""
        running = await begin(system, gate)
        names = [running]
        for number in range(4):
            names.append((await system.execute(await system.add(sh(f": {number}"))))[-1].name)
        in_main = await system.add(sh("true"))
        names.append((await system.execute(in_main, instance_name="main"))[-1].name)
        listed, token = [], ""
        while True:
            page = await list_page(system, name="operations", page_size=2, page_token=token)
            assert len(page.operations) <= 2
            listed += page.operations
            token = page.next_page_token
            if not token:
                break
        assert [operation.name for operation in listed] == sorted(names)
        assert {one.name for one in listed if not one.done} == {running}
        (only,) = (await list_page(system, name="main")).operations
        assert only.name == names[-1]
        gate.open()
        await system.wait(running)

    @pytest.mark.parametrize(
        "token",
        [
            "forged",
            "****",
            "\0",
            base64.urlsafe_b64encode(b"operations/zzz").decode(),
            base64.urlsafe_b64encode(b"' OR 1=1 --").decode(),
            base64.urlsafe_b64encode(b"\xff\xfe").decode(),
            "A" * 100_000,
        ],
    )
    async def test_OP1_B20_a_forged_token_is_refused(self, system: System, token: str) -> None:
        with pytest.raises(InvalidArgument, match="page_token"):
            await list_page(system, page_token=token)
        with pytest.raises(InvalidArgument, match="page_size"):
            await list_page(system, page_size=-1)

    async def test_OP2_cancel_ends_a_running_operation_and_its_processes(
        self, system: System, gate: Gate, notes: Notes
    ) -> None:
        """All waiters hear CANCELLED in a done Operation; cancelling again changes nothing."""
        script = gate.script(f"echo late >'{notes.path}'")
        stream = system.stream(await system.add(sh(script)))
        name = (await anext(stream)).name
        await gate.begun()
        waiting = asyncio.create_task(system.wait(name))
        await cancel(system, name)
        last = [operation async for operation in stream][-1]
        assert (await waiting)[-1] == last
        assert codes([response_of(last)]) == {code_pb2.CANCELLED}
        assert not last.HasField("error")
        await cancel(system, name)
        assert await get(system, name) == last
        await system.check_alive()
        gate.open()
        assert not notes.lines()

    async def test_OP2_cancel_ends_a_queued_operation_that_then_never_runs(
        self, idle_system: System, notes: Notes
    ) -> None:
        stream = idle_system.stream(await idle_system.add(sh(f"echo >'{notes.path}'")))
        name = (await anext(stream)).name
        await cancel(idle_system, name)
        last = [operation async for operation in stream][-1]
        assert codes([response_of(last)]) == {code_pb2.CANCELLED}
        async with idle_system.worker():
            await idle_system.check_alive()
        assert not notes.lines()

    async def test_OP2_cancel_of_one_merged_caller_leaves_the_other(
        self, system: System, gate: Gate
    ) -> None:
        action = await system.add(sh(gate.script("echo done")))
        first, second = system.stream(action), system.stream(action)
        names = [(await anext(stream)).name for stream in (first, second)]
        await gate.begun()
        await cancel(system, names[0])
        gate.open()
        ends = [[operation async for operation in stream][-1] for stream in (first, second)]
        assert response_of(ends[0]).status.code == code_pb2.CANCELLED
        assert await system.stdout(response_of(ends[1])) == "done\n"

    async def test_OP3_names_are_random(self, system: System) -> None:
        action = await system.add(sh("true"))
        names = {(await system.execute(action))[-1].name for _ in range(5)}
        assert len(names) == 5
        assert all(re.fullmatch(r"operations/[0-9a-f-]{36}", name) for name in names)

    async def test_EX14_OP3_a_result_is_found_by_its_name_after_a_restart(
        self, open_path: Path, gate: Gate
    ) -> None:
        """So is what was queued, which then runs."""
        async with open_system(open_path) as system, system.worker():
            done = (await system.execute(await system.add(sh("true"))))[-1]
        async with open_system(open_path) as system:
            assert await system.wait(done.name) == [done]
            stream = system.stream(await system.add(sh("echo after")))
            name = (await anext(stream)).name
            await stream.aclose()
        async with open_system(open_path) as system, system.worker():
            assert await system.stdout(response_of((await system.wait(name))[-1])) == "after\n"
