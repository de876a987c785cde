"""What gRPC over HTTP/2 says about requests that are not quite right."""

import pytest

from tests.http2_client import DATA, END_STREAM, Http2Client, frame, message, request_headers
from tests.unit.transport import methods


async def headers_after(serve, **changed):
    server = await serve(*methods.ALL)
    async with Http2Client.connect(server.port) as client:
        client.send(client.call(1, "/test/Echo", **changed))
        return await client.headers_of(1)


@pytest.mark.parametrize("kind", ["text/html", "application/grpcx", None])
async def test_what_is_not_grpc_is_an_unsupported_media_type(serve, kind):
    assert await headers_after(serve, content_type=kind) == {":status": "415"}


@pytest.mark.parametrize(
    "kind", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"]
)
async def test_what_is_grpc_is_served(serve, kind):
    headers = await headers_after(serve, content_type=kind)
    assert headers == {":status": "200", "content-type": "application/grpc"}


async def test_only_post_is_allowed(serve):
    assert await headers_after(serve, method="GET") == {":status": "405"}


async def test_a_proxy_that_drops_te_is_noticed(serve):
    headers = await headers_after(serve, te=None)
    assert headers["grpc-status"] == "13"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", "12"),
        (message(b"one") + message(b"two"), "12"),
        (b"\0\0\0", "13"),
        (message(b"whole")[:-1], "13"),
        (b"\0\xff\xff\xff\xff", "8"),
        (message(b"x", compressed=1), "13"),
        (message(b"x", compressed=2), "13"),
    ],
    ids=["none", "two", "prefix", "truncated", "huge", "compressed", "flags"],
)
async def test_a_request_that_is_not_one_whole_message_is_refused(serve, data, status):
    server = await serve(*methods.ALL)
    async with Http2Client.connect(server.port) as client:
        client.send(
            client.headers(1, request_headers("/test/Echo")),
            frame(DATA, data, flags=END_STREAM, stream=1),
        )
        assert (await client.headers_of(1))["grpc-status"] == status


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"\0\0", "13"), (b"\0\xff\xff\xff\xff", "8"), (message(b"x", compressed=1), "13")],
)
async def test_a_bad_message_in_a_stream_of_requests_ends_the_call(serve, data, status):
    server = await serve(*methods.ALL)
    async with Http2Client.connect(server.port) as client:
        client.send(
            client.headers(1, request_headers("/test/Count")),
            frame(DATA, message(b"good"), stream=1),
            frame(DATA, data, flags=END_STREAM, stream=1),
        )
        assert (await client.headers_of(1))["grpc-status"] == status


async def test_a_message_may_come_byte_by_byte(serve):
    server = await serve(*methods.ALL)
    async with Http2Client.connect(server.port) as client:
        client.send(client.headers(1, request_headers("/test/Echo")))
        for byte in message(b"hello"):
            client.send(frame(DATA, bytes([byte]), stream=1))
            await client.drain()
        client.send(frame(DATA, flags=END_STREAM, stream=1))
        assert (await client.until(DATA)).payload == message(b"hello")
        assert (await client.headers_of(1))["grpc-status"] == "0"


async def test_metadata_between_the_limits_is_refused_with_a_status(serve):
    assert (await headers_after(serve, long="x" * 20_000))["grpc-status"] == "8"
