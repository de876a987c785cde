"""What a client gives of a command while it runs, with a server that only seems to run some."""

import asyncio
from contextlib import nullcontext
from pathlib import Path

import pytest

from reapi.clients import Client
from reapi.clients.model import Activity, Output, RunProgress
from reapi.core.errors import Aborted, Unimplemented
from tests.fakes.fake_execution import FakeRun
from tests.fakes.reapi_server import FakeReapiServer


async def run(server: FakeReapiServer, folder: Path, given: FakeRun) -> list[Output]:
    """All that a run gives whose command ends once all that it printed before was given."""
    server.execution.runs["step",] = given
    outputs: list[Output] = []

    def on_output(output: Output) -> None:
        outputs.append(output)
        if b"".join(one.data for one in outputs) == given.prints:
            server.execution.finish("operations/1")

    async with Client(server.address, remembers_digests=False) as client:
        with pytest.raises(Aborted) if given.error else nullcontext():
            await client.run(["step"], root=folder, on_output=on_output)
    return outputs


async def test_the_result_goes_on_where_the_log_ended(
    server: FakeReapiServer, tmp_path: Path
) -> None:
    given = FakeRun(prints=b"one\n", stdout=b"one\ntwo\n", stderr=b"three\n")
    assert await run(server, tmp_path, given) == [
        Output("stdout", b"one\n"),
        Output("stdout", b"two\n"),
        Output("stderr", b"three\n"),
    ]


async def test_nothing_is_given_twice_after_a_lost_connection(
    server: FakeReapiServer, tmp_path: Path
) -> None:
    server.drop_reads_after_bytes = [3, 2]
    given = FakeRun(prints=b"0123456789", stdout=b"0123456789")
    assert [output.data for output in await run(server, tmp_path, given)] == [
        b"012",
        b"34",
        b"56789",
    ]


@pytest.mark.parametrize("stdout", [b"other\n", b"on", b""])
async def test_a_result_that_does_not_begin_as_was_given_is_given_anew(
    server: FakeReapiServer, tmp_path: Path, stdout: bytes
) -> None:
    given = FakeRun(prints=b"one\n", stdout=stdout)
    assert await run(server, tmp_path, given) == [
        Output("stdout", b"one\n"),
        Output("stdout", stdout, is_anew=True),
    ]


async def test_a_run_that_fails_has_given_what_was_printed(
    server: FakeReapiServer, tmp_path: Path
) -> None:
    given = FakeRun(prints=b"one\n", error=Aborted("lost"))
    assert await run(server, tmp_path, given) == [Output("stdout", b"one\n")]


async def test_nobody_watches_for_one_who_does_not_want_to_know(
    server: FakeReapiServer, tmp_path: Path
) -> None:
    server.execution.runs["step",] = FakeRun(prints=b"one\n", stdout=b"one\n")

    def on_progress(progress: RunProgress) -> None:
        if progress.activity is Activity.EXECUTING:
            server.execution.finish("operations/1")

    async with Client(server.address, remembers_digests=False) as client:
        result = await client.run(["step"], root=tmp_path, on_progress=on_progress)
    assert result.stdout == b"one\n"
    assert not server.calls["Read of a log"]


async def test_the_log_of_an_operation_that_has_ended_is_in_its_result(
    server: FakeReapiServer, tmp_path: Path
) -> None:
    server.execution.runs["step",] = FakeRun(stdout=b"one\n")
    async with Client(server.address, remembers_digests=False) as client:
        result = await client.run(["step"], root=tmp_path)
        assert [chunk async for chunk in client.read_log(result.operation)] == [b"one\n"]
        assert not [chunk async for chunk in client.read_log(result.operation, "stderr")]


async def test_a_server_that_does_not_tell_before_the_end_is_said_to_do_so(
    server: FakeReapiServer, tmp_path: Path
) -> None:
    server.execution.runs["step",] = FakeRun(hangs=True)
    async with Client(server.address, remembers_digests=False) as client:
        running = asyncio.create_task(client.run(["step"], root=tmp_path))
        await server.execution.execute_arrived.wait()
        with pytest.raises(Unimplemented):
            await anext(client.read_log("operations/1"))
        running.cancel()
        await asyncio.wait([running])


async def test_what_is_printed_by_now_ends_where_the_server_has_no_more(
    server: FakeReapiServer, tmp_path: Path
) -> None:
    server.execution.runs["step",] = FakeRun(prints=b"one\n", stdout=b"one\n")
    async with Client(server.address, remembers_digests=False) as client:
        running = asyncio.create_task(client.run(["step"], root=tmp_path))
        await server.execution.execute_arrived.wait()
        log = client.read_log("operations/1", follows=False)
        assert [chunk async for chunk in log] == [b"one\n"]
        server.execution.finish("operations/1")
        await running
