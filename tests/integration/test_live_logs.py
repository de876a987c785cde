"""Logs of running and ended actions over ByteStream: BS24, EX23 and GO4 of the conformance list."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.longrunning.operations_pb2 import CancelOperationRequest, GetOperationRequest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from reapi.clients import Client
from reapi.clients.methods import CANCEL_OPERATION, GET_OPERATION, READ
from reapi.clients.model import CommandTimedOut, Output
from reapi.core.errors import Cancelled, InvalidArgument, NotFound, OutOfRange
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import (
    QueryWriteStatusRequest,
    ReadRequest,
    WriteRequest,
)
from tests.fakes.raw_client import code_of, raw_client
from tests.integration.edge import open_edge_of
from tests.integration.system import System, open_system, sh
from tests.integration.test_split_roles import split
from tests.unit.scheduler.harness import metadata_of, response_of

FOREVER = "exec sleep 1000"


@dataclass
class Running:
    """An operation that nobody waits for, and the names of its logs."""

    system: System
    name: str
    stdout: str
    stderr: str

    async def read(self, resource_name: str = "", **range: int) -> AsyncGenerator[bytes, None]:
        """What one Read answers, chunk by chunk, without what is empty."""
        request = ReadRequest(resource_name=resource_name or self.stdout, **range)
        async with aclosing(self.system.channel.server_stream(READ, request)) as replies:
            async for reply in replies:
                if reply.data:
                    yield reply.data

    async def whole(self, resource_name: str = "", **range: int) -> bytes:
        """All of it, to the end."""
        return b"".join([chunk async for chunk in self.read(resource_name, **range)])

    async def printed(self, expected: bytes, resource_name: str = "") -> None:
        """Returns when so much can be read, which it must be; the log need not have ended."""
        seen = b""
        async with aclosing(self.read(resource_name)) as chunks:
            while seen != expected:
                seen += await anext(chunks)
                assert expected.startswith(seen)

    async def cancel(self) -> None:
        request = CancelOperationRequest(name=self.name)
        await self.system.channel.unary(CANCEL_OPERATION, request)

    async def response(self) -> re_pb2.ExecuteResponse:
        request = GetOperationRequest(name=self.name)
        return response_of(await self.system.channel.unary(GET_OPERATION, request))


async def begin(system: System, script: str, instance_name: str = "", **action: object) -> Running:
    digest = await system.add(sh(script), action=action)
    async with aclosing(system.stream(digest, instance_name=instance_name)) as stream:
        operation = await anext(stream)
    metadata = metadata_of(operation)
    return Running(system, operation.name, metadata.stdout_stream_name, metadata.stderr_stream_name)


async def test_EX23_what_a_command_prints_is_read_while_it_runs(system: System) -> None:
    running = await begin(system, f"echo one; echo two >&2; {FOREVER}")
    await running.printed(b"one\n")
    await running.printed(b"two\n", running.stderr)
    await running.cancel()


async def test_BS24_a_read_stays_open_until_the_action_has_ended(
    idle_system: System,
) -> None:
    """Also while it is queued; then it ends with all that was printed."""
    running = await begin(idle_system, "echo one; sleep 0.1; echo two")
    reading = asyncio.create_task(running.whole())
    async with idle_system.worker():
        assert await reading == b"one\ntwo\n"
    assert await running.whole() == b"one\ntwo\n"
    assert await running.whole(running.stderr) == b""


async def test_BS24_offset_and_limit_hold_for_what_runs_and_for_what_has_ended(
    system: System,
) -> None:
    running = await begin(system, f"echo 0123456789; {FOREVER}")
    for _ in range(2):
        assert await running.whole(read_offset=3, read_limit=4) == b"3456"
        assert await running.whole(read_limit=1) == b"0"
        await running.cancel()
    assert await running.whole(read_offset=9) == b"9\n"
    assert await running.whole(read_offset=11) == b""
    for wrong in ({"read_offset": 12}, {"read_offset": -1}):
        with pytest.raises(OutOfRange):
            await running.whole(**wrong)
    with pytest.raises(InvalidArgument):
        await running.whole(read_limit=-1)


async def test_GO4_the_name_is_taken_for_an_id_as_well(system: System) -> None:
    for instance_name in ("", "main"):
        running = await begin(system, f"echo one; {FOREVER}", instance_name)
        prefix = f"{instance_name}/logstreams/" if instance_name else "logstreams/"
        await running.printed(b"one\n", prefix + running.stdout)
        await running.cancel()


async def test_BS24_the_name_of_a_write_cannot_be_read_nor_that_of_a_read_be_written(
    system: System,
) -> None:
    running = await begin(system, f"echo one; {FOREVER}")
    with pytest.raises(InvalidArgument):
        await running.whole(f"{running.stdout}/token")
    async with raw_client(system.address) as client:
        for call in (
            client.bytestream.Write(
                [WriteRequest(resource_name=running.stdout, data=b"x", finish_write=True)]
            ),
            client.bytestream.QueryWriteStatus(
                QueryWriteStatusRequest(resource_name=running.stdout)
            ),
        ):
            assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT
    await running.cancel()


async def test_forged_names_are_not_found(system: System) -> None:
    running = await begin(system, f"echo one; {FOREVER}", "main")
    _, _, log_id = running.stdout.rpartition("/")
    uuid = log_id.partition(".")[0]
    other = "00000000-0000-4000-8000-000000000000"
    for name in (
        f"logstreams/{log_id}",
        f"buck2/logstreams/{log_id}",
        f"main/logstreams/{log_id.replace(uuid, other)}",
        f"main/logstreams/east.{log_id}",
    ):
        with pytest.raises(NotFound):
            await running.whole(name)
    with pytest.raises(InvalidArgument, match="no instance"):
        await running.whole(f"other/logstreams/{log_id}")
    await running.cancel()


async def test_two_read_at_their_own_pace_and_each_has_everything(system: System) -> None:
    """One does not take a second chunk before the other one has all."""
    size = 3 << 20
    running = await begin(system, f"yes | head -c {size}; {FOREVER}")
    everything = b"y\n" * (size // 2)
    async with aclosing(running.read()) as slow:
        seen = await anext(slow)
        await running.printed(everything)
        async for chunk in slow:
            seen += chunk
            if len(seen) == size:
                break
    assert seen == everything
    await running.cancel()


@pytest.mark.parametrize("stored_by", ["timeout", "cancel"])
async def test_a_log_is_complete_by_digest_though_the_action_was_killed(
    system: System, stored_by: str
) -> None:
    """More than a message takes, and all of it; read live, and from the blob."""
    size = 200_000
    script = f"yes | head -c {size}; echo end >&2; {FOREVER}"
    timeout = Duration(seconds=5 if stored_by == "timeout" else 100)
    running = await begin(system, script, timeout=timeout)
    watching = asyncio.create_task(running.whole())
    if stored_by == "cancel":
        await running.printed(b"end\n", running.stderr)
        await running.cancel()
    assert await watching == await running.whole() == b"y\n" * (size // 2)
    response = await running.response()
    expected = code_pb2.DEADLINE_EXCEEDED if stored_by == "timeout" else code_pb2.CANCELLED
    assert response.status.code == expected
    assert await system.read(response.result.stdout_digest) == await watching
    assert await system.read(response.result.stderr_digest) == b"end\n"


async def test_a_frontend_passes_logs_on_from_a_scheduler_elsewhere(open_path: Path) -> None:
    async with split(open_path) as (system, _), system.worker():
        running = await begin(system, f"echo one; {FOREVER}")
        await running.printed(b"one\n")
        reading = asyncio.create_task(running.whole())
        await running.cancel()
        assert await reading == await running.whole() == b"one\n"


async def test_an_edge_passes_logs_on_from_the_servers_behind_it(open_path: Path) -> None:
    async with (
        open_system(open_path / "upstream") as upstream,
        upstream.worker(),
        open_edge_of(open_path / "edge", upstream) as edge,
    ):
        running = await begin(edge, f"echo one; {FOREVER}")
        await running.printed(b"one\n")
        await running.cancel()
        assert await running.whole() == b"one\n"
        with pytest.raises(NotFound):
            await running.whole("logstreams/00000000-0000-4000-8000-000000000000.stdout")


class TestClient:
    @pytest.fixture
    async def client(self, system: System) -> AsyncIterator[Client]:
        async with Client(system.address, remembers_digests=False) as client:
            yield client

    async def test_a_run_gives_what_is_printed_while_it_runs_and_each_byte_once(
        self, client: Client, tmp_path: Path
    ) -> None:
        """The command does not end before what it has printed was given."""
        outputs: list[Output] = []

        def on_output(output: Output) -> None:
            outputs.append(output)

        script = "echo one; echo two >&2; sleep 0.5; echo three; echo four >&2"
        result = await client.run(["sh", "-c", script], root=tmp_path, on_output=on_output)
        for stream, whole in (("stdout", result.stdout), ("stderr", result.stderr)):
            given = [output.data for output in outputs if output.stream == stream]
            assert b"".join(given) == whole
            assert len(given) == 2
        assert not any(output.is_anew for output in outputs)

    async def test_a_cached_result_is_given_as_well(self, client: Client, tmp_path: Path) -> None:
        for _ in range(2):
            outputs: list[Output] = []
            result = await client.run(["echo", "one"], root=tmp_path, on_output=outputs.append)
            assert outputs == [Output("stdout", b"one\n")]
        assert result.cached

    async def test_a_command_that_takes_too_long_has_given_all_when_that_is_raised(
        self, client: Client, tmp_path: Path
    ) -> None:
        outputs: list[Output] = []
        with pytest.raises(CommandTimedOut):
            await client.run(
                ["sh", "-c", f"echo one; {FOREVER}"],
                command_timeout=3,
                root=tmp_path,
                on_output=outputs.append,
            )
        assert outputs == [Output("stdout", b"one\n")]

    async def test_what_it_raises_ends_the_run_and_cancels_the_command(
        self, client: Client, tmp_path: Path
    ) -> None:
        def full(_: Output) -> None:
            raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            await client.run(["sh", "-c", f"echo one; {FOREVER}"], root=tmp_path, on_output=full)
        (operation,) = await client.list_operations()
        assert operation.response is not None
        assert operation.response.status.code == code_pb2.CANCELLED

    async def test_one_that_somebody_else_cancels_gives_all_it_printed(
        self, client: Client, tmp_path: Path
    ) -> None:
        outputs: list[Output] = []
        given = asyncio.Event()

        def on_output(output: Output) -> None:
            outputs.append(output)
            given.set()

        command = ["sh", "-c", f"echo one; sleep 0.3; echo two; {FOREVER}"]
        running = asyncio.create_task(client.run(command, root=tmp_path, on_output=on_output))
        await given.wait()
        (operation,) = await client.list_operations()
        async with aclosing(client.read_log(operation.name)) as chunks:
            seen = b""
            while seen != b"one\ntwo\n":
                seen += await anext(chunks)
        await client.cancel_operation(operation.name)
        with pytest.raises(Cancelled):
            await running
        assert b"".join(output.data for output in outputs) == b"one\ntwo\n"
        assert [chunk async for chunk in client.read_log(operation.name)] == [b"one\ntwo\n"]

    async def test_a_log_is_read_up_to_now_or_to_the_end(
        self, client: Client, system: System
    ) -> None:
        running = await begin(system, f"echo one; echo two >&2; {FOREVER}")
        await running.printed(b"one\n")
        await running.printed(b"two\n", running.stderr)
        now = [chunk async for chunk in client.read_log(running.name, follows=False)]
        assert now == [b"one\n"]
        async with aclosing(client.read_log(running.name, "stderr")) as chunks:
            assert await anext(chunks) == b"two\n"
            await running.cancel()
            assert await anext(chunks, None) is None

    async def test_the_log_of_an_operation_that_nobody_knows_is_not_found(
        self, client: Client
    ) -> None:
        with pytest.raises(NotFound, match="not known"):
            await anext(client.read_log("operations/unknown"))
