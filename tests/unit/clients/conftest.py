"""A fake server, and what a client needs to talk to it."""

from collections.abc import AsyncIterator

import pytest

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from tests.fakes.reapi_server import FakeReapiServer


@pytest.fixture
async def server() -> AsyncIterator[FakeReapiServer]:
    async with FakeReapiServer() as server:
        yield server


@pytest.fixture
async def channel(server: FakeReapiServer) -> AsyncIterator[Channel]:
    async with Channel(server.address) as channel:
        yield channel


@pytest.fixture
def store(channel: Channel) -> RemoteBlobStore:
    return RemoteBlobStore(channel)
