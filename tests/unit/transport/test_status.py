"""How calls end, and the metadata that goes both ways."""

import grpc
import grpc.aio
import pytest
from reapi_transport import Call, Limits, Method, Status

from tests.unit.transport import methods


def failing(error: Exception) -> tuple[Method, Method, Method]:
    async def unary(request: bytes, call: Call) -> bytes:
        raise error

    async def stream(request: bytes, call: Call):
        yield b"first"
        raise error

    return (
        Method("/test/Unary", False, False, unary),
        Method("/test/AtOnce", False, False, unary, starts_at_once=True),
        Method("/test/Stream", False, True, stream),
    )


async def error_of(channel: grpc.aio.Channel, path: str) -> grpc.aio.AioRpcError:
    async def call() -> None:
        if path == "/test/Stream":
            async for reply in channel.unary_stream(path)(b""):
                assert reply == b"first"
        else:
            await channel.unary_unary(path)(b"")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call()
    return caught.value


@pytest.mark.parametrize("path", ["/test/Unary", "/test/AtOnce", "/test/Stream"])
async def test_a_handler_ends_its_call_with_a_status(serve, connect, path):
    status = Status(5, "not h\u00e9re: 100 %\n", [("x-bin", b"\0\xff"), ("y", "z")])
    channel = await connect(await serve(*failing(status)))
    error = await error_of(channel, path)
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert error.details() == "not h\u00e9re: 100 %\n"
    assert tuple(error.trailing_metadata()) == (("x-bin", b"\0\xff"), ("y", "z"))


@pytest.mark.parametrize("path", ["/test/Unary", "/test/AtOnce", "/test/Stream"])
async def test_another_error_is_unknown_and_says_nothing_of_the_inside(
    serve, connect, path, caplog
):
    channel = await connect(await serve(*failing(RuntimeError("a secret"))))
    error = await error_of(channel, path)
    assert error.code() == grpc.StatusCode.UNKNOWN
    assert "secret" not in error.details()
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    "status",
    [Status(5, "", [("Bad Name", "x")]), Status(5, "", [("x", b"bytes")]), Status(-1, "")],
    ids=["name", "type", "code"],
)
async def test_a_status_that_cannot_be_sent_becomes_unknown(serve, connect, status, caplog):
    channel = await connect(await serve(*failing(status)))
    assert (await error_of(channel, "/test/Unary")).code() == grpc.StatusCode.UNKNOWN
    assert "cannot be sent" in caplog.text


async def test_an_unknown_method_is_unimplemented(serve, connect):
    channel = await connect(await serve(*methods.ALL))
    assert (await error_of(channel, "/test/Nope")).code() == grpc.StatusCode.UNIMPLEMENTED


async def test_metadata_goes_both_ways(serve, connect):
    seen = []

    async def handler(request: bytes, call: Call) -> bytes:
        seen.append(dict(call.metadata))
        call.send_initial_metadata([("early", "1"), ("early-bin", b"\1")])
        call.set_trailing_metadata([("late", "2"), ("late-bin", b"\2")])
        return b""

    channel = await connect(await serve(Method("/test/Handler", False, False, handler)))
    metadata = [("a", "b"), ("a", "c"), ("d-bin", b"\0\xff"), ("d-bin", b"last")]
    call = channel.unary_unary("/test/Handler")(b"", metadata=metadata)
    await call
    assert seen[0].pop("user-agent")
    assert seen == [{"a": "b,c", "d-bin": b"last"}]
    assert tuple(await call.initial_metadata()) == (("early", "1"), ("early-bin", b"\1"))
    assert tuple(await call.trailing_metadata()) == (("late", "2"), ("late-bin", b"\2"))


async def test_the_call_knows_its_peer_and_how_long_it_may_take(serve, connect):
    seen = []

    async def handler(request: bytes, call: Call) -> bytes:
        seen.append((call.peer, call.seconds_left, call.peer_certificate))
        return b""

    channel = await connect(await serve(Method("/test/Handler", False, False, handler)))
    await channel.unary_unary("/test/Handler")(b"")
    await channel.unary_unary("/test/Handler")(b"", timeout=1000)
    (peer, unlimited, certificate), (_, limited, _) = seen
    assert peer.startswith("ipv4:127.0.0.1:")
    assert unlimited is None
    assert 0 < limited < 2000
    assert certificate is None


async def test_messages_beyond_the_limits_are_refused_in_both_directions(serve, connect):
    limits = Limits(largest_request_bytes=1000, largest_reply_bytes=500)
    channel = await connect(await serve(*methods.ALL, limits=limits))
    for path, call in [
        ("/test/Echo", channel.unary_unary),
        ("/test/EchoAtOnce", channel.unary_unary),
    ]:
        assert await call(path)(bytes(500)) == bytes(500)
        for size in [501, 1001, 1 << 20]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(path)(bytes(size))
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    stream = channel.stream_stream("/test/EchoEach")()
    await stream.write(bytes(1001))
    assert await stream.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_every_end_of_a_call_is_reported(serve, connect):
    ended = []
    server = await serve(
        *failing(Status(5, "")),
        *methods.ALL,
        on_call=lambda path, code, seconds: ended.append((path, code)),
    )
    channel = await connect(server)
    await channel.unary_unary("/test/EchoAtOnce")(b"")
    await error_of(channel, "/test/Stream")
    assert ended == [("/test/EchoAtOnce", 0), ("/test/Stream", 5)]
