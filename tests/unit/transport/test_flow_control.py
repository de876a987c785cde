"""Nobody gets more than they can take, and memory stays bounded."""

import asyncio
import struct

import pytest
from reapi_transport import Call, Limits, Method

from tests.http2_client import (
    DATA,
    END_STREAM,
    HEADERS,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Client,
    frame,
    message,
    request_headers,
)
from tests.unit.transport import methods

MEBIBYTE = 1 << 20


def update(stream: int, by: int) -> bytes:
    return frame(WINDOW_UPDATE, struct.pack(">I", by), stream=stream)


async def test_a_slow_reader_stops_its_producer(serve):
    produced = 0
    limits = Limits(stream_replies_bytes=100_000)

    async def endless(request: bytes, call: Call):
        nonlocal produced
        while True:
            produced += 1
            yield bytes(50_000)

    server = await serve(Method("/test/Endless", False, True, endless), *methods.ALL, limits=limits)
    async with Http2Client.connect(server.port) as client:
        client.send(client.call(1, "/test/Endless"))
        received = 0
        while received < 65_535:  # the window that a client has at first
            received += len((await client.until(DATA, stream=1)).payload)
        # Two that fill the buffer and one too many, beside what the window has let through.
        assert 3 <= produced <= 5
        # Another call is answered, and the producer has made no progress by then.
        before = produced
        client.send(update(0, 1000), client.call(3, "/test/Echo", b"x"))
        await client.until(DATA, stream=3)
        assert produced == before
        client.send(update(0, MEBIBYTE), update(1, MEBIBYTE))
        while received < 1_000_000:
            received += len((await client.until(DATA, stream=1)).payload)
        assert produced > before


async def test_a_handler_that_does_not_read_stops_the_client(serve):
    may_read = asyncio.Event()
    limits = Limits(stream_window_bytes=100_000)

    async def count(requests, call: Call) -> bytes:
        await may_read.wait()
        return await methods.count(requests, call)

    server = await serve(Method("/test/Waits", True, False, count), *methods.ALL, limits=limits)
    async with Http2Client.connect(server.port) as client:
        settings = await client.until(SETTINGS)
        assert (4, 100_000) in struct.iter_unpack(">HI", settings.payload)
        await client.until(WINDOW_UPDATE)
        client.send(client.headers(1, request_headers("/test/Waits")))
        request = message(bytes(9_995))
        client.send(*[frame(DATA, request, stream=1)] * 10)
        client.send(client.call(3, "/test/Echo", b"x"))
        while (one := await client.next_frame()) is not None and one.kind != HEADERS:
            assert (one.kind, one.stream) != (WINDOW_UPDATE, 1)
        client.decode(one)
        may_read.set()
        await client.until(WINDOW_UPDATE, stream=1)
        client.send(frame(DATA, flags=END_STREAM, stream=1))
        assert (await client.headers_of(1))[":status"] == "200"


async def test_half_received_messages_of_a_connection_are_bounded_and_all_arrive(serve, connect):
    limits = Limits(unfinished_requests_bytes=MEBIBYTE)
    channel = await connect(await serve(*methods.ALL, limits=limits))
    requests = [bytes([number]) * (3 * MEBIBYTE) for number in range(8)]
    calls = [channel.unary_unary("/test/Echo")(request) for request in requests]
    assert [await call for call in calls] == requests


async def test_a_client_that_reads_no_replies_gets_no_more_calls(serve):
    limits = Limits(connection_replies_bytes=200_000)
    server = await serve(*methods.ALL, limits=limits)
    async with Http2Client.connect(server.port) as client:
        await client.until(WINDOW_UPDATE)
        client.send(frame(SETTINGS, struct.pack(">HI", 4, 0)))  # no stream may send anything
        for stream in range(1, 9, 2):
            client.send(client.headers(stream, request_headers("/test/Echo")))
            body = message(bytes(99_995))
            client.send(
                *[
                    frame(DATA, body[at : at + 10_000], stream=stream)
                    for at in range(0, len(body), 10_000)
                ],
                frame(DATA, flags=END_STREAM, stream=stream),
            )
        for _ in range(4):
            client.decode(await client.until(HEADERS))
        client.send(client.call(9, "/test/Echo"))
        assert (await client.headers_of(9))["grpc-status"] == "8"


@pytest.mark.parametrize("calls_at_a_time", [1, 7, 1000])
async def test_calls_that_come_together_are_all_begun(serve, calls_at_a_time):
    server = await serve(*methods.ALL, limits=Limits(calls_at_a_time=calls_at_a_time))
    async with Http2Client.connect(server.port) as client:
        streams = range(1, 401, 2)
        client.send(*[client.call(stream, "/test/EchoAtOnce", b"x") for stream in streams])
        answered = [(await client.until(DATA)).stream for _ in streams]
        assert sorted(answered) == list(streams)


async def test_answers_that_come_before_the_requests_end_leave_the_connection_alone(serve, connect):
    """As of uploads of blobs that are there already: the client goes on for a round trip."""

    async def early(requests, call: Call) -> bytes:
        return await anext(aiter(requests))

    server = await serve(Method("/test/Early", True, False, early))
    channel = await connect(server)

    async def requests():
        for _ in range(100):
            yield bytes(100_000)

    for _ in range(10):
        calls = [channel.stream_unary("/test/Early")(requests()) for _ in range(20)]
        assert [len(await call) for call in calls] == [100_000] * 20
    assert server.connections == 1
