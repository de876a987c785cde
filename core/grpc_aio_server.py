"""Binds a table of methods to grpc.aio; the only file that knows its server."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from .errors import ReapiError
from .identity import EVERYBODY, Identity
from .listening import cannot_listen
from .rpc import (
    ABSOLUTE_MAX_METADATA_BYTES,
    LARGEST_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    MOST_PENDING_CALLS,
    Method,
    StreamHandler,
    UnaryHandler,
)
from .rpc_calls import end_of, parser_of, serialized
from .tls import LoadedTls, ServerTls


class GrpcAioServer:
    """A Server of core/rpc.py."""

    def __init__(
        self, methods: Sequence[Method], listen: str, *, shares_port: bool, tls: ServerTls | None
    ) -> None:
        self._methods = methods
        self._listen = listen
        self._shares_port = shares_port
        self._tls = tls
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        server = grpc.aio.server(options=_server_options(shares_port=self._shares_port))
        server.add_generic_rpc_handlers((_Table(self._methods),))
        try:
            if self._tls is None:
                self.port = server.add_insecure_port(self._listen)
            else:
                self.port = server.add_secure_port(self._listen, _credentials(self._tls))
        except RuntimeError as error:
            raise cannot_listen(self._listen) from error
        await server.start()
        self._server = server
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def drain(self, grace_seconds: float) -> None:
        if self._server is not None:
            await self._server.stop(grace_seconds)


def _credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Credentials that follow `tls`, which gRPC asks for each connection, in threads of its own."""
    told = tls.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal told
        loaded = tls.current()
        if loaded is told:
            return None
        told = loaded
        return _configuration(loaded)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(told), fetch, require_client_authentication=told.client_ca is not None
    )


def _configuration(loaded: LoadedTls) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(loaded.key, loaded.certificate)], root_certificates=loaded.client_ca
    )


def _server_options(*, shares_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
        ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", ABSOLUTE_MAX_METADATA_BYTES),
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
        joined: dict[str, str | bytes] = {}
        for key, value in cast(Any, self._context.invocation_metadata()) or ():
            before = joined.get(key)
            if isinstance(before, str) and isinstance(value, str):
                value = f"{before},{value}"
            joined[key] = value
        return joined

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
            return serialized(await handler(parse(request), _GrpcCall(context)))
        except ReapiError as error:
            return await _abort(context, error)

    return serve


def _bind_stream_reply(method: Method) -> Callable[..., AsyncGenerator[bytes, None]]:
    parse = _parser(method)
    handler = cast(StreamHandler, method.handler)

    async def serve(request: Any, context: grpc.aio.ServicerContext) -> AsyncGenerator[bytes, None]:
        try:
            # Closed here and now: a call cancelled at a yield must not wait for the collector.
            async with aclosing(handler(parse(request), _GrpcCall(context))) as replies:
                async for reply in replies:
                    yield serialized(reply)
        except ReapiError as error:
            await _abort(context, error)

    return serve


def _parser(method: Method) -> Callable[[Any], Any]:
    """From the bytes, or the iterator of bytes, that grpc hands over to what the handler takes."""
    parse = parser_of(method)
    if not method.streams_requests or method.request_type is None:
        return parse

    async def parse_each(requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for request in requests:
            yield parse(request)

    return parse_each


_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


async def _abort(context: grpc.aio.ServicerContext, error: ReapiError) -> bytes:
    """Ends the call with the status that says `error`."""
    end = end_of(error)
    await context.abort(_STATUS_CODES[end.code], end.message, end.trailers)
    raise AssertionError("abort always raises") from error
