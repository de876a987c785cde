"""How connections and servers end."""

import asyncio

import grpc
import grpc.aio
import pytest
from reapi_transport import Limits

from tests.http2_client import ACK, DATA, GOAWAY, PING, Http2Client, frame
from tests.unit.transport import methods
from tests.unit.transport.methods import Endless


async def test_a_drain_lets_running_calls_end_and_takes_no_new_connections(serve, connect):
    may_end = asyncio.Event()
    began = asyncio.Event()

    async def handler(request, call):
        began.set()
        await may_end.wait()
        return b"done"

    server = await serve(methods.Method("/test/Handler", False, False, handler))
    channel = await connect(server)
    call = channel.unary_unary("/test/Handler")(b"")
    await began.wait()
    drain = asyncio.create_task(server.drain(60))
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.transport.abort()
            except OSError:
                break
    may_end.set()
    assert await call == b"done"
    await drain
    assert server.connections == 0


async def test_a_drain_cancels_what_is_left_after_the_grace_time(serve, connect):
    endless = Endless()
    server = await serve(*endless.methods)
    channel = await connect(server)
    call = channel.unary_unary("/endless/Unary")(b"")
    await endless.began.wait()
    await server.drain(0.01)
    await endless.cancelled.wait()
    assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)


async def test_a_server_without_clients_drains_at_once(serve):
    await (await serve(*methods.ALL)).drain(60)


async def test_leaving_the_server_waits_for_its_handlers(connect):
    from reapi_transport import serve

    endless = Endless()
    async with serve(endless.methods, "127.0.0.1:0") as server:
        channel = await connect(server)
        call = channel.unary_unary("/endless/Unary")(b"")
        await endless.began.wait()
    assert endless.cancelled.is_set()
    assert await call.code() != grpc.StatusCode.OK


async def test_a_silent_client_is_pinged_and_then_let_go(serve):
    limits = Limits(keepalive_seconds=0.02, keepalive_timeout_seconds=0.02)
    server = await serve(*methods.ALL, limits=limits)
    async with Http2Client.connect(server.port) as client:
        await client.until(PING)
        while await client.next_frame() is not None:
            pass


async def test_a_client_that_answers_pings_stays(serve):
    limits = Limits(keepalive_seconds=0.02, keepalive_timeout_seconds=1)
    server = await serve(*methods.ALL, limits=limits)
    async with Http2Client.connect(server.port) as client:
        for _ in range(2):
            ping = await client.until(PING)
            client.send(frame(PING, ping.payload, flags=ACK))
        client.send(client.call(1, "/test/Echo"))
        await client.until(DATA)


async def test_an_old_connection_is_asked_to_call_anew(serve):
    limits = Limits(connection_age_seconds=0.02)
    server = await serve(*methods.ALL, limits=limits)
    async with Http2Client.connect(server.port) as client:
        await client.until(GOAWAY)
        ping = await client.until(PING)
        client.send(client.call(1, "/test/Echo"), frame(PING, ping.payload, flags=ACK))
        await client.until(DATA, stream=1)
        assert await client.ending() is None  # it was said before


async def test_an_old_connection_is_closed_after_its_grace(serve):
    endless = Endless()
    limits = Limits(connection_age_seconds=0.02, connection_age_grace_seconds=0.02)
    server = await serve(*endless.methods, limits=limits)
    async with Http2Client.connect(server.port) as client:
        client.send(client.call(1, "/endless/Unary"))
        await endless.cancelled.wait()
        await client.ending()


async def test_a_client_hardly_notices_that_connections_age(serve, connect):
    server = await serve(*methods.ALL, limits=Limits(connection_age_seconds=0.02))
    channel = await connect(server)
    for _ in range(300):
        assert await channel.unary_unary("/test/Echo")(b"x", wait_for_ready=True) == b"x"


@pytest.mark.parametrize("path", ["/endless/Unary", "/endless/Stream"])
async def test_connections_that_come_and_go_leave_nothing(serve, path):
    endless = Endless()
    server = await serve(*endless.methods)
    for _ in range(20):
        async with Http2Client.connect(server.port) as client:
            client.send(client.call(1, path))
            await endless.began.wait()
        await endless.cancelled.wait()
        endless.began.clear()
        endless.cancelled.clear()
    await server.drain(20)
    assert (server.connections, len(server.tasks)) == (0, 0)
