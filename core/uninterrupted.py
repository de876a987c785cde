"""Work that must come to its end even when whoever waits for it is cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def uninterrupted(work: Awaitable[T], on_cancel: Callable[[], object] = lambda: None) -> T:
    """Waits for the end of `work` in any case; a cancellation goes on only then.

    `on_cancel` is called at the first one, to make the end come soon. What `work` raises after a
    cancellation is not raised.
    """
    future = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            if cancellation is None:
                cancellation = error
                on_cancel()
    if cancellation is None:
        return future.result()
    if not future.cancelled():
        future.exception()
    raise cancellation
