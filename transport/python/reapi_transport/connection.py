"""One connection: moves bytes between socket and codec, and keeps the calls that run."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from . import calls, status
from ._codec import CANCELLED, READABLE, WRITABLE, Codec
from .call import Call
from .lifetime import Lifetime
from .metadata import Pairs
from .peer import address_of

if TYPE_CHECKING:
    from ._codec import Event
    from .server import Server

_SOCKET_BUFFER_BYTES = 512 << 10
"""Output that the socket has not taken; beyond it handlers wait."""

_UNREAD_BYTES = 1 << 20
"""Input that the codec cannot take as long as its output is full; beyond it nothing is read."""

_LINGER_SECONDS = 2.0
"""For the last output of a connection, such as why it ends."""

_log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """The protocol of asyncio for one connection. All methods run in its event loop."""

    def __init__(self, server: Server) -> None:
        self.loop = server.loop
        self._server = server
        self._limits = server.limits
        self._methods = server.methods
        self._codec = Codec(server.table)
        self._calls: dict[int, Call] = {}
        self._running = 0  # handlers, of cancelled calls too
        self._postponed: list[Event] = []
        self._transport: asyncio.Transport
        self._lifetime: Lifetime | None = None
        self._is_blocked = False  # the socket takes nothing now, or never again
        self._is_flushing_soon = False
        self._is_leaving = False  # because the server wants to
        self._is_hung_up = False  # nothing is said any more
        self.is_heard = False
        self.peer = ""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = address_of(transport)
        if not self._server.admit(self) or not _speaks_http2(transport):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=_SOCKET_BUFFER_BYTES)
        self._lifetime = Lifetime(self, self._limits)
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self._is_hung_up:
            return
        self.is_heard = True
        self._dispatch(self._codec.receive(data))
        self.flush()
        if self._is_blocked and self._codec.unread_bytes > _UNREAD_BYTES:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._is_blocked = True

    def resume_writing(self) -> None:
        self._is_blocked = False
        self.flush()
        if not self._is_blocked and not self._postponed:
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self._lifetime is not None:
            self._lifetime.end()
        self._is_blocked = True
        self._postponed.clear()
        self._cancel_all()
        self._server.forget(self)

    # What handlers ask for.

    @property
    def peer_certificate(self) -> Mapping[str, Any] | None:
        tls: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return None if tls is None else tls.getpeercert() or None

    def begin_reply(self, stream: int, metadata: Pairs) -> None:
        self._codec.begin_reply(stream, metadata)
        self._flush_soon()

    def reply(self, call: Call, message: bytes) -> None:
        """The only reply of a call, and its end."""
        if len(message) > self._limits.largest_reply_bytes:
            raise _too_large(message)
        self._codec.reply(call.stream, message, call.trailing)
        self._end(call, status.OK)
        self._flush_soon()

    def send(self, call: Call, message: bytes) -> bool:
        """One of several replies. False when `room` is to be awaited before the next."""
        if len(message) > self._limits.largest_reply_bytes:
            raise _too_large(message)
        has_room = self._codec.send(call.stream, message)
        if has_room:
            self._flush_soon()
            return True
        call.writable = self.loop.create_future()
        self.flush()
        return False

    async def room(self, call: Call) -> None:
        """Waits until the client has taken most of what was sent."""
        if call.writable is not None:
            await call.writable
            call.writable = None

    async def next_request(self, call: Call) -> bytes | None:
        """The next message of a stream of requests, None at its end."""
        while True:
            message = self._codec.next_request(call.stream)
            self._flush_soon()
            if message is False:
                return None
            if message is None:
                raise asyncio.CancelledError("the call is over")
            if message is not True:
                return message
            call.readable = self.loop.create_future()
            await call.readable

    def finish(self, call: Call, code: int, message: str, trailers: Pairs = ()) -> None:
        """Ends a call. Nothing happens when it is over."""
        trailing = [*(call.trailing or ()), *trailers]
        try:
            self._codec.finish(call.stream, code, message, trailing)
        except (ValueError, OverflowError):
            _log.exception("status %r of %s cannot be sent", code, call.method.path)
            code = status.UNKNOWN
            self._codec.finish(call.stream, code, "the server failed to answer")
        self._end(call, code)
        self._flush_soon()

    def run(self, call: Call, task: asyncio.Task[None]) -> None:
        """Keeps a Task that goes on with a call, and cancels it when the call is over."""
        self._running += 1
        self._server.tasks.add(task)
        task.add_done_callback(self._task_done)
        call.task = task
        self._calls[call.stream] = call
        if call.deadline is not None:
            call.timer = self.loop.call_at(call.deadline, self._expire, call)

    # What its lifetime asks for.

    @property
    def is_open(self) -> bool:
        """The client has introduced itself as one of HTTP/2."""
        return self._codec.is_open

    def ping(self) -> None:
        """Asks the client for a sign of life."""
        self._codec.ping()
        self.flush()

    def drain(self) -> None:
        """Asks the client to call elsewhere; closes when the running calls have ended."""
        self._is_leaving = True
        self._codec.drain()
        self.flush()

    def close(self) -> None:
        """Cancels what runs and closes. A client that does not read is not waited for long."""
        self._is_leaving = True
        for call in list(self._calls.values()):
            self._codec.finish(call.stream, status.UNAVAILABLE, "the server stops")
            self._cancel(call, status.UNAVAILABLE)
        self.flush()
        self._codec.abort()
        self.flush()
        if not self._is_hung_up:
            self._hang_up()

    def abort(self) -> None:
        """Closes without a word: the client does not listen."""
        self._transport.abort()

    # How it works.

    def flush(self) -> None:
        """Writes what there is, as far as the socket takes it."""
        codec = self._codec
        while not self._is_blocked:
            output, is_more = codec.flush()
            if output:
                self._transport.write(output)
            if codec.has_events:
                self._dispatch(codec.events())
            elif not is_more:
                break
        if codec.is_closed and not self._is_hung_up:
            self._hang_up()

    def _hang_up(self) -> None:
        """Ends the connection when the output is written.

        Of a client that broke the rules more is read, into nothing: to close while it still sends
        would take from it what it has not read, such as why it ends.
        """
        self._is_hung_up = True
        self._cancel_all()
        self.loop.call_later(_LINGER_SECONDS, self._transport.abort)
        if self._is_leaving or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()
            self._transport.resume_reading()

    def _flush_soon(self) -> None:
        """Once for all that is said in this turn of the event loop."""
        if not self._is_flushing_soon:
            self._is_flushing_soon = True
            self.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._is_flushing_soon = False
        self.flush()

    def _dispatch(self, events: list[Event]) -> None:
        if self._postponed:
            self._postponed += events
            return
        most = self._limits.calls_at_a_time
        if len(events) > most:
            self._postponed = events[most:]
            self._transport.pause_reading()
            self.loop.call_soon(self._go_on)
            events = events[:most]
        for stream, kind, head, request in events:
            if kind >= 0:
                self._start(stream, kind, head, request)
            else:
                self._signal(stream, kind)

    def _go_on(self) -> None:
        events, self._postponed = self._postponed, []
        self._dispatch(events)
        self.flush()
        if not self._postponed and not self._is_blocked:
            self._transport.resume_reading()

    def _start(self, stream: int, row: int, head: Any, request: bytes | None) -> None:
        server = self._server
        limits = self._limits
        if (
            len(server.tasks) >= limits.concurrent_calls
            or self._running >= limits.concurrent_streams
        ):
            self._codec.finish(stream, status.RESOURCE_EXHAUSTED, "too many calls are running")
            return
        calls.start(Call(self, stream, head, self._methods[row]), request)

    def _signal(self, stream: int, kind: int) -> None:
        call = self._calls.get(stream)
        if call is None:
            return
        if kind == CANCELLED:
            self._cancel(call)
        elif kind == READABLE:
            _wake(call.readable)
        elif kind == WRITABLE:
            _wake(call.writable)

    def _expire(self, call: Call) -> None:
        self._codec.finish(call.stream, status.DEADLINE_EXCEEDED, "the deadline has passed")
        self._cancel(call, status.DEADLINE_EXCEEDED)
        self._flush_soon()

    def _cancel(self, call: Call, code: int = status.CANCELLED) -> None:
        self._end(call, code)
        if call.task is not None:
            call.task.cancel()

    def _cancel_all(self) -> None:
        for call in list(self._calls.values()):
            self._cancel(call)

    def _end(self, call: Call, code: int) -> None:
        if call.is_over:
            return
        call.is_over = True
        if (on_call := self._server.on_call) is not None:
            on_call(call.method.path, code, self.loop.time() - call.begun)
        self._calls.pop(call.stream, None)
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._running -= 1
        self._server.finished(task)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


def _too_large(message: bytes) -> status.Status:
    text = f"the reply of {len(message)} bytes is larger than allowed"
    return status.Status(status.RESOURCE_EXHAUSTED, text)


def _speaks_http2(transport: asyncio.BaseTransport) -> bool:
    """Without TLS everybody is taken to; with it a client has to say so (ALPN)."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return tls is None or tls.selected_alpn_protocol() == "h2"
