"""Several processes on one port: all serve the same, and what the death of each takes along."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from google.longrunning.operations_pb2 import CancelOperationRequest, Operation
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families

from reapi.clients.action_cache import RemoteActionCache
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.methods import (
    CANCEL_OPERATION,
    EXECUTE,
    FIND_MISSING_BLOBS,
    GET_CAPABILITIES,
    HEALTH_WATCH,
    WAIT_EXECUTION,
    WRITE,
)
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import InvalidArgument, ReapiError
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import WriteRequest
from tests.integration.system import Gate, checked, violations
from tests.server_process import STOP_DEADLINE_SECONDS, ServerProcess
from tests.unit.scheduler.harness import metadata_of, response_of

TWO = {"REAPI_SERVER__PROCESSES": "2"}
NO_EXECUTOR = ("--role", "frontend", "--role", "scheduler")
CAPABILITIES_PATH = GET_CAPABILITIES.path
MOST_CONNECTIONS = 200
"""The kernel gives each to one of two processes: that all of these go to one will not happen."""


@pytest.fixture
def server(open_path: Path, gate: Gate) -> Iterator[ServerProcess]:
    """The gate is there before, as actions see it only then."""
    with ServerProcess(open_path / "server", environment=TWO) as process:
        yield process


@pytest.fixture
def frontends(open_path: Path) -> Iterator[ServerProcess]:
    """A server of two processes without an executor: its one child is the second frontend."""
    with ServerProcess(open_path / "server", *NO_EXECUTOR, environment=TWO) as process:
        yield process


async def _get(server: ServerProcess, path: str) -> str:
    def get() -> str:
        with urlopen(f"http://{server.http}{path}") as response:
            return str(response.read().decode())

    return await asyncio.to_thread(get)


async def _samples(server: ServerProcess, name: str, **labels: str) -> dict[str, float]:
    """By process: the sum of the samples of that name and those labels."""
    text = await _get(server, "/metrics")
    sums: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                sums[sample.labels["process"]] += sample.value
    return dict(sums)


@asynccontextmanager
async def channels_to_both(server: ServerProcess) -> AsyncIterator[tuple[Channel, Channel]]:
    """A connection to the first process, and one to the second, as their metrics tell."""
    found: dict[str, Channel] = {}
    async with AsyncExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            before = await _samples(server, "reapi_rpc_handled_total", method=CAPABILITIES_PATH)
            channel = await stack.enter_async_context(Channel(server.grpc))
            await channel.unary(GET_CAPABILITIES, re_pb2.GetCapabilitiesRequest())
            after = await _samples(server, "reapi_rpc_handled_total", method=CAPABILITIES_PATH)
            (process,) = [one for one in after if after[one] > before.get(one, 0)]
            found.setdefault(process, channel)
            if len(found) == 2:
                yield found["0"], found["1"]
                return
    raise AssertionError(f"all connections went to process {set(found)}")


async def _add_action(channel: Channel, *arguments: str) -> Digest:
    command = re_pb2.Command(arguments=arguments).SerializeToString()
    action = re_pb2.Action(
        command_digest=digest_of(command).to_message(),
        input_root_digest=digest_of(b"").to_message(),
    ).SerializeToString()
    blobs = {digest_of(blob): blob for blob in (command, action, b"")}
    assert not await RemoteBlobStore(channel, "").write_many(blobs)
    return digest_of(action)


def _execute(channel: Channel, action: Digest) -> AsyncIterator[Operation]:
    request = re_pb2.ExecuteRequest(action_digest=action.to_message())
    return channel.server_stream(EXECUTE, request)


def _wait(channel: Channel, name: str) -> AsyncIterator[Operation]:
    return channel.server_stream(WAIT_EXECUTION, re_pb2.WaitExecutionRequest(name=name))


async def test_both_processes_serve_and_see_what_the_other_one_stores(
    frontends: ServerProcess,
) -> None:
    async with channels_to_both(frontends) as channels:
        stores = [RemoteBlobStore(channel, "") for channel in channels]
        for writer, reader in (stores, reversed(stores)):
            for size in (1000, 100_000):
                blob = os.urandom(size)
                digest = digest_of(blob)
                assert await reader.find_missing([digest]) == [digest]
                assert not await writer.write_many({digest: blob})
                assert await reader.find_missing([digest]) == []
                assert await reader.read_many([digest]) == {digest: blob}
        first, second = [
            await channel.unary(GET_CAPABILITIES, re_pb2.GetCapabilitiesRequest())
            for channel in channels
        ]
        assert first == second
        assert second.execution_capabilities.exec_enabled
        asked = await _samples(
            frontends, "reapi_rpc_handled_total", method=FIND_MISSING_BLOBS.path, code="OK"
        )
        assert asked == {"0": 4, "1": 4}
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
        assert set(await _samples(frontends, name)) == {"0", "1"}


async def test_an_action_result_of_one_process_is_found_by_the_other(
    frontends: ServerProcess,
) -> None:
    async with channels_to_both(frontends) as channels:
        action = await _add_action(channels[0], "/bin/true")
        result = re_pb2.ActionResult(exit_code=7)
        await RemoteActionCache(channels[0]).put("", action, result)
        assert (await RemoteActionCache(channels[1]).get("", action)).exit_code == 7


async def test_an_action_runs_through_a_frontend_without_the_scheduler(
    server: ServerProcess, gate: Gate
) -> None:
    async with channels_to_both(server) as (first, second):
        action = await _add_action(second, "/bin/sh", "-c", gate.script("echo done"))
        stream = _execute(second, action)
        operations = [await anext(stream)]
        waiting = [
            asyncio.ensure_future(_all(_wait(one, operations[0].name))) for one in (first, second)
        ]
        await gate.begun()
        # The last state before the gate opens: the worker has told that the command runs.
        while metadata_of(operations[-1]).stage != re_pb2.ExecutionStage.EXECUTING:
            operations.append(await anext(stream))
        gate.open()
        operations += [operation async for operation in stream]
        response = response_of(checked(operations)[-1])
        assert response.status.code == code_pb2.OK
        assert response.result.exit_code == 0
        for states in await asyncio.gather(*waiting):
            assert checked(states)[-1] == operations[-1]


async def _all(stream: AsyncIterator[Operation]) -> list[Operation]:
    return [operation async for operation in stream]


async def test_an_operation_is_cancelled_through_a_frontend_without_the_scheduler(
    server: ServerProcess, gate: Gate
) -> None:
    async with channels_to_both(server) as (first, second):
        action = await _add_action(first, "/bin/sh", "-c", gate.script())
        stream = _execute(first, action)
        operation = await anext(stream)
        await gate.begun()
        await second.unary(CANCEL_OPERATION, CancelOperationRequest(name=operation.name))
        last = (await _all(stream))[-1]
        assert response_of(last).status.code == code_pb2.CANCELLED


async def test_EX7_what_is_missing_is_named_through_a_frontend_without_the_scheduler(
    server: ServerProcess,
) -> None:
    action = digest_of(b"never uploaded")
    async with channels_to_both(server) as channels:
        for channel in channels:
            (operation,) = await _all(_execute(channel, action))
            (violation,) = violations(response_of(operation).status)
            assert (violation.type, violation.subject) == ("MISSING", action.subject)


async def test_a_call_that_the_scheduler_refuses_is_refused_alike_by_both(
    server: ServerProcess,
) -> None:
    request = re_pb2.ExecuteRequest(instance_name="unknown")
    said = []
    async with channels_to_both(server) as channels:
        for channel in channels:
            with pytest.raises(InvalidArgument) as caught:
                await _all(channel.server_stream(EXECUTE, request))
            said.append(caught.value.message)
    assert said[0] == said[1]


async def test_a_killed_frontend_takes_only_its_own_calls_along(
    frontends: ServerProcess,
) -> None:
    async with channels_to_both(frontends) as (first, second):
        action = await _add_action(first, "/bin/true")
        streams = [_execute(one, action) for one in (first, second)]
        name = (await anext(streams[0])).name
        await anext(streams[1])
        (child,) = frontends.child_pids()
        os.kill(child, signal.SIGKILL)
        with pytest.raises(ReapiError):
            await _all(streams[1])
        await first.unary(CANCEL_OPERATION, CancelOperationRequest(name=name))
        assert response_of((await _all(streams[0]))[-1]).status.code == code_pb2.CANCELLED
    await asyncio.to_thread(frontends.wait_for_log, "frontend 1 is ready", 2)
    assert await _get(frontends, "/readyz") == "ready\n"
    async with channels_to_both(frontends) as channels:
        for channel in channels:
            assert await RemoteBlobStore(channel, "").find_missing([action]) == []


def test_the_death_of_the_first_process_ends_all_others_at_once(server: ServerProcess) -> None:
    server.wait_for_log("the executor is ready")
    children = [os.pidfd_open(pid) for pid in server.child_pids()]
    assert len(children) == 2
    server.kill()
    _check_ended(children)


def _check_ended(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        assert ended.poll(STOP_DEADLINE_SECONDS * 1000)
        os.close(descriptor)


class Upload:
    """A blob of which one half has been sent, and the other follows when the test says so."""

    def __init__(self, channel: Channel) -> None:
        blob = os.urandom(2 << 20)
        self._go_on = asyncio.Event()
        self.digest = digest_of(blob)
        self.half_sent = asyncio.Event()
        self.done = asyncio.ensure_future(channel.client_stream(WRITE, self._requests(blob)))

    def go_on(self) -> None:
        self._go_on.set()

    async def _requests(self, blob: bytes) -> AsyncIterator[WriteRequest]:
        uuid = "1d9b1b5c-9b9d-4d5e-8c3b-1f0f5b3a1a11"
        name = f"uploads/{uuid}/blobs/{self.digest.hash}/{len(blob)}"
        middle = len(blob) // 2
        yield WriteRequest(resource_name=name, data=blob[:middle])
        self.half_sent.set()
        await self._go_on.wait()
        yield WriteRequest(write_offset=middle, data=blob[middle:], finish_write=True)


@asynccontextmanager
async def _terminated(server: ServerProcess, channels: Sequence[Channel]) -> AsyncIterator[None]:
    """Entered when all processes have heard of a SIGTERM."""
    states = health_pb2.HealthCheckResponse
    request = health_pb2.HealthCheckRequest()
    async with AsyncExitStack() as stack:
        watches = []
        for channel in channels:
            watch = channel.server_stream(HEALTH_WATCH, request)
            watches.append(await stack.enter_async_context(aclosing(watch)))
            assert (await anext(watch)).status == states.SERVING
        server.terminate()
        for watch in watches:
            assert (await anext(watch)).status == states.NOT_SERVING
        yield


async def test_reliability_F10_sigterm_lets_the_calls_of_all_processes_end(
    open_path: Path,
) -> None:
    with ServerProcess(open_path / "server", *NO_EXECUTOR, environment=TWO) as server:
        async with channels_to_both(server) as channels:
            uploads = [Upload(channel) for channel in channels]
            for upload in uploads:
                await upload.half_sent.wait()
            async with _terminated(server, channels):
                for upload in uploads:
                    upload.go_on()
                    assert (await upload.done).committed_size == upload.digest.size_bytes
    with ServerProcess(open_path / "server", *NO_EXECUTOR, environment=TWO) as server:
        async with Channel(server.grpc) as channel:
            stored = [upload.digest for upload in uploads]
            assert await RemoteBlobStore(channel, "").find_missing(stored) == []


async def test_a_second_signal_ends_all_processes_at_once(frontends: ServerProcess) -> None:
    async with channels_to_both(frontends) as channels:
        children = [os.pidfd_open(pid) for pid in frontends.child_pids()]
        uploads = [Upload(channel) for channel in channels]
        for upload in uploads:
            await upload.half_sent.wait()
        async with _terminated(frontends, channels):
            assert frontends.terminate_again() == 128 + signal.SIGTERM
            _check_ended(children)
            for upload in uploads:
                upload.go_on()
                with pytest.raises(ReapiError):
                    await upload.done


async def test_a_process_that_does_not_answer_is_left_out_of_the_metrics(
    frontends: ServerProcess,
) -> None:
    (child,) = frontends.child_pids()
    os.kill(child, signal.SIGSTOP)
    try:
        assert set(await _samples(frontends, "process_open_fds")) == {"0"}
        missed = await _samples(frontends, "reapi_metrics_unanswered_total", frontend="1")
        assert missed["0"] >= 1
    finally:
        os.kill(child, signal.SIGCONT)
    assert set(await _samples(frontends, "process_open_fds")) == {"0", "1"}


def test_a_port_that_another_server_shares_is_in_use_all_the_same(open_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        server = subprocess.run(
            [
                *(sys.executable, "-m", "reapi.server", "serve"),
                *("--data-dir", str(open_path / "server"), "--listen", address),
                *("--http-listen", "127.0.0.1:0"),
            ],
            env=os.environ | TWO,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert server.returncode == 1
    assert server.stdout == ""
    last = server.stderr.strip().splitlines()[-1]
    assert last == f"reapi-server: cannot listen on {address}: is the port in use?"
