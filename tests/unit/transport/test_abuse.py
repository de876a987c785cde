"""A client that does its worst loses its connection, and others do not notice."""

import struct

import pytest
from reapi_transport import Limits

from tests.http2_client import (
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    Http2Client,
    frame,
    message,
    request_headers,
)
from tests.unit.transport import methods
from tests.unit.transport.methods import Endless

CANCEL = struct.pack(">I", 8)


async def assert_serves(server) -> None:
    async with Http2Client.connect(server.port) as client:
        client.send(client.call(1, "/test/Echo", b"hello"))
        assert (await client.until(DATA)).payload == message(b"hello")


async def ending_after(server, *frames: bytes, greeting: bytes | None = None) -> int | None:
    async with Http2Client.connect(server.port, greeting=greeting) as client:
        client.send(*frames)
        error = await client.ending()
    await assert_serves(server)
    return error


@pytest.mark.parametrize(
    "flooding",
    [
        frame(PING, bytes(8)),
        frame(SETTINGS),
        frame(PRIORITY, struct.pack(">IB", 0, 1), stream=1),
        frame(200, b"unknown"),
    ],
    ids=["ping", "settings", "priority", "unknown"],
)
async def test_a_flood_of_frames_that_ask_for_nothing_ends_the_connection(serve, flooding):
    server = await serve(*methods.ALL)
    assert await ending_after(server, flooding * 2_000) == ENHANCE_YOUR_CALM


async def test_rapid_reset_ends_the_connection(serve):
    server = await serve(*methods.ALL, limits=Limits(concurrent_streams=100, control_frames=100))
    attack = [
        Http2Client.headers(stream, request_headers("/test/Echo"))
        + frame(RST_STREAM, CANCEL, stream=stream)
        for stream in range(1, 1_001, 2)
    ]
    assert await ending_after(server, *attack) == ENHANCE_YOUR_CALM


async def test_rapid_reset_in_small_steps_ends_the_connection_too(serve):
    server = await serve(*methods.ALL, limits=Limits(concurrent_streams=100, control_frames=100))
    async with Http2Client.connect(server.port) as client:
        for stream in range(1, 1_001, 2):
            client.send(client.headers(stream, request_headers("/test/Count")))
            await client.drain()
            client.send(frame(RST_STREAM, CANCEL, stream=stream))
            await client.drain()
        assert await client.ending() == ENHANCE_YOUR_CALM
    await assert_serves(server)


async def test_all_calls_of_a_client_may_be_cancelled_at_once(serve):
    endless = Endless()
    server = await serve(*endless.methods, *methods.ALL)
    async with Http2Client.connect(server.port) as client:
        streams = range(1, 4_001, 2)
        client.send(*[client.call(stream, "/endless/Unary") for stream in streams])
        client.send(*[frame(RST_STREAM, CANCEL, stream=stream) for stream in streams])
        client.send(client.call(4_001, "/test/Echo", b"hello"))
        assert (await client.until(DATA)).payload == message(b"hello")


async def test_streams_beyond_the_limit_are_refused(serve):
    endless = Endless()
    server = await serve(*endless.methods, *methods.ALL, limits=Limits(concurrent_streams=10))
    async with Http2Client.connect(server.port) as client:
        client.send(*[client.call(stream, "/endless/Unary") for stream in range(1, 41, 2)])
        refused = [await client.until(RST_STREAM) for _ in range(10)]
        assert {one.error for one in refused} == {REFUSED_STREAM}
    await assert_serves(server)


async def test_calls_of_the_server_beyond_the_limit_are_refused(serve):
    endless = Endless()
    server = await serve(*endless.methods, *methods.ALL, limits=Limits(concurrent_calls=2))
    async with Http2Client.connect(server.port) as client:
        client.send(*[client.call(stream, "/endless/Unary") for stream in (1, 3, 5)])
        assert (await client.headers_of(5))["grpc-status"] == "8"


async def test_connections_beyond_the_limit_are_closed(serve):
    server = await serve(*methods.ALL, limits=Limits(connections=1))
    async with Http2Client.connect(server.port) as first:
        await first.until(SETTINGS)
        async with Http2Client.connect(server.port) as second:
            assert await second.next_frame() is None
        first.send(first.call(1, "/test/Echo", b"hello"))
        await first.until(DATA)


async def test_endless_headers_end_the_connection(serve):
    server = await serve(*methods.ALL)
    start = Http2Client.headers(1, request_headers("/test/Echo"), end_headers=False)
    more = frame(CONTINUATION, b"\0\1a\x7f\0" + b"x" * 127, stream=1)
    assert await ending_after(server, start, more * 10_000) in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR)


async def test_headers_that_unpack_to_much_more_are_refused(serve):
    server = await serve(*methods.ALL)
    # A header of 4,000 bytes enters the table and is then named by one byte each, 10,000 times.
    stored = b"\x40\x01a\x7f" + bytes([0xA1, 0x1E]) + b"x" * 4_000
    block = stored + b"\xbe" * 10_000
    async with Http2Client.connect(server.port) as client:
        client.send(frame(HEADERS, block, flags=4, stream=1))
        assert await client.ending() is not None
    await assert_serves(server)


@pytest.mark.parametrize(
    "greeting",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(1000), PREFACE[:-1] + b"x", b"\x16\x03\x01" * 99],
    ids=["http1", "zeros", "almost", "tls"],
)
async def test_garbage_before_the_preface_ends_the_connection(serve, greeting):
    server = await serve(*methods.ALL)
    await ending_after(server, greeting=greeting)


@pytest.mark.parametrize("garbage", [b"\xff" * 4_000, frame(DATA, b"x", stream=7)])
async def test_garbage_after_the_preface_ends_the_connection(serve, garbage):
    server = await serve(*methods.ALL)
    assert await ending_after(server, garbage) is not None


async def test_a_client_that_says_nothing_is_let_go(serve):
    server = await serve(*methods.ALL, limits=Limits(handshake_seconds=0.05))
    assert await ending_after(server, greeting=b"") == 0
    assert await ending_after(server, greeting=PREFACE[:10]) == 0


async def test_a_client_that_reads_nothing_holds_little(serve):
    """Pings are answered into a buffer that is bounded: then nothing more is read."""
    limits = Limits(control_frames=10_000_000)
    server = await serve(*methods.ALL, limits=limits)
    async with Http2Client.connect(server.port) as client:
        pings = frame(PING, bytes(8)) * 10_000
        sent = 0
        for _ in range(1_000):
            client.send(pings)
            sent += len(pings)
            if client.unsent_bytes > len(pings):
                break
        assert client.unsent_bytes > 0
    await assert_serves(server)


async def test_pings_of_a_client_that_reads_replies_are_no_flood(serve):
    server = await serve(*methods.ALL)
    async with Http2Client.connect(server.port) as client:
        for stream in range(1, 6_001, 2):
            client.send(frame(PING, bytes(8)), client.call(stream, "/test/EchoAtOnce"))
            if stream % 100 == 1:
                await client.until(DATA, stream=stream)
        await client.until(DATA, stream=5_999)


async def test_calls_of_a_client_that_breaks_the_rules_are_cancelled_at_once(serve):
    endless = Endless()
    server = await serve(*endless.methods)
    async with Http2Client.connect(server.port) as client:
        client.send(client.call(1, "/endless/Unary"))
        await endless.began.wait()
        client.send(frame(PING, b"short"))
        await endless.cancelled.wait()
        assert server.connections == 1  # until the client has heard why


async def test_a_goaway_names_the_reason(serve):
    server = await serve(*methods.ALL)
    async with Http2Client.connect(server.port) as client:
        client.send(frame(PING, b"short"))
        assert (await client.until(GOAWAY)).error != 0
