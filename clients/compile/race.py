"""A compile on both sides at once: the first to make the object wins, and the other is ended."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from .made import Made
from .model import Finished, Local

Result = Made | Finished | Local


async def race(
    there: Coroutine[Any, Any, Result], here: Coroutine[Any, Any, Result]
) -> tuple[Result, bool]:
    """What came of the compile, and whether that was made here; both have ended then.

    What is made there wins only as an object: what a compiler has against a source it says here.
    Raises what `there` raises if both fail. Cancelling ends both.
    """
    remote, local = asyncio.create_task(there), asyncio.create_task(here)
    try:
        await asyncio.wait((remote, local), return_when=asyncio.FIRST_COMPLETED)
        if local.done() and not _has_ended(local):
            await asyncio.wait((remote,))
        elif not local.done() and not isinstance(_result_of(remote), Made):
            await asyncio.wait((local,))
    finally:
        remote.cancel()
        local.cancel()
        await asyncio.gather(remote, local, return_exceptions=True)
    return (local.result(), True) if _has_ended(local) else (remote.result(), False)


def _has_ended(task: asyncio.Task[Result]) -> bool:
    """Whether it has a result, of whatever kind."""
    return not task.cancelled() and task.exception() is None


def _result_of(task: asyncio.Task[Result]) -> Result | None:
    return None if task.cancelled() or task.exception() is not None else task.result()
