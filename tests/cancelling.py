"""Calls that are cancelled at every point in turn."""

import asyncio
from collections.abc import Coroutine
from typing import Any

STEPS = 40
"""Turns of the event loop in which a call does all that it does, or begins to, over a network."""


async def cancel_after(steps: int, call: Coroutine[Any, Any, object]) -> None:
    """Cancels `call` after so many turns of the event loop, and waits for its end."""
    task = asyncio.create_task(call)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
