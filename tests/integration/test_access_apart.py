"""Servers in front of servers: each asks who calls, and shows who it is or who its caller is."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reapi.clients.action_cache import RemoteActionCache
from reapi.clients.channel import Channel
from reapi.clients.client import Client
from reapi.clients.methods import DRAIN_WORKERS, GET_CAPABILITIES, GET_CLUSTER
from reapi.core.digest import digest_of
from reapi.core.errors import PermissionDenied, Unauthenticated
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2
from tests.integration.system import System, open_system
from tests.integration.test_access import auth, store, token_of
from tests.integration.test_split_roles import config_of, serving

ACTION = digest_of(b"an action")


async def _run(address: str, token: str | None) -> str:
    async with Client(address, token=token, remembers_digests=False) as client:
        result = await client.run(["sh", "-c", "echo made"], skip_cache_lookup=True)
        return result.stdout.decode()


@pytest.fixture
async def frontend(open_path: Path) -> AsyncIterator[System]:
    """A frontend whose scheduler is elsewhere, with a worker; all of them ask."""
    settings = {"auth": auth(open_path)}
    async with AsyncExitStack() as stack:
        config = config_of(open_path, "scheduler", **settings)
        scheduler = await stack.enter_async_context(serving(config, 0))
        config = config_of(open_path, "frontend", scheduler={"endpoint": scheduler}, **settings)
        address = await stack.enter_async_context(serving(config, 1))
        channel = await stack.enter_async_context(Channel(address, token=token_of("operator")))
        system = System(config, address, channel, open_path)
        await stack.enter_async_context(system.worker(scheduler_address=scheduler))
        yield system


async def test_calls_that_are_passed_on_are_those_of_their_caller(frontend: System) -> None:
    assert await _run(frontend.address, token_of("runner")) == "made\n"
    with pytest.raises(PermissionDenied, match="reader"):
        await _run(frontend.address, token_of("reader"))
    with pytest.raises(Unauthenticated):
        await _run(frontend.address, None)
    await frontend.channel.unary(GET_CLUSTER, scheduler_pb2.GetClusterRequest())
    request = scheduler_pb2.DrainWorkersRequest(pattern="nobody")
    _ = [each async for each in frontend.channel.server_stream(DRAIN_WORKERS, request)]


@asynccontextmanager
async def edge_of(folder: Path, system: System, **settings: Any) -> AsyncIterator[System]:
    server = {
        "listen": "127.0.0.1:0",
        "roles": ("frontend",),
        "instance_names": ("", "main", "buck2"),
    }
    upstream = {"servers": [{"endpoint": system.address}]}
    async with open_system(folder, server=server, upstream=upstream, auth=settings) as edge:
        yield edge


@pytest.fixture
async def edge(open_path: Path) -> AsyncIterator[System]:
    """An edge frontend with the token of a writer, before a server with a worker; both ask."""
    settings = auth(open_path)
    writer = open_path / "writer-token"
    writer.write_text(token_of("writer"))
    async with (
        open_system(open_path / "upstream", auth=settings) as upstream,
        upstream.worker(),
        edge_of(open_path / "edge", upstream, **settings | {"token_file": writer}) as edge,
    ):
        yield edge


async def test_an_edge_asks_its_callers_and_shows_its_own_token(edge: System) -> None:
    async with Channel(edge.address, token=token_of("writer")) as channel:
        await RemoteActionCache(channel).put("", ACTION, ActionResult(stdout_raw=b"made"))
    async with Channel(edge.address, token=token_of("reader")) as channel:
        assert await RemoteActionCache(channel).get("", ACTION)
        with pytest.raises(PermissionDenied):
            await RemoteActionCache(channel).put("", ACTION, ActionResult(stdout_raw=b"false"))
        with pytest.raises(PermissionDenied):
            await store(channel)
    async with Channel(edge.address) as channel:
        with pytest.raises(Unauthenticated):
            await RemoteActionCache(channel).get("", ACTION)


async def test_actions_go_through_an_edge_with_the_token_of_their_caller(edge: System) -> None:
    assert await _run(edge.address, token_of("runner")) == "made\n"
    with pytest.raises(PermissionDenied):
        await _run(edge.address, token_of("reader"))


@pytest.mark.parametrize(
    ("role", "expected"),
    [("reader", (False, False)), ("runner", (False, True)), ("writer", (True, True))],
)
async def test_an_edge_says_what_the_caller_may_do(
    edge: System, role: str, expected: tuple[bool, bool]
) -> None:
    async with Channel(edge.address, token=token_of(role)) as channel:
        found = await channel.unary(GET_CAPABILITIES, re_pb2.GetCapabilitiesRequest())
    updates = found.cache_capabilities.action_cache_update_capabilities
    assert (updates.update_enabled, found.execution_capabilities.exec_enabled) == expected
