"""A connection to a server: calls, deadlines, retries and errors. Only this file and the two for
its calls, bidirectional_call.py and call_status.py, know grpc.aio's client.

Statuses come back as the errors of core/errors.py, the same that the service raised.
"""

from __future__ import annotations  # grpc's stubs are generic where its classes are not

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextvars import ContextVar
from typing import Any, Self, cast

import grpc
import grpc.aio

from reapi.core.errors import ReapiError, Relayed, Unavailable, error_of
from reapi.core.request_metadata import REQUEST_METADATA_KEY
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    RequestMetadata,
    ToolDetails,
)

from .address import parse_address
from .bidirectional_call import (
    BidirectionalCall,
    finish_sending,
    raise_if_abandoned,
    send_each,
    send_unless_over,
)
from .call_status import is_unreachable, status_of
from .methods import ClientMethod, Reply, Request
from .retry import Retries
from .tls import SYSTEM_TLS, ClientTls

LARGEST_MESSAGE_BYTES = 64 << 20
FRAME_BYTES = 64 << 10
"""Of the frames of a large reply: many of 16 KiB, which is gRPC's own choice, take more processor
time to receive; much larger ones would hold up the other calls of a slow connection."""
CALL_SECONDS = 60.0
"""What a unary call may take unless its caller says otherwise, retries included."""

_UNREACHED_SECONDS = 2.0
LOST_SECONDS = 30.0
"""How long one waits for what was there and went away."""
SILENCE_SECONDS = 40.0
"""After which a peer that says nothing, though asked for a sign of life, counts as lost."""
_QUIET_SHARE = 0.75
"""The part of a silence that passes before that is asked."""

_CONNECT_SECONDS = 5.0


class Channel:
    """Calls methods of one server; use it as an async context manager, in one event loop.

    `server` is an address as clients/address.py has it. Nothing is dialled before the first call. A
    server that was never reached is given up after some seconds (Unavailable names the address);
    one that was lost is waited for half a minute. Cancelling a call cancels it at the server.

    `tls` is for grpcs:// alone; entering raises InvalidArgument for files of it that cannot be
    used. `server_name` is the name that the server's certificate must have, if not that of the
    address.

    Its calls are one invocation, for which servers keep blobs; with `is_invocation` False they are
    none, which is for parts of a server, since these run for ever. Where `request_metadata` is set
    to what a caller has said about itself, calls are made in the name of that caller.

    With `patience_seconds` nothing is tried again for longer, be the server lost or not yet found.
    A server that froze or vanished without a word is noticed after `silence_seconds`, even while a
    stream is quiet.
    """

    def __init__(
        self,
        server: str,
        *,
        tool_name: str = "reapi-client",
        token: str | None = None,
        tls: ClientTls = SYSTEM_TLS,
        server_name: str | None = None,
        is_invocation: bool = True,
        patience_seconds: float | None = None,
        silence_seconds: float = SILENCE_SECONDS,
        request_metadata: ContextVar[bytes | None] | None = None,
    ) -> None:
        self._address = parse_address(server)
        self.address = str(self._address)
        self._tls = tls
        self._server_name = server_name
        self._own_metadata = _metadata(tool_name, str(uuid.uuid4()) if is_invocation else "")
        self._authorization = () if token is None else (("authorization", f"Bearer {token}"),)
        self._patience_seconds = patience_seconds
        self._silence_seconds = silence_seconds
        self._request_metadata = request_metadata
        self._calls: dict[str, Any] = {}
        self._was_reached = False
        self._abandonable: set[Any] = set()
        self._channel: grpc.aio.Channel

    async def __aenter__(self) -> Self:
        until_ping = round(_QUIET_SHARE * self._silence_seconds * 1000)
        options: list[tuple[str, int | str]] = [
            *_OPTIONS,
            ("grpc.keepalive_time_ms", until_ping),
            # Not keepalive_timeout_ms: gRPC gives a ping a minute, whatever that says.
            ("grpc.http2.ping_timeout_ms", round(self._silence_seconds * 1000) - until_ping),
        ]
        target = self._address.target
        if self._address.is_socket:
            # Otherwise the path is sent, which is no name of a server for every HTTP library.
            options.append(("grpc.default_authority", "localhost"))
        if not self._address.is_encrypted:
            self._channel = grpc.aio.insecure_channel(target, options=options)
            return self
        if self._server_name is not None:
            options.append(("grpc.ssl_target_name_override", self._server_name))
        ca, certificate, key = self._tls.contents()
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        self._channel = grpc.aio.secure_channel(target, credentials, options=options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    def retries(self) -> Retries:
        """The patience for one call of the caller's own making, such as a resumed stream."""
        if self._patience_seconds is not None:
            return Retries(self._patience_seconds)
        return Retries(LOST_SECONDS if self._was_reached else _UNREACHED_SECONDS)

    async def unary(
        self,
        method: ClientMethod[Request, Reply],
        request: Request,
        *,
        timeout: float | None = CALL_SECONDS,
    ) -> Reply:
        """One request, one reply; tried again when that may help, for all of them are idempotent.

        Raises the ReapiError that the server answered, DeadlineExceeded after `timeout` seconds.
        """
        call = self._callable("unary_unary", method)
        try:
            reply = cast(Reply, await call(request, metadata=self._metadata(), timeout=timeout))
        except grpc.aio.AioRpcError as error:
            return await self._unary_again(method, request, timeout, self._error(error))
        self._was_reached = True
        return reply

    async def _unary_again(
        self,
        method: ClientMethod[Request, Reply],
        request: Request,
        timeout: float | None,
        error: ReapiError,
    ) -> Reply:
        retries = self.retries()
        loop = asyncio.get_running_loop()
        give_up_at = None if timeout is None else loop.time() + timeout
        call = self._callable("unary_unary", method)
        while True:
            await retries.wait(error)
            left = None if give_up_at is None else give_up_at - loop.time()
            try:
                reply = cast(Reply, await call(request, metadata=self._metadata(), timeout=left))
            except grpc.aio.AioRpcError as again:
                error = self._error(again)
            else:
                self._was_reached = True
                return reply

    async def server_stream(
        self,
        method: ClientMethod[Request, Reply],
        request: Request,
        *,
        timeout: float | None = None,
    ) -> AsyncGenerator[Reply, None]:
        """The replies to one request, as they come. Never tried again: the caller knows how.

        Closing the iterator early cancels the call.
        """
        call = self._callable("unary_stream", method)(
            request, metadata=self._metadata(), timeout=timeout
        )
        try:
            async for reply in call:
                self._was_reached = True
                yield reply
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        finally:
            call.cancel()

    async def client_stream(
        self,
        method: ClientMethod[Request, Reply],
        requests: AsyncIterator[Request],
        *,
        timeout: float | None = None,
    ) -> Reply:
        """Sends requests until there are no more, or the server has heard enough (Q-EARLY).

        An error of `requests` cancels the call and passes through. Never tried again.
        """
        call = self._callable("stream_unary", method)(metadata=self._metadata(), timeout=timeout)
        try:
            await call.wait_for_connection()
            async for request in requests:
                if not await send_unless_over(call, request):
                    break
            await finish_sending(call)
            reply = cast(Reply, await call)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        finally:
            call.cancel()
        self._was_reached = True
        return reply

    def bidirectional(
        self, method: ClientMethod[Request, Reply]
    ) -> BidirectionalCall[Request, Reply]:
        """Opens a stream in both directions; use it as an async context manager."""
        call = self._callable("stream_stream", method)(metadata=self._metadata())
        self._abandonable.add(call)
        call.add_done_callback(self._abandonable.discard)
        return BidirectionalCall(call, self._error)

    def abandon(self) -> None:
        """Ends the bidirectional and the relayed calls under way as Unavailable.

        For when another server does their work now, whatever this one does.
        """
        for call in self._abandonable.copy():
            call.cancel()

    async def relay(
        self,
        path: str,
        request: bytes | AsyncIterator[bytes],
        *,
        metadata: Sequence[tuple[str, str | bytes]],
        timeout: float | None,
    ) -> AsyncGenerator[bytes, None]:
        """Passes on the call of somebody else, of any cardinality: serialized messages both ways.

        `metadata` takes the place of this channel's. No message is read before the one before it
        was taken. Raises Relayed for a status that the server answered or the connection ended
        with, Unavailable when there is none; an error of the requests cancels the call and passes
        through. Never tried again. Closing the iterator early cancels the call.
        """
        options = {"metadata": tuple(metadata), "timeout": timeout}
        sending = None
        if isinstance(request, bytes):
            call = self._channel.unary_stream(path)(request, **options)
        else:
            call = self._channel.stream_stream(path)(**options)
            sending = asyncio.create_task(send_each(call, request))
        self._abandonable.add(call)
        try:
            async for reply in call:
                yield reply
        except grpc.aio.AioRpcError as error:
            if is_unreachable(error):
                raise self._unreachable(error) from error
            raise Relayed(status_of(error)) from error
        except asyncio.CancelledError:
            # It may be the requests that broke off, and cancelled the call.
            if sending is not None and sending.done():
                sending.result()
            raise_if_abandoned()
            raise
        finally:
            self._abandonable.discard(call)
            call.cancel()
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])

    async def reachability(self) -> AsyncGenerator[bool, None]:
        """Whether the server can be reached: now, once that is known, and at each change.

        Dials it, and dials again when it is lost, as long as the iterator is waited for.
        """
        was_reachable = None
        while True:
            state = self._channel.get_state(try_to_connect=True)
            is_reachable = _REACHABLE.get(state, was_reachable)
            if is_reachable is not None and is_reachable is not was_reachable:
                was_reachable = is_reachable
                yield is_reachable
            await self._channel.wait_for_state_change(state)

    def _metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """What a call carries: who calls, and which calls belong together (G8)."""
        callers = None if self._request_metadata is None else self._request_metadata.get()
        metadata = self._own_metadata if callers is None else callers
        return ((REQUEST_METADATA_KEY, metadata), *self._authorization)

    def _callable(self, cardinality: str, method: ClientMethod[Any, Any]) -> Any:
        call = self._calls.get(method.path)
        if call is None:
            call = self._calls[method.path] = getattr(self._channel, cardinality)(
                method.path,
                request_serializer=method.request_type.SerializeToString,
                response_deserializer=method.reply_type.FromString,
            )
        return call

    def _error(self, error: grpc.aio.AioRpcError) -> ReapiError:
        """The error that the server raised, or that says why it could not be asked."""
        if is_unreachable(error):
            return self._unreachable(error)
        self._was_reached = True
        return error_of(status_of(error))

    def _unreachable(self, error: grpc.aio.AioRpcError) -> Unavailable:
        reason = (error.details() or "").rpartition(": ")[2]
        return Unavailable(
            f"cannot reach a server at {self.address} ({reason}): "
            "is it running, and is the address right?"
        )


_REACHABLE = {
    grpc.ChannelConnectivity.READY: True,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE: False,
}
"""Other states are passing: what was known before still holds."""

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
    # The violations of a FAILED_PRECONDITION name every missing blob (EX7), in a header.
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.absolute_max_metadata_size", 2 << 20),
    ("grpc.min_reconnect_backoff_ms", round(_CONNECT_SECONDS * 1000)),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.http2.max_frame_size", FRAME_BYTES),
    # Retries are ours alone, and so is the connection: other channels' failures are not our state.
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # Build traffic does not go through the desktop's web proxy, as with Bazel.
    ("grpc.enable_http_proxy", 0),
]


def _metadata(tool_name: str, invocation_id: str) -> bytes:
    """What the calls of a channel say about their caller."""
    return RequestMetadata(
        tool_details=ToolDetails(tool_name=tool_name), tool_invocation_id=invocation_id
    ).SerializeToString()
