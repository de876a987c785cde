"""Which scheduler is active, as real servers say it by their health."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from reapi.clients.channel import Channel
from reapi.clients.methods import CONNECT
from reapi.clients.schedulers import Schedulers
from reapi.core.errors import InvalidArgument, Unavailable
from reapi.core.health import HealthService
from reapi.core.interfaces import Call
from reapi.core.rpc import bind
from reapi.core.tls import ServerTls, TlsFiles
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2
from tests.tls_files import TlsFolder
from tests.transport import rpc_server

EXECUTION = re_pb2.DESCRIPTOR.services_by_name["Execution"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
WORKERS = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"]


class FakeScheduler:
    """It has health, and streams that never end."""

    def __init__(self, *, is_active: bool) -> None:
        self.health = HealthService(frozenset({EXECUTION}))
        self.set_active(is_active)
        self.is_frozen = False
        self.was_asked = asyncio.Event()
        """By somebody who gets no answer."""
        rows = [
            *bind(HEALTH, {"Watch": self._watch}),
            *bind(WORKERS, {"Connect": self._connect}),
        ]
        self.server = rpc_server(rows)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def set_active(self, is_active: bool) -> None:
        self.health.set_available(frozenset({EXECUTION}), is_active)

    async def _watch(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        if self.is_frozen:
            self.was_asked.set()
            await asyncio.get_running_loop().create_future()
        async for state in self.health.watch(request, call):
            yield state

    async def _connect(
        self, requests: AsyncIterator[worker_pb2.ConnectRequest], call: Call
    ) -> AsyncGenerator[worker_pb2.ConnectResponse, None]:
        yield worker_pb2.ConnectResponse()
        await asyncio.get_running_loop().create_future()


@pytest.fixture
async def pair() -> AsyncIterator[tuple[FakeScheduler, FakeScheduler, Schedulers]]:
    """An active one, one that stands by, and who watches both."""
    one, other = FakeScheduler(is_active=True), FakeScheduler(is_active=False)
    async with AsyncExitStack() as stack:
        for scheduler in (one, other):
            await stack.enter_async_context(scheduler.server)
        endpoint = f"{one.address}, {other.address}"
        yield one, other, await stack.enter_async_context(Schedulers(endpoint, tool_name="test"))


async def _first_word(channel: Channel, said: asyncio.Event) -> None:
    async with channel.bidirectional(CONNECT) as call:
        async for _ in call:
            said.set()


async def test_the_one_that_serves_is_active(
    pair: tuple[FakeScheduler, FakeScheduler, Schedulers],
) -> None:
    one, other, schedulers = pair
    assert schedulers.are_several
    assert (await schedulers.next_active()).address == one.address
    async with aclosing(schedulers.changes()) as changes:
        assert await anext(changes) is schedulers.active
        one.set_active(False)
        assert await anext(changes) is None
        other.set_active(True)
        active = await anext(changes)
        assert active is not None
        assert active.address == other.address


async def test_one_that_is_frozen_is_left_for_the_next_one_and_its_streams_end(
    pair: tuple[FakeScheduler, FakeScheduler, Schedulers],
) -> None:
    """Frozen, it says nothing any more, and its last word was that it serves."""
    _, other, schedulers = pair
    said = asyncio.Event()
    stream = asyncio.create_task(_first_word(await schedulers.next_active(), said))
    await said.wait()
    async with aclosing(schedulers.changes()) as changes:
        assert await anext(changes) is not None
        other.set_active(True)
        with pytest.raises(Unavailable, match="another server"):
            await stream
        assert schedulers.active is not None
        assert schedulers.active.address == other.address


async def test_what_one_said_before_another_was_active_counts_for_nothing(
    pair: tuple[FakeScheduler, FakeScheduler, Schedulers],
) -> None:
    """When the active one goes away, one that is frozen is not taken for active; one that is alive
    says so again."""
    one, other, schedulers = pair
    await schedulers.next_active()
    async with aclosing(schedulers.changes()) as changes:
        await anext(changes)
        other.set_active(True)
        await anext(changes)
        one.is_frozen = True
        other.set_active(False)
        assert await anext(changes) is None
        await one.was_asked.wait()
        assert schedulers.active is None
        other.set_active(True)
        assert await anext(changes) is not None
        assert (await schedulers.next_active()).address == other.address


async def test_one_that_stops_serving_keeps_its_streams(
    pair: tuple[FakeScheduler, FakeScheduler, Schedulers],
) -> None:
    """Its database may be away for a moment: nobody else is active."""
    one, _, schedulers = pair
    said = asyncio.Event()
    stream = asyncio.create_task(_first_word(await schedulers.next_active(), said))
    await said.wait()
    async with aclosing(schedulers.changes()) as changes:
        assert await anext(changes) is not None
        one.set_active(False)
        assert await anext(changes) is None
        one.set_active(True)
        assert await anext(changes) is not None
    assert not stream.done()
    stream.cancel()
    await asyncio.wait([stream])
    assert stream.cancelled()


async def test_without_an_active_one_it_is_said_once_all_have_been_asked() -> None:
    scheduler = FakeScheduler(is_active=False)
    async with scheduler.server, Schedulers(scheduler.address, tool_name="test") as schedulers:
        with pytest.raises(Unavailable, match=f"the scheduler at {scheduler.address}"):
            await schedulers.next_active(0)
        scheduler.set_active(True)
        assert (await schedulers.next_active()).address == scheduler.address
        assert await schedulers.next_active(0) is schedulers.active


async def test_a_server_that_is_lost_is_not_active(
    pair: tuple[FakeScheduler, FakeScheduler, Schedulers],
) -> None:
    one, other, schedulers = pair
    await schedulers.next_active()
    async with aclosing(schedulers.changes()) as changes:
        await anext(changes)
        await one.server.__aexit__()
        assert await anext(changes) is None
        other.set_active(True)
        assert await anext(changes) is not None


async def test_a_name_stands_for_all_of_its_addresses_of_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As that of a headless Service, whose pods come and go."""
    monkeypatch.setattr("reapi.clients.schedulers._LOOK_AGAIN_SOON_SECONDS", 0.001)
    gone = FakeScheduler(is_active=False)
    new = FakeScheduler(is_active=True)
    async with gone.server, new.server:
        ports = [gone.server.port]

        async def resolve(_: object, host: str, port: str, **kinds: int) -> list[object]:
            assert (host, port) == ("schedulers", "8983")
            return [(socket.AF_INET, kinds["type"], 6, "", ("127.0.0.1", one)) for one in ports]

        monkeypatch.setattr("asyncio.BaseEventLoop.getaddrinfo", resolve)
        async with Schedulers("schedulers:8983", tool_name="test") as schedulers:
            assert not schedulers.are_several
            ports.append(new.server.port)
            assert (await schedulers.next_active()).address == new.address


async def test_an_address_without_a_port_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no port"):
        Schedulers("127.0.0.1:1,host", tool_name="test")


@pytest.mark.parametrize(("hosts", "is_known"), [(("schedulers",), True), ((), False)])
async def test_by_tls_the_certificate_must_have_the_name_and_not_its_address_of_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hosts: Sequence[str], is_known: bool
) -> None:
    async def resolve(_: object, host: str, port: str, **kinds: int) -> list[object]:
        assert host == "schedulers"
        return [(socket.AF_INET, kinds["type"], 6, "", ("127.0.0.1", int(port)))]

    files = TlsFolder(tmp_path)
    tls = ServerTls(TlsFiles(*files.pair("server", *hosts)))
    health = HealthService(frozenset({EXECUTION}))
    monkeypatch.setattr("asyncio.BaseEventLoop.getaddrinfo", resolve)
    async with rpc_server(health.methods(), tls=tls) as server:
        endpoint = f"grpcs://schedulers:{server.port}"
        async with Schedulers(endpoint, tool_name="test", tls=files.client()) as schedulers:
            if is_known:
                assert (await schedulers.next_active()).address == f"grpcs://{server.address}"
            else:
                with pytest.raises(Unavailable):
                    await schedulers.next_active(0)
