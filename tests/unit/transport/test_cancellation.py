"""What ends a call from outside reaches its handler."""

import asyncio
import contextvars

import grpc
import grpc.aio
import pytest
from reapi_transport import Call, Method

from tests.http2_client import RST_STREAM, Http2Client, frame, request_headers
from tests.unit.transport import methods
from tests.unit.transport.methods import Endless

PATHS = ["/endless/Unary", "/endless/AtOnce", "/endless/Stream", "/endless/Reading"]


@pytest.fixture
def endless() -> Endless:
    return Endless()


@pytest.mark.parametrize("path", PATHS)
async def test_a_reset_stream_cancels_its_handler(serve, endless, path):
    server = await serve(*endless.methods)
    async with Http2Client.connect(server.port) as client:
        if path == "/endless/Reading":
            client.send(client.headers(1, request_headers(path)))
        else:
            client.send(client.call(1, path))
        await endless.began.wait()
        client.send(frame(RST_STREAM, bytes([0, 0, 0, 8]), stream=1))
        await endless.cancelled.wait()


@pytest.mark.parametrize("path", PATHS)
async def test_a_lost_connection_cancels_its_handlers(serve, endless, path):
    server = await serve(*endless.methods)
    async with Http2Client.connect(server.port) as client:
        client.send(client.call(1, path))
        if path == "/endless/Reading":
            client.send(client.headers(3, request_headers(path)))
        await endless.began.wait()
    if path != "/endless/Reading":
        await endless.cancelled.wait()


@pytest.mark.parametrize("path", ["/endless/Unary", "/endless/AtOnce"])
async def test_a_deadline_cancels_the_handler_and_the_client_hears_of_it(serve, endless, path):
    server = await serve(*endless.methods)
    async with Http2Client.connect(server.port) as client:
        client.send(client.call(1, path, grpc_timeout="20m"))
        assert (await client.headers_of(1))["grpc-status"] == "4"
        await endless.cancelled.wait()


async def test_a_deadline_ends_a_stream_after_its_first_reply(serve, connect, endless):
    channel = await connect(await serve(*endless.methods))
    call = channel.unary_stream("/endless/Stream")(b"", timeout=0.5)
    assert await call.read() == b"first"
    assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await endless.cancelled.wait()


@pytest.mark.parametrize("timeout", ["", "5", "S", "-1S", "1.5S", "123456789S"])
async def test_a_malformed_timeout_is_refused(serve, timeout):
    server = await serve(*methods.ALL)
    async with Http2Client.connect(server.port) as client:
        client.send(client.call(1, "/test/Echo", grpc_timeout=timeout))
        assert (await client.headers_of(1))["grpc-status"] == "13"


async def test_a_generator_is_closed_before_its_call_is_forgotten(serve, connect):
    closed = asyncio.Event()

    async def stream(request: bytes, call: Call):
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            await asyncio.sleep(0)
            closed.set()

    channel = await connect(await serve(Method("/test/Stream", False, True, stream)))
    call = channel.unary_stream("/test/Stream")(b"")
    await call.read()
    call.cancel()
    await closed.wait()


async def test_a_handler_that_cancels_itself_ends_its_call(serve, connect):
    async def handler(request: bytes, call: Call) -> bytes:
        raise asyncio.CancelledError

    rows = [
        Method("/test/Task", False, False, handler),
        Method("/test/AtOnce", False, False, handler, starts_at_once=True),
    ]
    channel = await connect(await serve(*rows))
    for row in rows:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(row.path)(b"")
        assert caught.value.code() == grpc.StatusCode.CANCELLED


async def test_a_handler_that_starts_at_once_goes_on_as_a_task_of_its_own_context(serve, connect):
    number = contextvars.ContextVar[int]("number", default=0)
    seen = []

    async def handler(request: bytes, call: Call) -> bytes:
        assert number.get() == 0
        number.set(int(request))
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await asyncio.sleep(0.001)
        seen.append(asyncio.current_task())
        return str(number.get()).encode()

    row = Method("/test/AtOnce", False, False, handler, starts_at_once=True)
    channel = await connect(await serve(row))
    calls = [channel.unary_unary(row.path)(str(value).encode()) for value in range(1, 10)]
    assert [int(await call) for call in calls] == list(range(1, 10))
    assert seen[:1] == [None]
    assert None not in seen[-1:]
    assert number.get() == 0


async def test_an_error_awaited_by_a_handler_that_started_at_once_reaches_it(serve, connect):
    async def handler(request: bytes, call: Call) -> bytes:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, KeyError("x"))
        try:
            await future
        except KeyError:
            return b"caught"
        return b"lost"

    row = Method("/test/AtOnce", False, False, handler, starts_at_once=True)
    channel = await connect(await serve(row))
    assert await channel.unary_unary(row.path)(b"") == b"caught"
