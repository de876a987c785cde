"""Operators drain workers, look at queues and ask for health while actions run."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reapi.clients.operations import list_operations
from reapi.core.errors import InvalidArgument
from reapi.server.compose import compose
from tests.integration.system import Gate, System, sh
from tests.integration.test_split_roles import config_of, serving
from tests.unit.clients.test_cli import Cli


@pytest.fixture
def cli(idle_system: System) -> Cli:
    directory = idle_system.folder / "project"
    directory.mkdir()
    return Cli(idle_system.address, directory)


async def test_drain_waits_for_what_runs_and_gives_no_more(
    idle_system: System, gate: Gate, cli: Cli
) -> None:
    async with idle_system.worker("builder-1"):
        running = asyncio.create_task(idle_system.sh(gate.script()))
        await gate.begun()
        draining = await cli.start("workers", "drain", "builder-*", "--wait")
        assert draining.stderr is not None
        assert b"1 still run on builder-1" in await draining.stderr.readline()
        assert (await cli("workers")).stdout.split()[6:8] == [b"cordoned", b"1/2"]
        waiting = asyncio.create_task(idle_system.sh("echo later"))
        gate.open()
        assert (await running).result.exit_code == 0
        stdout, stderr = await draining.communicate()
        assert (draining.returncode, stdout) == (0, b"builder-1\n")
        assert b"nothing runs there" in stderr
        queued = (await cli("operations", "list", "stage=QUEUED", "--json")).json
        assert [one["position"] for one in queued] == [1]
        assert queued[0]["reason"]
        assert (await cli("workers", "uncordon", "builder-*")).exit_code == 0
        assert await idle_system.stdout(await waiting) == "later\n"


async def test_an_order_for_workers_that_are_not_there_says_so(cli: Cli) -> None:
    for command in ("drain", "uncordon"):
        ended = await cli("workers", command, "nobody-*")
        assert ended.exit_code == 125
        assert "no worker matches 'nobody-*' now" in ended.stderr


async def test_status_shows_queues_and_expected_workers(idle_system: System, cli: Cli) -> None:
    ended = await cli("workers", "expect", "3")
    assert ended.stdout == b"3 workers expected, before 0\n"
    action = await idle_system.add(sh("true"))
    stream = idle_system.stream(action)
    await anext(stream)
    told = (await cli("status")).stdout.decode()
    assert "1 queued, 0 executing" in told
    assert "expected_workers            3" in told
    (queue,) = (await cli("status", "--json")).json["scheduler"]["queues"]
    assert (queue["queued"], queue["workers"]) == (1, 0)
    await stream.aclose()


async def test_a_filter_that_is_wrong_is_refused_with_what_there_is(idle_system: System) -> None:
    with pytest.raises(InvalidArgument, match="the fields are stage, done, worker, tenant"):
        _ = [one async for one in list_operations(idle_system.channel, "", wanted="color=red")]


async def test_a_frontend_asks_its_scheduler_for_the_health_of_the_cluster(
    open_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(serving(config_of(open_path, "scheduler"), 0))
        config = config_of(open_path, "frontend", scheduler={"endpoint": scheduler})
        frontend = await compose(config, CollectorRegistry(), stack, member=1)
        report = await frontend.cluster_health.report()
        assert (report["healthy"], report["workers"]) == (True, {})
        assert report["stores"].keys() == {"blobs", "state", "scheduler"}
