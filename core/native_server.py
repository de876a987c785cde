"""Binds a table of methods to our own transport; the only file that knows it.

Importing this file imports the extension, so it is imported only where that was chosen.
"""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self, cast

import reapi_transport
from reapi_transport import Limits, Status

from .errors import ReapiError
from .identity import EVERYBODY, Identity
from .listening import cannot_listen
from .rpc import (
    ABSOLUTE_MAX_METADATA_BYTES,
    LARGEST_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    MOST_PENDING_CALLS,
    Method,
    Reply,
    StreamHandler,
    UnaryHandler,
)
from .rpc_calls import end_of, parser_of, serialized
from .tls import ServerTls

_LIMITS = Limits(
    largest_request_bytes=LARGEST_MESSAGE_BYTES,
    largest_reply_bytes=LARGEST_MESSAGE_BYTES,
    largest_metadata_bytes=MAX_METADATA_BYTES,
    refused_metadata_bytes=ABSOLUTE_MAX_METADATA_BYTES,
    concurrent_calls=MOST_PENDING_CALLS,
)


class NativeServer:
    """A Server of core/rpc.py."""

    def __init__(
        self, methods: Sequence[Method], listen: str, *, shares_port: bool, tls: ServerTls | None
    ) -> None:
        self._listen = listen
        self._server = reapi_transport.serve(
            [_bound(method) for method in methods],
            listen,
            limits=_LIMITS,
            tls=None if tls is None else _contexts(tls),
            shares_port=shares_port,
        )

    @property
    def port(self) -> int:
        return self._server.port

    async def __aenter__(self) -> Self:
        try:
            await self._server.__aenter__()
        except OSError as error:
            raise cannot_listen(self._listen) from error
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._server.__aexit__(*exc_info)

    async def drain(self, grace_seconds: float) -> None:
        await self._server.drain(grace_seconds)


def _contexts(tls: ServerTls) -> Callable[[], ssl.SSLContext]:
    return lambda: tls.current().context


class _NativeCall:
    """A Call over the transport's, which says nothing of who calls."""

    __slots__ = ("_call",)

    def __init__(self, call: reapi_transport.Call) -> None:
        self._call = call

    @property
    def peer(self) -> str:
        return self._call.peer

    @property
    def identity(self) -> Identity:
        return EVERYBODY

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        return self._call.metadata

    @property
    def seconds_left(self) -> float | None:
        return self._call.seconds_left


def _bound(method: Method) -> reapi_transport.Method:
    """One row. What the transport itself calls must raise Status; within the iterator of a stream
    of requests, it is the handler that is told."""
    parse = parser_of(method)
    return reapi_transport.Method(
        path=method.path,
        streams_requests=method.streams_requests,
        streams_replies=method.streams_replies,
        handler=_bind_stream_reply(method) if method.streams_replies else _bind_unary_reply(method),
        parse=parse if method.streams_requests else _ending(parse),
        serialize=serialized,
        starts_at_once=method.starts_at_once,
    )


def _ending(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def parse_or_end(request: bytes) -> Any:
        try:
            return parse(request)
        except ReapiError as error:
            raise Status(*end_of(error)) from error

    return parse_or_end


def _bind_unary_reply(method: Method) -> Callable[..., Awaitable[Reply]]:
    handler = cast(UnaryHandler, method.handler)

    async def serve(request: Any, call: reapi_transport.Call) -> Reply:
        try:
            return await handler(request, _NativeCall(call))
        except ReapiError as error:
            raise Status(*end_of(error)) from error

    return serve


def _bind_stream_reply(method: Method) -> Callable[..., AsyncGenerator[Reply, None]]:
    handler = cast(StreamHandler, method.handler)

    async def serve(request: Any, call: reapi_transport.Call) -> AsyncGenerator[Reply, None]:
        try:
            # Closed here and now: a call cancelled at a yield must not wait for the collector.
            async with aclosing(handler(request, _NativeCall(call))) as replies:
                async for reply in replies:
                    yield reply
        except ReapiError as error:
            raise Status(*end_of(error)) from error

    return serve
