"""Binds a table of methods to a listening gRPC server; the only file that knows grpc.aio's server.

A service is a class of async functions from request to reply (core/interfaces.py says what a Call
is). Health and reflection go through the same table. Another transport replaces this file alone.
"""

import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from .errors import InvalidArgument, ReapiError, Unavailable, status_of
from .identity import EVERYBODY, Identity
from .interfaces import Call

LARGEST_MESSAGE_BYTES = 64 << 20
"""Of one request or reply. Clients mostly keep gRPC's 4 MiB, so replies to them stay below (L1)."""

MOST_PENDING_CALLS = 50_000
"""Calls that have arrived and not begun; later ones are refused at once."""

Reply = Message | bytes
UnaryHandler = Callable[[Any, Call], Awaitable[Reply]]
StreamHandler = Callable[[Any, Call], AsyncGenerator[Reply, None]]


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table.

    `handler` takes the request, or an async iterator of requests when `streams_requests`, and a
    Call. It is a coroutine function that returns the reply, or an async generator of replies when
    `streams_replies`. Replies may be serialized already. `request_type` None hands over raw bytes.
    """

    path: str
    streams_requests: bool
    streams_replies: bool
    request_type: type[Message] | None
    handler: UnaryHandler | StreamHandler


def bind(
    service: ServiceDescriptor,
    handlers: Mapping[str, UnaryHandler | StreamHandler],
    *,
    raw_requests: frozenset[str] = frozenset(),
) -> list[Method]:
    """Rows for the methods of `service` that `handlers` names; the others stay unimplemented."""
    return [
        Method(
            path=f"/{service.full_name}/{name}",
            streams_requests=service.methods_by_name[name].client_streaming,
            streams_replies=service.methods_by_name[name].server_streaming,
            request_type=(
                None
                if name in raw_requests
                else GetMessageClass(service.methods_by_name[name].input_type)
            ),
            handler=handler,
        )
        for name, handler in handlers.items()
    ]


def refuse_port_in_use(listen: str) -> None:
    """Raises Unavailable when somebody listens on HOST:PORT; call it before sharing the port.

    A port that is shared from the start would be shared with any other process of the same user,
    such as a second server by mistake, and each would get some of the connections. Of two servers
    that start in the same instant neither is refused.
    """
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                # Connections that were closed lately do not matter, as to gRPC.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except (OSError, ValueError) as error:
        raise _cannot_listen(listen) from error


class RpcServer:
    """Serves a method table on one TCP address from `async with` on.

    Leaving the context stops at once; call `drain` before for a gentle end. `port` is the one in
    use, also when port 0 was asked for. With `shares_port` other processes of this user may listen
    on the same port (SO_REUSEPORT): the kernel gives each new connection to one of them.
    """

    def __init__(
        self, methods: Sequence[Method], *, listen: str, shares_port: bool = False
    ) -> None:
        self._methods = methods
        self._listen = listen
        self._shares_port = shares_port
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        server = grpc.aio.server(options=_server_options(shares_port=self._shares_port))
        server.add_generic_rpc_handlers((_Table(self._methods),))
        try:
            self.port = server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise _cannot_listen(self._listen) from error
        await server.start()
        self._server = server
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def drain(self, grace_seconds: float) -> None:
        """Takes no new calls, lets running ones end, cancels what is left after the grace time."""
        if self._server is not None:
            await self._server.stop(grace_seconds)


def _cannot_listen(listen: str) -> Unavailable:
    return Unavailable(f"cannot listen on {listen}: is the port in use?")


def _server_options(*, shares_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
        ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.absolute_max_metadata_size", 32 << 10),
        ("grpc.so_reuseport", int(shares_port)),
        # A window that grows by itself holds tens of MiB of a large upload; this one is fixed, and
        # large enough for 100 MiB/s over 20 ms.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 2 << 20),
        # A client that starts all actions of a build at once must wait its turn, not be cancelled.
        ("grpc.server.max_pending_requests", MOST_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MOST_PENDING_CALLS),
        # Clients ping on quiet streams; by default gRPC would end their connections (Q-PING).
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]


class _GrpcCall:
    """A Call over grpc.aio's context, read lazily: most handlers ask for nothing."""

    __slots__ = ("_context",)

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self._context = context

    @property
    def peer(self) -> str:
        return str(self._context.peer())

    @property
    def identity(self) -> Identity:
        return EVERYBODY

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        return dict(cast(Any, self._context.invocation_metadata()) or ())

    @property
    def seconds_left(self) -> float | None:
        return cast(float | None, self._context.time_remaining())


class _Table(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio is untyped
    """Finds the handler of a path."""

    def __init__(self, methods: Sequence[Method]) -> None:
        self._handlers = {method.path: _method_handler(method) for method in methods}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


def _method_handler(method: Method) -> grpc.RpcMethodHandler:
    """The grpc handler of one row; messages pass through it as bytes."""
    bound = _bind_stream_reply(method) if method.streams_replies else _bind_unary_reply(method)
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make: Any = makers[method.streams_requests, method.streams_replies]
    return make(bound)


def _bind_unary_reply(method: Method) -> Callable[..., Awaitable[bytes]]:
    parse = _parser(method)
    handler = cast(UnaryHandler, method.handler)

    async def serve(request: Any, context: grpc.aio.ServicerContext) -> bytes:
        try:
            reply = await handler(parse(request), _GrpcCall(context))
        except ReapiError as error:
            return await _abort(context, error)
        return reply if isinstance(reply, bytes) else reply.SerializeToString()

    return serve


def _bind_stream_reply(method: Method) -> Callable[..., AsyncGenerator[bytes, None]]:
    parse = _parser(method)
    handler = cast(StreamHandler, method.handler)

    async def serve(request: Any, context: grpc.aio.ServicerContext) -> AsyncGenerator[bytes, None]:
        try:
            # Closed here and now: a call cancelled at a yield must not wait for the collector.
            async with aclosing(handler(parse(request), _GrpcCall(context))) as replies:
                async for reply in replies:
                    yield reply if isinstance(reply, bytes) else reply.SerializeToString()
        except ReapiError as error:
            await _abort(context, error)

    return serve


def _parser(method: Method) -> Callable[[Any], Any]:
    """From the bytes, or the iterator of bytes, that grpc hands over to what the handler takes."""
    request_type = method.request_type
    if request_type is None:
        return lambda request: request

    def parse(request: bytes) -> Message:
        try:
            return request_type.FromString(request)
        except DecodeError as error:
            raise InvalidArgument(
                f"the request is not a {request_type.DESCRIPTOR.full_name}"
            ) from error

    async def parse_each(requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for request in requests:
            yield parse(request)

    return parse_each if method.streams_requests else parse


# Statuses travel as headers, for which clients have 8 KiB; a larger one would replace the error.
_LARGEST_DETAILS_BYTES = 4 << 10
_LONGEST_MESSAGE_CHARACTERS = 1 << 10

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


async def _abort(context: grpc.aio.ServicerContext, error: ReapiError) -> bytes:
    """Ends the call with the status that says `error`."""
    status = status_of(error)
    details = status.SerializeToString()
    fits = status.details and len(details) <= _LARGEST_DETAILS_BYTES
    trailing = (("grpc-status-details-bin", details),) if fits else ()
    await context.abort(
        _STATUS_CODES[error.code], error.message[:_LONGEST_MESSAGE_CHARACTERS], trailing
    )
    raise AssertionError("abort always raises") from error
