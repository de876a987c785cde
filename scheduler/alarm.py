"""One timer of the event loop that follows the core's next deadline."""

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` when the moment has come that was set last."""

    def __init__(self, ring: Callable[[], object]) -> None:
        self._ring = ring
        self._at: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: int | None, now: int) -> None:
        """Microseconds on the core's clock; None means never."""
        if at == self._at:
            return
        self.cancel()
        self._at = at
        if at is not None:
            delay_seconds = max(0, at - now) / 1_000_000
            self._timer = asyncio.get_running_loop().call_later(delay_seconds, self._on_time)

    def cancel(self) -> None:
        self._at = None
        if self._timer is not None:
            self._timer.cancel()

    def _on_time(self) -> None:
        self._at = None
        self._ring()
