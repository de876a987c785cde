"""Errors, retries and metadata of calls."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from reapi.clients.channel import Channel
from reapi.clients.methods import CONNECT, FIND_MISSING_BLOBS, GET_CAPABILITIES, READ, WRITE
from reapi.core.digest import digest_of
from reapi.core.errors import (
    Aborted,
    BlobsMissing,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ReapiError,
    ResourceExhausted,
    Unavailable,
)
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    FindMissingBlobsRequest,
    GetCapabilitiesRequest,
)
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest, WriteRequest
from reapi.protos.reapi.worker.v1.worker_pb2 import ConnectRequest, Drain
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.reapi_server import FakeReapiServer

ASK = GetCapabilitiesRequest()
HTTP2_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""An empty frame of them: all that a client waits for. It may send 65,535 bytes then."""
MORE_THAN_IT_TAKES = 1 << 20


@pytest.mark.parametrize(
    "server",
    [
        "http://host:80",
        "host",
        "host:",
        ":8980",
        "grpc://host",
        "grpcs://host",
        "host:99999",
    ],
)
def test_an_address_without_host_and_port_is_refused(server: str) -> None:
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        Channel(server)


async def test_a_call_returns_the_typed_reply(channel: Channel) -> None:
    reply = await channel.unary(GET_CAPABILITIES, ASK)
    assert reply.cache_capabilities.max_batch_total_size_bytes == 4_000_000


async def test_an_error_comes_back_as_the_class_that_the_service_raised(
    server: FakeReapiServer, channel: Channel
) -> None:
    server.failures["GetCapabilities"].append(NotFound("there is none"))
    with pytest.raises(NotFound, match="there is none"):
        await channel.unary(GET_CAPABILITIES, ASK)


async def test_EX7_the_details_of_a_status_are_read(
    server: FakeReapiServer, channel: Channel
) -> None:
    subjects = [digest_of(str(number).encode()).subject for number in range(30)]
    server.failures["GetCapabilities"].append(BlobsMissing(subjects))
    with pytest.raises(BlobsMissing) as caught:
        await channel.unary(GET_CAPABILITIES, ASK)
    assert list(caught.value.subjects) == subjects


@pytest.mark.parametrize(
    "error",
    [Unavailable("down"), Aborted("race"), ResourceExhausted("full", retry_after_seconds=0.001)],
)
async def test_a_passing_failure_is_tried_again(
    server: FakeReapiServer, channel: Channel, error: Unavailable
) -> None:
    server.failures["GetCapabilities"] += [error, error]
    await channel.unary(GET_CAPABILITIES, ASK)
    assert server.calls["GetCapabilities"] == 3


@pytest.mark.parametrize("error", [InvalidArgument("bad"), ResourceExhausted("full")])
async def test_a_lasting_failure_is_raised_at_once(
    server: FakeReapiServer, channel: Channel, error: InvalidArgument
) -> None:
    server.failures["GetCapabilities"] += [error]
    with pytest.raises(type(error)):
        await channel.unary(GET_CAPABILITIES, ASK)
    assert server.calls["GetCapabilities"] == 1


async def test_a_retry_that_would_be_too_late_is_not_waited_for(
    server: FakeReapiServer, channel: Channel
) -> None:
    server.failures["GetCapabilities"].append(Unavailable("closed", retry_after_seconds=86400))
    with pytest.raises(Unavailable, match="closed"):
        await channel.unary(GET_CAPABILITIES, ASK)


async def test_a_server_that_is_down_is_named_in_the_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        async with Channel(address) as channel:
            with pytest.raises(Unavailable, match=f"{address}.*Connection refused.*running"):
                await channel.unary(GET_CAPABILITIES, ASK)


async def test_a_server_that_does_not_answer_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Channel(f"127.0.0.1:{silent.getsockname()[1]}") as channel:
            with pytest.raises((DeadlineExceeded, Unavailable)):
                await channel.unary(GET_CAPABILITIES, ASK, timeout=0.05)


async def test_G8_every_call_says_who_calls(server: FakeReapiServer) -> None:
    async with Channel(server.address, tool_name="reapi-cli", token="secret") as channel:
        await channel.unary(GET_CAPABILITIES, ASK)
        await channel.unary(FIND_MISSING_BLOBS, FindMissingBlobsRequest())
    first, second = server.metadata
    assert first.tool_details.tool_name == "reapi-cli"
    assert first.tool_invocation_id == second.tool_invocation_id != ""
    assert server.authorization == ["Bearer secret"] * 2


async def test_a_stream_may_be_left_early(server: FakeReapiServer, channel: Channel) -> None:
    digest = server.blobs.add(bytes(4 << 20))
    request = ReadRequest(resource_name=digest.subject)
    async with aclosing(channel.server_stream(READ, request)) as replies:
        await anext(replies)
    reply = await channel.unary(GET_CAPABILITIES, ASK)
    assert reply.high_api_version.major == 2


async def test_a_stream_in_both_directions(channel: Channel, server: FakeReapiServer) -> None:
    async with channel.bidirectional(CONNECT) as call:
        await call.send(ConnectRequest(drain=Drain()))
        await call.done_sending()
        replies = [reply async for reply in call]
    assert [reply.registered.heartbeat_interval.seconds for reply in replies] == [7]


async def test_a_stream_that_the_other_side_ended_says_so(
    channel: Channel, server: FakeReapiServer
) -> None:
    server.failures["Connect"].append(InvalidArgument("who are you?"))
    async with channel.bidirectional(CONNECT) as call:
        with pytest.raises(InvalidArgument, match="who are you"):
            await anext(aiter(call))
        with pytest.raises(ReapiError):
            await call.send(ConnectRequest())


async def test_a_connection_that_is_lost_while_a_request_waits_is_an_error_like_any_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with Channel(f"127.0.0.1:{listener.getsockname()[1]}") as channel:

            async def requests() -> AsyncIterator[WriteRequest]:
                asyncio.get_running_loop().call_soon(peer.close)
                yield WriteRequest(data=bytes(MORE_THAN_IT_TAKES))

            writing = asyncio.create_task(channel.client_stream(WRITE, requests()))
            peer, _ = await asyncio.to_thread(listener.accept)
            peer.sendall(HTTP2_SETTINGS)
            with pytest.raises(Unavailable):
                await writing


async def test_a_server_that_falls_silent_is_noticed_without_a_deadline() -> None:
    async with (
        FakeReapiServer() as server,
        FaultProxy(server.address.removeprefix("grpc://")) as network,
        Channel(network.endpoint, patience_seconds=0, silence_seconds=2) as channel,
    ):
        await channel.unary(GET_CAPABILITIES, ASK)
        network.flowing.clear()
        with pytest.raises(Unavailable):
            await channel.unary(GET_CAPABILITIES, ASK, timeout=None)
