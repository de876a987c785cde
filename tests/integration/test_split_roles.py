"""Frontend, scheduler and executor apart, as on three machines that share a storage.

Here the storage is one data directory, of which each has its own view.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from reapi.clients.channel import Channel
from reapi.core.errors import Unavailable
from reapi.core.middleware import wrap
from reapi.core.rpc import RpcServer
from reapi.core.rpc_metrics import RpcMetrics
from reapi.server.compose import compose
from reapi.server.config import ServerConfig
from tests.integration.system import System, sh
from tests.transport import rpc_server


async def _server(config: ServerConfig, member: int, stack: AsyncExitStack) -> RpcServer:
    """A server with the roles of `config`, which does not listen yet."""
    registry = CollectorRegistry()
    token = config.auth.read_token()
    api = await compose(config, registry, stack, member=member, own_token=token)
    return rpc_server(wrap(api.methods, RpcMetrics(registry)))


@asynccontextmanager
async def serving(config: ServerConfig, member: int) -> AsyncIterator[str]:
    """Its address."""
    async with AsyncExitStack() as stack, await _server(config, member, stack) as server:
        yield f"127.0.0.1:{server.port}"


def config_of(folder: Path, role: str, **sections: Any) -> ServerConfig:
    return ServerConfig.model_validate(
        {"data_dir": folder / "data", "server": {"roles": (role,), "processes": 2}, **sections}
    )


@asynccontextmanager
async def split(folder: Path) -> AsyncIterator[tuple[System, str]]:
    """A client of a frontend whose scheduler is elsewhere, and the address of the scheduler."""
    async with (
        serving(config_of(folder, "scheduler"), 0) as scheduler,
        serving(config_of(folder, "frontend", scheduler={"endpoint": scheduler}), 1) as frontend,
        Channel(frontend) as channel,
    ):
        yield System(config_of(folder, "frontend"), frontend, channel, folder), scheduler


async def test_the_executor_has_its_leases_and_its_blobs_from_different_servers(
    open_path: Path,
) -> None:
    async with (
        split(open_path) as (system, scheduler),
        system.worker(scheduler_address=scheduler),
    ):
        response = await system.run(sh("cat in/put; echo more"), {"in": {"put": b"some "}})
        assert await system.stdout(response) == "some more\n"


async def test_an_executor_may_join_through_a_frontend(open_path: Path) -> None:
    async with split(open_path) as (system, _), system.worker():
        await system.check_alive()


async def test_a_scheduler_alone_serves_no_blobs(open_path: Path) -> None:
    async with split(open_path) as (_, scheduler), Channel(scheduler) as channel:
        system = System(config_of(open_path, "scheduler"), scheduler, channel, open_path)
        with pytest.raises(Exception, match="Method not found"):
            await system.add_blobs(b"a blob")


async def test_a_frontend_whose_scheduler_went_away_still_serves_blobs(open_path: Path) -> None:
    async with AsyncExitStack() as stack:
        scheduler = await _server(config_of(open_path, "scheduler"), 0, stack)
        await scheduler.__aenter__()
        address = f"127.0.0.1:{scheduler.port}"
        config = config_of(open_path, "frontend", scheduler={"endpoint": address})
        frontend = await stack.enter_async_context(serving(config, 1))
        channel = await stack.enter_async_context(Channel(frontend))
        system = System(config, frontend, channel, open_path)
        action = await system.add(sh("true"))
        await scheduler.__aexit__()
        with pytest.raises(Unavailable, match=f"the scheduler at {address} is not available"):
            await system.execute(action)
        await system.add_blobs(b"stored all the same")
