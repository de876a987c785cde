"""Python's gRPC client (C-core) against each transport."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.fakes.raw_client import failure_of

from .process import InteropProcess
from .service import SERVICE, Plan, message_of, plan_of

LARGE = 20 << 20
ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Client:
    """The methods of the service over one channel, from plan to reply."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        codec = {"request_serializer": message_of, "response_deserializer": plan_of}
        self.unary = channel.unary_unary(SERVICE + "Unary", **codec)
        self.at_once = channel.unary_unary(SERVICE + "AtOnce", **codec)
        self.collect = channel.stream_unary(SERVICE + "Collect", **codec)
        self.expand = channel.unary_stream(SERVICE + "Expand", **codec)
        self.converse = channel.stream_stream(SERVICE + "Converse", **codec)
        self.cancelled = channel.unary_unary(SERVICE + "Cancelled", **codec)
        self.absent = channel.unary_unary(SERVICE + "Absent", **codec)


@pytest.fixture
async def client(interop: InteropProcess) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(interop.target, options=ANY_SIZE) as channel:
        yield Client(channel)


def new_name() -> str:
    return uuid.uuid4().hex


async def test_unary_calls_are_answered(client: Client) -> None:
    assert await client.unary({"text": "héllo"}) == {"text": "héllo"}
    assert await client.at_once({"text": "at once"}) == {"text": "at once"}
    assert await client.unary({}) == {}


async def test_calls_at_the_same_time_get_their_own_answers(client: Client) -> None:
    texts = [f"{number}" * number for number in range(1, 200)]
    replies = await asyncio.gather(*(client.unary({"text": text}) for text in texts))
    assert replies == [{"text": text} for text in texts]


async def test_a_stream_of_requests_is_collected(client: Client) -> None:
    requests = [{"text": letter} for letter in "abcdef"]
    assert await client.collect(iter(requests)) == {"text": "abcdef", "count": 6}
    assert await client.collect(iter(())) == {"count": 0}


async def test_a_stream_of_replies_comes_in_order(client: Client) -> None:
    sizes = [3, 0, 100_000, 1]
    replies = [reply async for reply in client.expand({"replies": sizes})]
    assert [len(reply.get("text", "")) for reply in replies] == sizes
    assert [reply async for reply in client.expand({})] == []


async def test_both_streams_go_in_turns(client: Client) -> None:
    call = client.converse()
    for text in ("one", "two", "three"):
        await call.write({"text": text})
        assert await call.read() == {"text": text}
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_handler_may_end_a_call_before_its_requests_end(client: Client) -> None:
    call = client.converse()
    await call.write({"text": "only this", "stop_after": 1})
    assert await call.read() == {"text": "only this"}
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_large_messages_go_both_ways(client: Client) -> None:
    text = "t" * LARGE
    assert (await client.unary({"text": text}))["text"] == text
    reply = await client.collect(iter([{"text": text}, {"text": "."}]))
    assert len(reply["text"]) == LARGE + 1
    sizes = [len(each["text"]) async for each in client.expand({"replies": [LARGE, 1, LARGE]})]
    assert sizes == [LARGE, 1, LARGE]


@pytest.mark.parametrize("method", ["unary", "collect"])
async def test_a_request_above_the_limit_exhausts_a_resource(client: Client, method: str) -> None:
    request: Any = {"text": "t" * (65 << 20)}
    error = await failure_of(
        client.unary(request) if method == "unary" else client.collect(iter([request]))
    )
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await client.unary({"text": "goes on"}) == {"text": "goes on"}


async def test_metadata_goes_both_ways(client: Client) -> None:
    initial = [["x-first", "a b"], ["x-first-bin", "00ff10"]]
    trailing = [["x-last", "~"], ["x-last-bin", ""], ["x-last-bin", "ff" * 100]]
    sent = (("x-text", "value, with; signs"), ("x-bytes-bin", bytes(range(256))), ("x-empty", ""))
    call = client.unary(
        {"tell": ["metadata"], "initial": initial, "trailing": trailing}, metadata=sent
    )
    reply = await call
    assert reply["metadata"] == {
        "x-text": "value, with; signs",
        "x-bytes-bin": bytes(range(256)).hex(),
        "x-empty": "",
    }
    begun = list(await call.initial_metadata())
    ended = list(await call.trailing_metadata())
    assert [pair for pair in begun if pair[0].startswith("x-")] == [
        ("x-first", "a b"),
        ("x-first-bin", b"\x00\xff\x10"),
    ]
    assert [pair for pair in ended if pair[0].startswith("x-")] == [
        ("x-last", "~"),
        ("x-last-bin", b""),
        ("x-last-bin", b"\xff" * 100),
    ]


async def test_repeated_metadata_is_joined(client: Client) -> None:
    reply = await client.unary({"tell": ["metadata"]}, metadata=(("x-a", "1"), ("x-a", "2")))
    assert reply["metadata"] == {"x-a": "1,2"}


@pytest.mark.parametrize("method", ["unary", "at_once", "collect", "expand", "converse"])
async def test_an_error_has_its_code_message_and_details(client: Client, method: str) -> None:
    message = "not % found: \u00e4\n\u2713"
    plan: Plan = {"code": 5, "message": message, "details": "0805", "trailing": [["x-why", "so"]]}
    call = getattr(client, method)(iter([plan]) if method in ("collect", "converse") else plan)
    if method in ("expand", "converse"):
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
    else:
        await failure_of(call)
    assert await call.code() is grpc.StatusCode.NOT_FOUND
    assert await call.details() == message
    trailing = list(await call.trailing_metadata())
    assert ("grpc-status-details-bin", b"\x08\x05") in trailing
    assert ("x-why", "so") in trailing


async def test_every_code_arrives_as_it_was_sent(client: Client) -> None:
    for code in grpc.StatusCode:
        if code is not grpc.StatusCode.OK:
            error = await failure_of(client.unary({"code": code.value[0], "message": "m"}))
            assert (error.code(), error.details()) == (code, "m")


async def test_an_unexpected_exception_tells_nothing_of_itself(client: Client) -> None:
    for method in (client.unary, client.at_once):
        error = await failure_of(method({"fail": True}))
        assert error.code() is grpc.StatusCode.UNKNOWN


async def test_replies_before_an_error_are_delivered(client: Client) -> None:
    call = client.expand({"replies": [1, 2], "code": 9, "message": "then this"})
    assert [len((await call.read())["text"]) for _ in range(2)] == [1, 2]
    assert (await failure_of(call.read())).code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_method_that_is_not_there_is_unimplemented(client: Client) -> None:
    assert (await failure_of(client.absent({}))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_handler_knows_the_deadline(client: Client) -> None:
    assert await client.unary({"tell": ["deadline"]}) == {"deadline": None}
    reply = await client.unary({"tell": ["deadline"]}, timeout=1000)
    assert 0 < reply["deadline"] <= 1020  # C-core rounds what it sends up, by two percent at most


@pytest.mark.parametrize("method", ["unary", "at_once", "collect", "expand", "converse"])
async def test_a_deadline_ends_the_call_and_cancels_its_handler(
    client: Client, method: str
) -> None:
    name = new_name()
    plan: Plan = {"wait": name}
    request = iter([plan]) if method in ("collect", "converse") else plan
    call = getattr(client, method)(request, timeout=0.3)
    error = await failure_of(call.read() if method in ("expand", "converse") else call)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await client.cancelled({"name": name}) == {"cancelled": name}


@pytest.mark.parametrize("method", ["unary", "at_once", "collect", "expand", "converse"])
async def test_a_cancelled_call_cancels_its_handler(client: Client, method: str) -> None:
    name = new_name()
    plan: Plan = {"wait": name, "initial": [["x-begun", "1"]], "replies": [1]}
    request = iter([plan]) if method in ("collect", "converse") else plan
    call = getattr(client, method)(request)
    if method == "expand":
        await call.read()
    else:
        if method in ("collect", "converse"):
            await call.wait_for_connection()
        # The server has the request once it has answered a later one.
        await client.unary({})
    call.cancel()
    assert await client.cancelled({"name": name}) == {"cancelled": name}


async def test_a_lost_connection_cancels_all_its_handlers(
    interop: InteropProcess, client: Client
) -> None:
    names = [new_name() for _ in range(3)]
    apart = [*ANY_SIZE, ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(interop.target, options=apart) as channel:
        other = Client(channel)
        calls = [other.expand({"wait": name, "replies": [1]}) for name in names]
        for call in calls:
            await call.read()
    for name in names:
        assert await client.cancelled({"name": name}) == {"cancelled": name}


async def test_compressed_messages_are_understood(interop: InteropProcess) -> None:
    options = [*ANY_SIZE, ("grpc.use_local_subchannel_pool", 1)]
    text = "compressible " * 200_000
    async with grpc.aio.insecure_channel(
        interop.target, options=options, compression=grpc.Compression.Gzip
    ) as channel:
        client = Client(channel)
        assert (await client.unary({"text": text}))["text"] == text
        reply = await client.collect(iter([{"text": text}, {"text": "."}]))
        assert reply["text"] == text + "."


async def test_an_encoding_that_the_server_lacks_is_unimplemented(
    interop: InteropProcess, transport: str
) -> None:
    if transport == "grpc.aio":
        pytest.skip("C-core knows every encoding that its own client can send")
    async with grpc.aio.insecure_channel(
        interop.target,
        options=[("grpc.use_local_subchannel_pool", 1)],
        compression=grpc.Compression.Deflate,
    ) as channel:
        error = await failure_of(Client(channel).unary({"text": "t" * 10_000}))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_slow_reader_stops_the_handler_that_writes_to_it(
    interop: InteropProcess, client: Client
) -> None:
    """200 MiB are asked for and nothing is read: the server must not produce them."""
    before = interop.resident_kib()
    call = client.expand({"replies": [1 << 20] * 200})
    first = await call.read()
    for _ in range(50):
        await client.unary({"size": 10_000})
    assert interop.resident_kib() - before < 64 << 10
    sizes = {len(first["text"])}
    while (reply := await call.read()) is not grpc.aio.EOF:
        sizes.add(len(reply["text"]))
    assert sizes == {1 << 20}


async def test_tls_clients_are_served(tls_server: InteropProcess, tls_folder: Path) -> None:
    authority = (tls_folder / "authority.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(authority)
    async with grpc.aio.secure_channel(tls_server.target, credentials, ANY_SIZE) as channel:
        client = Client(channel)
        reply = await client.unary({"tell": ["common_name", "peer"], "text": "t" * LARGE})
        assert reply["common_name"] is None
        assert reply["peer"].startswith("ipv4:127.0.0.1:")
        assert len(reply["text"]) == LARGE
        call = client.converse()
        await call.write({"text": "over TLS"})
        assert await call.read() == {"text": "over TLS"}
        call.cancel()


async def test_a_client_shows_who_it_is(mtls_server: InteropProcess, tls_folder: Path) -> None:
    authority, key, chain = (
        (tls_folder / name).read_bytes() for name in ("authority.pem", "client.key", "client.pem")
    )
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    async with grpc.aio.secure_channel(mtls_server.target, credentials) as channel:
        reply = await Client(channel).unary({"tell": ["common_name"]})
        assert reply == {"common_name": "client"}


async def test_a_client_without_a_certificate_is_not_served(
    mtls_server: InteropProcess, tls_folder: Path
) -> None:
    credentials = grpc.ssl_channel_credentials((tls_folder / "authority.pem").read_bytes())
    async with grpc.aio.secure_channel(mtls_server.target, credentials) as channel:
        error = await failure_of(Client(channel).unary({}))
        assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_plain_text_on_a_tls_port_is_refused(tls_server: InteropProcess) -> None:
    async with grpc.aio.insecure_channel(tls_server.target) as channel:
        error = await failure_of(Client(channel).unary({}))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
