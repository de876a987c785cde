"""Plain gRPC calls for tests of the wire: no retries, no defaults, statuses as they come."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status

from reapi.clients.bidirectional_call import send_unless_over
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream import bytestream_pb2


class RawService:
    """The methods of one service as attributes: `await service.Method(request)`.

    A method that streams requests takes an iterable of them, or an async one, one that streams
    replies returns the list of all.
    """

    def __init__(self, channel: grpc.aio.Channel, service: ServiceDescriptor) -> None:
        self._channel = channel
        self._service = service

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = self._service.methods_by_name[name]
        path = f"/{self._service.full_name}/{name}"
        codec = {
            "request_serializer": _serialize,
            "response_deserializer": GetMessageClass(method.output_type).FromString,
        }

        async def call(request: Any, **options: Any) -> Any:
            if method.client_streaming:
                return await _send_all(self._channel.stream_unary(path, **codec), request, options)
            if method.server_streaming:
                replies = self._channel.unary_stream(path, **codec)(request, **options)
                return [reply async for reply in replies]
            return await self._channel.unary_unary(path, **codec)(request, **options)

        return call


async def _send_all(method: Any, requests: Any, options: dict[str, Any]) -> Any:
    """The reply, or the status as the server said it, as soon as the call ends."""
    call = method(**options)

    async def send() -> None:
        async for request in _each(requests):
            if not await send_unless_over(call, request):
                return
        await call.done_writing()

    sending = asyncio.create_task(send())
    try:
        return await call
    finally:
        sending.cancel()
        call.cancel()


async def _each(requests: Any) -> AsyncIterator[Message | bytes]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


class RawClient:
    """All services of storage on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        services = re_pb2.DESCRIPTOR.services_by_name
        self.channel = channel
        self.cas = RawService(channel, services["ContentAddressableStorage"])
        self.action_cache = RawService(channel, services["ActionCache"])
        self.capabilities = RawService(channel, services["Capabilities"])
        self.bytestream = RawService(
            channel, bytestream_pb2.DESCRIPTOR.services_by_name["ByteStream"]
        )


@asynccontextmanager
async def raw_client(address: str) -> AsyncIterator[RawClient]:
    """A client of the server at `address`, which sends and receives messages of any size."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield RawClient(channel)


def _serialize(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


async def failure_of(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """The status that the call must end with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def code_of(call: Awaitable[Any]) -> grpc.StatusCode:
    """The code of the status that the call must end with."""
    return (await failure_of(call)).code()


def details_of(error: grpc.aio.AioRpcError) -> Status:
    """The google.rpc.Status that came along."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return Status.FromString(value)
    raise AssertionError("no status details")
