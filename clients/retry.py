"""When a failed call is tried again: the one back-off of the client, for calls and streams."""

import asyncio
import logging
import random

from reapi.core.errors import Aborted, Cancelled, ReapiError, ResourceExhausted, Unavailable

logger = logging.getLogger(__name__)

_SAID_AFTER_FAILURES = 4
"""Fewer are passing ones, of no interest to anybody."""

_FIRST_DELAY_SECONDS = 0.05
_LONGEST_DELAY_SECONDS = 5.0


def is_retriable(error: ReapiError) -> bool:
    """Whether the same idempotent call may succeed later.

    A server that goes away resets its calls as CANCELLED: no service of the protocol answers so.
    A full server is asked again only when it says when (G5).
    """
    if isinstance(error, ResourceExhausted):
        return error.retry_after_seconds is not None
    return isinstance(error, Unavailable | Aborted | Cancelled)


class Retries:
    """The attempts at one call: exponential back-off with full jitter inside a time window.

    The window starts with the first failure, and again with the first one after `progressed`.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._give_up_at: float | None = None
        self._failures = 0

    def progressed(self) -> None:
        """The call came further than before its last failure, so patience starts anew."""
        self._give_up_at = None
        self._failures = 0

    async def wait(self, error: ReapiError) -> None:
        """Returns when it is time for the next attempt, or raises `error` when there is none."""
        now = asyncio.get_running_loop().time()
        if self._give_up_at is None:
            self._give_up_at = now + self._window_seconds
        limit = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0**self._failures)
        delay = random.uniform(0, limit)
        if isinstance(error, Unavailable | ResourceExhausted) and error.retry_after_seconds:
            delay += error.retry_after_seconds
        if not is_retriable(error) or now + delay > self._give_up_at:
            raise error
        self._failures += 1
        if self._failures == _SAID_AFTER_FAILURES:
            logger.info("trying again for %g s: %s", self._window_seconds, error.message)
        await asyncio.sleep(delay)
