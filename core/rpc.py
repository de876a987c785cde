"""The method table, and a server that serves it on whichever transport is chosen.

A service is a class of async functions from request to reply (core/interfaces.py says what a Call
is). Health and reflection go through the same table. Only the bindings know a transport:
grpc_aio_server.py and native_server.py, of which the chosen one alone is imported.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol, Self

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from .interfaces import Call
from .listening import SocketFile, address_in_use, cannot_listen, socket_path
from .tls import ServerTls
from .transport import Transport, TransportSetting, choose_transport

LARGEST_MESSAGE_BYTES = 64 << 20
"""Of one request or reply. Clients mostly keep gRPC's 4 MiB, so replies to them stay below (L1)."""

MAX_METADATA_BYTES = 16 << 10
ABSOLUTE_MAX_METADATA_BYTES = 32 << 10
"""Of the headers of a call: calls with more are refused, some at the lower bound, all at this."""

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

    With `starts_at_once` a transport may run the handler up to its first suspension before it takes
    the next call, outside of any task: so much of it must be quick, and must not ask for the
    current task, as asyncio.timeout and TaskGroup do. It is for handlers that mostly answer from
    memory.
    """

    path: str
    streams_requests: bool
    streams_replies: bool
    request_type: type[Message] | None
    handler: UnaryHandler | StreamHandler
    starts_at_once: bool = False


def bind(
    service: ServiceDescriptor,
    handlers: Mapping[str, UnaryHandler | StreamHandler],
    *,
    raw_requests: frozenset[str] = frozenset(),
    at_once: Collection[str] = (),
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
            starts_at_once=name in at_once,
        )
        for name, handler in handlers.items()
    ]


class Server(Protocol):
    """A binding: listens from `async with` on, and stops at once at its end."""

    @property
    def port(self) -> int:
        """The one in use."""

    async def __aenter__(self) -> Self:
        """Raises Unavailable when it cannot listen."""

    async def __aexit__(self, *exc_info: Any) -> None: ...

    async def drain(self, grace_seconds: float) -> None:
        """Takes no new calls, lets running ones end, cancels what is left after the grace time."""


class RpcServer:
    """Serves a method table on one address, HOST:PORT or unix:/PATH, from `async with` on.

    Leaving the context stops at once; call `drain` before for a gentle end. `port` is the one in
    use, also when port 0 was asked for, and `address` is the address with it. With `shares_port`
    other processes of this user may listen on the same port (SO_REUSEPORT): the kernel gives each
    new connection to one of them. With `tls` nothing else is spoken.

    Raises InvalidArgument when the transport is not installed, Unavailable when it cannot listen.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        *,
        listen: str,
        shares_port: bool = False,
        transport: TransportSetting = "auto",
        tls: ServerTls | None = None,
    ) -> None:
        self.transport = choose_transport(transport)
        self._listen = listen
        self._server = _make_server(self.transport, methods, listen, shares_port, tls)
        self._stack = AsyncExitStack()
        self.port = 0

    @property
    def address(self) -> str:
        """Where it can be reached, if it does not listen on all addresses."""
        return address_in_use(self._listen, self.port)

    async def __aenter__(self) -> Self:
        path = socket_path(self._listen)
        async with AsyncExitStack() as stack:
            file = None if path is None else stack.enter_context(SocketFile(path))
            await stack.enter_async_context(self._server)
            if file is not None:
                try:
                    file.bound()
                except OSError as error:
                    raise cannot_listen(self._listen) from error
            else:
                self.port = self._server.port
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def drain(self, grace_seconds: float) -> None:
        """Takes no new calls, lets running ones end, cancels what is left after the grace time."""
        await self._server.drain(grace_seconds)


def _make_server(
    transport: Transport,
    methods: Sequence[Method],
    listen: str,
    shares_port: bool,
    tls: ServerTls | None,
) -> Server:
    if transport == "native":
        from .native_server import NativeServer

        return NativeServer(methods, listen, shares_port=shares_port, tls=tls)
    from .grpc_aio_server import GrpcAioServer

    return GrpcAioServer(methods, listen, shares_port=shares_port, tls=tls)
