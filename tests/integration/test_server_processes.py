"""What survives the death of a process: operations, workers, and clear words at the start."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.longrunning.operations_pb2 import Operation

from reapi.clients import Client
from reapi.clients.channel import Channel
from reapi.clients.methods import EXECUTE, WAIT_EXECUTION
from reapi.core.digest import Digest
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.integration.system import Gate
from tests.server_process import ServerProcess

ONE_SLOT = {"REAPI_EXECUTOR__SLOTS": "1"}


async def _upload_action(client: Client, *arguments: str) -> Digest:
    command = re_pb2.Command(arguments=arguments)
    command_digest = await client.upload_bytes(command.SerializeToString())
    root_digest = await client.upload_bytes(b"")
    action = re_pb2.Action(
        command_digest=command_digest.to_message(), input_root_digest=root_digest.to_message()
    )
    return await client.upload_bytes(action.SerializeToString())


@asynccontextmanager
async def _states(stream: AsyncIterator[Operation]) -> AsyncIterator[AsyncIterator[Operation]]:
    try:
        yield stream
    finally:
        await stream.aclose()  # type: ignore[attr-defined]


def _stage(operation: Operation) -> int:
    metadata = re_pb2.ExecuteOperationMetadata()
    assert operation.metadata.Unpack(metadata)
    return metadata.stage


async def _begin(channel: Channel, action: Digest) -> Operation:
    """The first state of the action's operation; its stream is dropped then."""
    request = re_pb2.ExecuteRequest(action_digest=action.to_message())
    async with _states(channel.server_stream(EXECUTE, request)) as stream:
        return await anext(stream)


async def _result(channel: Channel, name: str) -> re_pb2.ExecuteResponse:
    """Waits for the end of an operation, under its name."""
    request = re_pb2.WaitExecutionRequest(name=name)
    async for operation in channel.server_stream(WAIT_EXECUTION, request):
        last = operation
    assert last.done
    assert last.name == name
    response = re_pb2.ExecuteResponse()
    assert last.response.Unpack(response)
    return response


async def test_queued_and_running_operations_outlive_kill_9_under_their_names(
    open_path: Path, gate: Gate
) -> None:
    data_dir = open_path / "server"
    with ServerProcess(data_dir, environment=ONE_SLOT) as server:
        async with Client(server.grpc) as client, Channel(server.grpc) as channel:
            running = await _begin(
                channel, await _upload_action(client, "/bin/sh", "-c", gate.script())
            )
            await gate.begun()
            queued = await _begin(channel, await _upload_action(client, "/bin/true"))
            assert not running.done
            assert _stage(queued) == re_pb2.ExecutionStage.QUEUED
        server.kill()
    with ServerProcess(data_dir, environment=ONE_SLOT) as server:
        gate.open()
        async with Channel(server.grpc) as channel:
            for operation in (running, queued):
                response = await _result(channel, operation.name)
                assert response.status.code == 0
                assert response.result.exit_code == 0
                assert not response.cached_result


async def test_a_finished_operation_is_found_by_its_name_after_kill_9(open_path: Path) -> None:
    data_dir = open_path / "server"
    with ServerProcess(data_dir) as server:
        async with Client(server.grpc) as client, Channel(server.grpc) as channel:
            operation = await _begin(channel, await _upload_action(client, "/bin/true"))
            before = await _result(channel, operation.name)
        server.kill()
    with ServerProcess(data_dir) as server:
        async with Channel(server.grpc) as channel:
            assert await _result(channel, operation.name) == before


async def test_executors_join_by_role_and_share_the_work(open_path: Path, gate: Gate) -> None:
    roles = ("--role", "frontend", "--role", "scheduler")
    at_once = {"REAPI_SCHEDULER__PREFERRED_WAIT_SECONDS": "0"}
    with ServerProcess(open_path / "server", *roles, environment=at_once) as server:
        joined = [
            ServerProcess(
                open_path / name,
                *("--role", "executor"),
                environment=ONE_SLOT
                | {
                    "REAPI_SCHEDULER__ENDPOINT": server.grpc,
                    "REAPI_EXECUTOR__WORKER_ID": name,
                },
            )
            for name in ("first", "second")
        ]
        with joined[0], joined[1]:
            async with Client(server.grpc) as client, Channel(server.grpc) as channel:
                names = []
                for number in range(2):
                    action = await _upload_action(
                        client, "/bin/sh", "-c", gate.script(f": {number}")
                    )
                    names.append((await _begin(channel, action)).name)
                gate.open()
                gate.open()
                results = [await _result(channel, name) for name in names]
        workers = {result.result.execution_metadata.worker for result in results}
    assert workers == {"first", "second"}


async def test_the_action_of_a_killed_worker_runs_on_another(open_path: Path, gate: Gate) -> None:
    roles = ("--role", "frontend", "--role", "scheduler")
    soon = {"REAPI_SCHEDULER__WORKER_TIMEOUT_SECONDS": "1"}
    with ServerProcess(open_path / "server", *roles, environment=soon) as server:

        def executor(name: str) -> ServerProcess:
            endpoint = {"REAPI_SCHEDULER__ENDPOINT": server.grpc}
            own = {"REAPI_EXECUTOR__WORKER_ID": name}
            return ServerProcess(open_path / name, "--role", "executor", environment=endpoint | own)

        async with Client(server.grpc) as client, Channel(server.grpc) as channel:
            with executor("mortal") as mortal:
                action = await _upload_action(client, "/bin/sh", "-c", gate.script())
                operation = await _begin(channel, action)
                await gate.begun()
                mortal.kill()
            with executor("heir"):
                gate.open()
                response = await _result(channel, operation.name)
    assert response.status.code == 0
    assert response.result.execution_metadata.worker == "heir"


async def test_an_executor_that_dies_is_replaced(open_path: Path) -> None:
    with ServerProcess(open_path / "server") as server:
        async with Client(server.grpc) as client:
            await client.run(["/bin/true"], root=open_path)
            for pid in server.child_pids():
                os.kill(pid, signal.SIGKILL)
            result = await client.run(["/bin/echo", "again"], root=open_path)
    assert result.exit_code == 0


def test_a_port_in_use_is_one_clear_line(open_path: Path) -> None:
    with ServerProcess(open_path / "first") as server:
        second = _serve(open_path / "second", "--listen", server.grpc)
    assert second.returncode == 1
    assert second.stdout == ""
    last = second.stderr.strip().splitlines()[-1]
    assert last == f"reapi-server: cannot listen on {server.grpc}: is the port in use?"


def test_a_data_directory_in_use_is_refused(open_path: Path) -> None:
    with ServerProcess(open_path / "data"):
        second = _serve(open_path / "data", "--listen", "127.0.0.1:0")
    assert second.returncode == 1
    assert str(open_path / "data") in second.stderr.strip().splitlines()[-1]


def test_a_scheduler_apart_from_its_frontend_is_refused(open_path: Path) -> None:
    result = _serve(open_path / "data", "--role", "scheduler")
    assert result.returncode == 1
    assert "--role scheduler needs --role frontend" in result.stderr
    assert not (open_path / "data").exists()


def test_a_frontend_apart_from_its_scheduler_is_refused(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REAPI_SCHEDULER__ENDPOINT", "build-server:8980")
    result = _serve(open_path / "data", "--role", "frontend")
    assert result.returncode == 1
    assert "--role frontend cannot serve the scheduler at build-server:8980" in result.stderr
    assert not (open_path / "data").exists()


def test_a_mistake_in_the_settings_is_named_before_anything_opens(open_path: Path) -> None:
    config = open_path / "config.toml"
    config.write_text("[storage]\nmax_size = 3\n")
    result = _serve(open_path / "data", "--config", str(config))
    assert result.returncode == 1
    assert "storage.max_size: there is no such key" in result.stderr
    assert not (open_path / "data").exists()


def _serve(data_dir: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-m", "reapi.server", "serve", "--data-dir", str(data_dir)),
            *("--http-listen", "127.0.0.1:0"),
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
