"""Bounds the time that goes into what is good to know and not needed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Allowance:
    """A share of the time, of which some may be saved up.

    Whoever finds some left may spend as long as it takes; a debt is paid back before the next.
    """

    def __init__(
        self,
        share: float,
        *,
        most_seconds: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._share = share
        self._most_seconds = most_seconds
        self._clock = clock
        self._left = most_seconds
        self._at = clock()

    @property
    def is_left(self) -> bool:
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._share, self._most_seconds)
        self._at = now
        return self._left > 0

    @contextmanager
    def spending(self) -> Iterator[None]:
        """What the block takes is taken off."""
        started = self._clock()
        try:
            yield
        finally:
            self._left -= self._clock() - started
