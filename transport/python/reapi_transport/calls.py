"""Runs handlers: one coroutine for each call, from its request to its status."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from contextvars import copy_context
from typing import Any, cast

from . import status
from .call import Call
from .method import StreamHandler, UnaryHandler

_log = logging.getLogger(__name__)


def start(call: Call, request: bytes | None) -> None:
    """Starts the handler of a call. `request` is None when requests stream."""
    serve = _serve_stream if call.method.streams_replies else _serve_unary
    coroutine = serve(call, request)
    connection = call.connection
    if not call.method.starts_at_once:
        connection.run(call, connection.loop.create_task(coroutine))
        return
    context = copy_context()
    try:
        awaited = context.run(coroutine.send, None)
    except StopIteration:
        return
    rest = _Suspended(coroutine, awaited)
    connection.run(call, connection.loop.create_task(rest, context=context))


async def _serve_unary(call: Call, request: bytes | None) -> None:
    method = call.method
    handler = cast(UnaryHandler, method.handler)
    try:
        argument = _Requests(call) if request is None else method.parse(request)
        call.connection.reply(call, method.serialize(await handler(argument, call)))
    except (Exception, asyncio.CancelledError) as error:
        _fail(call, error)


async def _serve_stream(call: Call, request: bytes | None) -> None:
    connection, method = call.connection, call.method
    handler = cast(StreamHandler, method.handler)
    serialize = method.serialize
    try:
        argument = _Requests(call) if request is None else method.parse(request)
        # Closed here and now: a call cancelled at a yield must not wait for the collector.
        async with aclosing(handler(argument, call)) as replies:
            async for reply in replies:
                if not connection.send(call, serialize(reply)):
                    await connection.room(call)
        connection.finish(call, status.OK, "")
    except (Exception, asyncio.CancelledError) as error:
        _fail(call, error)


class _Requests(AsyncIterator[Any]):
    """The requests of a stream. The client may send more only as they are taken."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    async def __anext__(self) -> Any:
        message = await self._call.connection.next_request(self._call)
        if message is None:
            raise StopAsyncIteration
        return self._call.method.parse(message)


def _fail(call: Call, error: BaseException) -> None:
    """Ends the call as `error` says. Nothing happens when the call is over already."""
    connection = call.connection
    if isinstance(error, asyncio.CancelledError):
        connection.finish(call, status.CANCELLED, "the call was cancelled")
    elif isinstance(error, status.Status):
        connection.finish(call, error.code, error.message, error.trailers)
    else:
        _log.error("the handler of %s failed", call.method.path, exc_info=error)
        connection.finish(call, status.UNKNOWN, "the server failed to answer")


class _Suspended(Coroutine[Any, Any, None]):
    """A coroutine that was run up to its first suspension, made fit for a Task.

    The first step gives to the Task what the coroutine gave then, so the Task waits for that.
    """

    __slots__ = ("_awaited", "_coroutine", "_is_resumed")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: object) -> None:
        self._coroutine = coroutine
        self._awaited = awaited
        self._is_resumed = False

    def send(self, value: Any) -> Any:
        if self._is_resumed:
            return self._coroutine.send(value)
        self._is_resumed = True
        return self._awaited

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        raise NotImplementedError("only a Task steps it")
