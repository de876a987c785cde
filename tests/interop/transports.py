"""Binds the table of service.py to each transport, on one address, with TLS or without."""

import importlib.util
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from reapi.core.rpc import LARGEST_MESSAGE_BYTES, MOST_PENDING_CALLS

from .service import Failure, Metadata, Row

GRPC_AIO, NATIVE = "grpc.aio", "native"


def has_native() -> bool:
    """Whether the extension is installed."""
    return importlib.util.find_spec("reapi_transport") is not None


@dataclass(frozen=True)
class Tls:
    """A folder with server.pem, server.key and authority.pem, as certificates.py writes them."""

    folder: Path
    asks_clients: bool


def serve(
    transport: str, rows: Sequence[Row], tls: Tls | None, *, is_impatient: bool
) -> AbstractAsyncContextManager[int]:
    """Serves `rows` on a free port of 127.0.0.1 inside the context, which gives the port.

    An impatient server, which is native, closes connections that are silent for a second or two.
    """
    if transport == NATIVE:
        return _serve_native(rows, tls, is_impatient=is_impatient)
    return _serve_grpc_aio(rows, tls)


@asynccontextmanager
async def _serve_native(
    rows: Sequence[Row], tls: Tls | None, *, is_impatient: bool
) -> AsyncGenerator[int, None]:
    import reapi_transport

    names = ("handshake_seconds", "keepalive_seconds", "keepalive_timeout_seconds")
    limits = reapi_transport.Limits(**(dict.fromkeys(names, 1.0) if is_impatient else {}))
    methods = [
        reapi_transport.Method(
            path=row.path,
            streams_requests=row.streams_requests,
            streams_replies=row.streams_replies,
            handler=_native_handler(row),
            starts_at_once=row.starts_at_once,
        )
        for row in rows
    ]
    make_context = None if tls is None else lambda: _ssl_context(tls)
    async with reapi_transport.serve(methods, "127.0.0.1:0", limits=limits, tls=make_context) as on:
        yield on.port


def _native_handler(row: Row) -> Any:
    """The same with the failures that the transport knows."""
    import reapi_transport

    async def unary(request: Any, call: Any) -> bytes:
        try:
            reply: bytes = await row.handler(request, call)
        except Failure as failure:
            raise reapi_transport.Status(
                failure.code, failure.message, failure.trailers
            ) from failure
        return reply

    async def stream(request: Any, call: Any) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(row.handler(request, call)) as replies:
                async for reply in replies:
                    yield reply
        except Failure as failure:
            raise reapi_transport.Status(
                failure.code, failure.message, failure.trailers
            ) from failure

    return stream if row.streams_replies else unary


def _ssl_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.folder / "server.pem", tls.folder / "server.key")
    context.set_alpn_protocols(["h2"])
    if tls.asks_clients:
        context.load_verify_locations(tls.folder / "authority.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def _serve_grpc_aio(rows: Sequence[Row], tls: Tls | None) -> AsyncGenerator[int, None]:
    options = [
        ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
        ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),
        # As the project's own servers have it; by default C-core cancels calls that come at once.
        ("grpc.server.max_pending_requests", MOST_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MOST_PENDING_CALLS),
    ]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((_Table(rows),))
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", _credentials(tls))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    key, chain, authority = (
        (tls.folder / name).read_bytes() for name in ("server.key", "server.pem", "authority.pem")
    )
    return grpc.ssl_server_credentials(
        [(key, chain)],
        root_certificates=authority if tls.asks_clients else None,
        require_client_auth=tls.asks_clients,
    )


class _Table(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio is untyped
    def __init__(self, rows: Sequence[Row]) -> None:
        self._handlers = {row.path: _grpc_aio_handler(row) for row in rows}

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)


def _grpc_aio_handler(row: Row) -> grpc.RpcMethodHandler:
    async def unary(request: Any, context: grpc.aio.ServicerContext) -> bytes:
        call = _GrpcAioCall(context)
        try:
            reply: bytes = await row.handler(request, call)
        except Failure as failure:
            await call.abort(failure)
            raise
        await call.send_pending()
        return reply

    async def stream(request: Any, context: grpc.aio.ServicerContext) -> AsyncGenerator[bytes]:
        call = _GrpcAioCall(context)
        try:
            async with aclosing(row.handler(request, call)) as replies:
                async for reply in replies:
                    await call.send_pending()
                    yield reply
        except Failure as failure:
            await call.abort(failure)
        await call.send_pending()

    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make: Any = makers[row.streams_requests, row.streams_replies]
    return make(stream if row.streams_replies else unary)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


class _GrpcAioCall:
    """The Call of service.py over grpc.aio's context."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._initial: Metadata = ()
        self._trailing: Metadata = ()

    @property
    def peer(self) -> str:
        return str(self._context.peer())

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        found: dict[str, str | bytes] = {}
        for name, value in self._context.invocation_metadata() or ():
            before = found.get(name)
            both = isinstance(before, str) and isinstance(value, str)
            found[name] = f"{before},{value}" if both else value
        return found

    @property
    def seconds_left(self) -> float | None:
        left: float | None = self._context.time_remaining()
        return left

    @property
    def peer_certificate(self) -> Mapping[str, Any] | None:
        names = self._context.auth_context().get("x509_common_name")
        return {"subject": ((("commonName", names[0].decode()),),)} if names else None

    def send_initial_metadata(self, metadata: Metadata) -> None:
        self._initial = metadata

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self._trailing = metadata
        self._context.set_trailing_metadata(tuple(metadata))

    async def send_pending(self) -> None:
        """Sends the initial metadata, which grpc.aio does by a coroutine only."""
        initial, self._initial = self._initial, ()
        if initial:
            await self._context.send_initial_metadata(tuple(initial))

    async def abort(self, failure: Failure) -> None:
        await self.send_pending()
        await self._context.abort(
            _CODES[failure.code], failure.message, (*self._trailing, *failure.trailers)
        )
