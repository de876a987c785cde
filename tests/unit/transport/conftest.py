"""Servers of methods that a test brings, and clients for them, under both event loops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
import uvloop

if TYPE_CHECKING:
    from reapi_transport import Server

# The transport is native: without a Rust tool-chain the project goes without it.
if find_spec("reapi_transport") is None:
    collect_ignore_glob = ["test_*.py"]

Serve = Callable[..., Awaitable["Server"]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack: AsyncExitStack) -> Serve:
    """Starts a server of methods, with the options of `reapi_transport.serve`."""

    async def start(*methods: Any, address: str = "127.0.0.1:0", **options: Any) -> "Server":
        from reapi_transport import serve

        return await stack.enter_async_context(serve(methods, address, **options))

    return start


@pytest.fixture
def connect(stack: AsyncExitStack) -> Callable[..., Awaitable[grpc.aio.Channel]]:
    """A channel of C-core to a server."""

    async def connect(
        server: "Server", options: Sequence[tuple[str, Any]] = ()
    ) -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{server.port}", options=[*UNBOUNDED, *options]
        )
        return await stack.enter_async_context(channel)

    return connect


UNBOUNDED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
