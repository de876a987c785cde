"""reapi-cli prints what commands print: while they run, and afterwards."""

import asyncio
import json
import os

from tests.fakes.fake_execution import FakeRun
from tests.fakes.reapi_server import FakeReapiServer
from tests.unit.clients.test_cli import Cli, Ended, cli

__all__ = ["cli"]


async def test_run_prints_while_the_command_runs(server: FakeReapiServer, cli: Cli) -> None:
    server.execution.runs["step",] = FakeRun(prints=b"one\n", stdout=b"one\ntwo\n", exit_code=3)
    process = await cli.start("run", "step")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"one\n"
    server.execution.finish("operations/1")
    assert await process.communicate() == (b"two\n", b"")
    assert process.returncode == 3


async def test_run_json_prints_nothing_while_the_command_runs(
    server: FakeReapiServer, cli: Cli
) -> None:
    server.execution.runs["step",] = FakeRun(prints=b"one\n", stdout=b"one\n")
    process = await cli.start("run", "--json", "step")
    await server.execution.execute_arrived.wait()
    server.execution.finish("operations/1")
    stdout, _ = await process.communicate()
    assert json.loads(stdout)["stdout"] == "one\n"
    assert not server.calls["Read of a log"]


async def test_run_says_when_what_it_prints_comes_anew(server: FakeReapiServer, cli: Cli) -> None:
    server.execution.runs["step",] = FakeRun(prints=b"one\n", stdout=b"two\n")
    process = await cli.start("run", "step")
    assert process.stdout is not None
    await process.stdout.readline()
    server.execution.finish("operations/1")
    stdout, stderr = await process.communicate()
    assert (process.returncode, stdout) == (0, b"two\n")
    assert b"run again: its stdout anew" in stderr


async def test_a_reader_that_has_enough_ends_the_run(server: FakeReapiServer, cli: Cli) -> None:
    server.execution.runs["step",] = FakeRun(prints=b"one\n" * 100_000)
    reading, writing = os.pipe()
    process = await cli.start("run", "step", stdout=writing)
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 4) == b"one\n"
    os.close(reading)  # as `head -n 1` does
    await process.communicate()
    assert process.returncode == 1
    assert server.execution.cancelled_names == ["operations/1"]


async def test_operations_logs_prints_what_was_printed(server: FakeReapiServer, cli: Cli) -> None:
    server.execution.runs["step",] = FakeRun(stdout=b"\x00one\n", stderr=b"two\n")
    assert (await cli("run", "step")).exit_code == 0
    assert await cli("operations", "logs", "operations/1") == Ended(0, b"\x00one\n", "")
    assert await cli("operations", "logs", "-f", "--stderr", "operations/1") == Ended(
        0, b"two\n", ""
    )
    ended = await cli("operations", "logs", "operations/9")
    assert (ended.exit_code, ended.stdout) == (125, b"")
    assert "no operation 'operations/9'" in ended.stderr
