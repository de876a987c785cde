"""Calls of every kind, from a client of C-core."""

import gzip

import grpc
import pytest
from reapi_transport import Call, Method

from tests.http2_client import (
    DATA,
    END_STREAM,
    WINDOW_UPDATE,
    Http2Client,
    frame,
    message,
    request_headers,
)
from tests.unit.transport import methods

LARGE = bytes(range(256)) * (40 << 10)  # 10 MiB: more than any window


@pytest.mark.parametrize("path", ["/test/Echo", "/test/EchoAtOnce"])
@pytest.mark.parametrize("request_", [b"", b"hello", LARGE], ids=["empty", "small", "large"])
async def test_a_unary_call_is_answered(serve, connect, path, request_):
    channel = await connect(await serve(*methods.ALL))
    assert await channel.unary_unary(path)(request_, timeout=20) == request_


@pytest.mark.parametrize("request_", [b"", b"hello", LARGE], ids=["empty", "small", "large"])
async def test_replies_stream(serve, connect, request_):
    channel = await connect(await serve(*methods.ALL))
    replies = [reply async for reply in channel.unary_stream("/test/Repeat")(request_)]
    assert replies == [request_] * 10


async def test_requests_stream(serve, connect):
    channel = await connect(await serve(*methods.ALL))
    requests = (LARGE[:size] for size in [0, 1, 5, 70_000, 1 << 20, 3 << 20])
    reply = await channel.stream_unary("/test/Count")(each(requests))
    assert reply == b"6 4264310"


async def test_both_stream_and_each_request_is_answered_before_the_next(serve, connect):
    channel = await connect(await serve(*methods.ALL))
    call = channel.stream_stream("/test/EchoEach")()
    for request in [b"one", b"", LARGE, b"four"]:
        await call.write(request)
        assert await call.read() == request
    await call.done_writing()
    assert await call.code() == grpc.StatusCode.OK


async def test_many_calls_run_at_the_same_time(serve, connect):
    channel = await connect(await serve(*methods.ALL))
    calls = [channel.unary_unary("/test/Echo")(str(number).encode()) for number in range(500)]
    assert [int(await call) for call in calls] == list(range(500))


async def test_messages_are_parsed_and_serialized(serve, connect):
    async def double(request: int, call: Call) -> int:
        return 2 * request

    row = Method("/test/Double", False, False, double, int, lambda number: str(number).encode())
    channel = await connect(await serve(row))
    assert await channel.unary_unary("/test/Double")(b"21") == b"42"


async def test_a_client_may_compress_with_gzip(serve, connect):
    channel = await connect(await serve(*methods.ALL))
    call = channel.unary_unary("/test/Echo")(LARGE, compression=grpc.Compression.Gzip)
    assert await call == LARGE


async def test_a_small_gzip_of_a_huge_message_is_refused(serve):
    server = await serve(*methods.ALL)
    bomb = message(gzip.compress(bytes(100 << 20)), compressed=1)
    async with Http2Client.connect(server.port) as client:
        await client.until(WINDOW_UPDATE)
        headers = request_headers("/test/Echo", grpc_encoding="gzip")
        client.send(client.headers(1, headers))
        for start in range(0, len(bomb), 16_000):
            client.send(frame(DATA, bomb[start : start + 16_000], stream=1))
        client.send(frame(DATA, flags=END_STREAM, stream=1))
        assert (await client.headers_of(1))["grpc-status"] == "8"


async def test_another_encoding_is_unimplemented_and_the_known_ones_are_named(serve, connect):
    server = await serve(*methods.ALL)
    async with Http2Client.connect(server.port) as client:
        client.send(client.call(1, "/test/Echo", grpc_encoding="snappy"))
        headers = await client.headers_of(1)
    assert headers["grpc-status"] == "12"
    assert headers["grpc-accept-encoding"] == "identity,gzip"


async def test_a_method_that_streams_cannot_start_at_once():
    with pytest.raises(ValueError, match="/test/Repeat"):
        Method("/test/Repeat", False, True, methods.repeat, starts_at_once=True)


async def each(requests):
    for request in requests:
        yield request
