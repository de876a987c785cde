"""Lets tasks wait until something has happened in the core; costs nothing while none does."""

import asyncio


class Changes:
    """Counts events. Any number of tasks may wait; all are woken by the next one."""

    def __init__(self) -> None:
        self.count = 0
        self._next: asyncio.Future[None] | None = None

    def tell(self) -> None:
        """An event was handled."""
        self.count += 1
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def after(self, count: int) -> None:
        """Returns when the count is higher than that, at once if it is already."""
        if self.count > count:
            return
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        # One that stops waiting must not stop the others.
        await asyncio.shield(self._next)
