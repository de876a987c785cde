"""For handlers that a transport starts at once, outside of any task (Method.starts_at_once)."""

import asyncio


async def in_task() -> None:
    """Returns inside a task: for what needs one, such as asyncio.timeout.

    A handler that was started at once goes on in the next turn of the event loop.
    """
    if asyncio.current_task() is None:
        await asyncio.sleep(0)
