"""The client's end of grpc.aio's streams: sending while the other side answers."""

from __future__ import annotations  # grpc's stubs are generic where its classes are not

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Generic, Self

import grpc.aio
from google.protobuf.message import Message

from reapi.core.errors import ReapiError, Unavailable

from .methods import Reply, Request


class BidirectionalCall(Generic[Request, Reply]):
    """A stream in both directions. One task may send while another iterates over the replies."""

    def __init__(self, call: Any, error_of_call: Callable[[Any], ReapiError]) -> None:
        self._call = call
        self._error_of_call = error_of_call

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def send(self, request: Request) -> None:
        """Waits while the other side is slow to take it; raises when the call is over."""
        try:
            await self._call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            raise self._error_of_call(error) from error
        except asyncio.CancelledError:
            raise_if_abandoned()
            raise
        if not await send_unless_over(self._call, request):
            raise Unavailable("the other side has ended the stream")

    async def done_sending(self) -> None:
        """Says that no more requests come; replies may."""
        await finish_sending(self._call)

    async def __aiter__(self) -> AsyncIterator[Reply]:
        try:
            async for reply in self._call:
                yield reply
        except grpc.aio.AioRpcError as error:
            raise self._error_of_call(error) from error
        except asyncio.CancelledError:
            raise_if_abandoned()
            raise


def raise_if_abandoned() -> None:
    """Call it when a call was cancelled: perhaps not by its caller's own cancellation."""
    task = asyncio.current_task()
    if task is not None and not task.cancelling():
        raise Unavailable("another server does the work of this one now") from None


async def send_unless_over(call: Any, request: Message | bytes) -> bool:
    """Sends a message of a grpc.aio stream; False when the call is over, whose status says why.

    grpc.aio's own `write` overwrites that status with INTERNAL when the call ends while it waits,
    which is how an upload of a blob that is there already ends (Q-EARLY).
    """
    if call.done():
        return False
    message = request if isinstance(request, bytes) else request.SerializeToString()
    try:
        await call._cython_call.send_serialized_message(message)
    except grpc.aio.InternalError:
        return False
    return True


async def finish_sending(call: Any) -> None:
    """Says on a grpc.aio stream that no more messages come, unless the call is over.

    What has ended it is known to grpc's threads before it is to `done`, which grpc.aio asks.
    """
    with suppress(grpc.aio.InternalError):
        await call.done_writing()


async def send_each(call: Any, requests: AsyncIterator[bytes]) -> None:
    """Sends what a relayed call sends; the status of the call says what becomes of it."""
    try:
        await call.wait_for_connection()
        async for request in requests:
            if not await send_unless_over(call, request):
                return
        await finish_sending(call)
    except grpc.aio.AioRpcError:
        return
    except Exception:
        call.cancel()
        raise
