"""The time that the core is told: it never goes back, and steps of the wall clock do not move it.

A wall clock that is set forward by an hour would otherwise lose every worker at once.
"""

import time


class Clock:
    """Microseconds since the epoch as of its making, counted on monotonically."""

    def __init__(self, *, not_before: int) -> None:
        """`not_before` is the last time in the journal."""
        start = max(time.time_ns() // 1000, not_before)
        self._offset = start - time.monotonic_ns() // 1000

    def now(self) -> int:
        return self._offset + time.monotonic_ns() // 1000
