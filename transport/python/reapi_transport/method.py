"""One row of a method table."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .call import Call

UnaryHandler = Callable[[Any, Call], Awaitable[Any]]
StreamHandler = Callable[[Any, Call], AsyncGenerator[Any, None]]

Requests = AsyncIterator[Any]
"""What the handler of a method that streams requests takes. Read by one task at a time."""


def _as_it_is(message: bytes) -> bytes:
    return message


@dataclass(frozen=True, slots=True)
class Method:
    """What a path stands for.

    `handler` takes the request, or an async iterator of requests when `streams_requests`, and a
    Call. It is a coroutine function that returns the reply, or an async generator of replies when
    `streams_replies`; the generator is closed at once when its call ends. It ends the call by
    raising Status. Any other exception is logged and becomes UNKNOWN without its text.

    `parse` and `serialize` turn messages from bytes and into bytes; they may raise Status too.

    `starts_at_once` runs the handler of a unary method up to its first suspension as soon as the
    request has come, and makes a Task of it only if it suspends. That saves most of a call's cost,
    and gives up three things: up to then `asyncio.current_task()` is None, so `asyncio.timeout` and
    TaskGroup cannot be used; the call can be neither cancelled nor expire; and other work of
    the event loop waits as long as the handler runs.
    """

    path: str
    streams_requests: bool
    streams_replies: bool
    handler: UnaryHandler | StreamHandler
    parse: Callable[[bytes], Any] = _as_it_is
    serialize: Callable[[Any], bytes] = _as_it_is
    starts_at_once: bool = False

    def __post_init__(self) -> None:
        if self.starts_at_once and (self.streams_requests or self.streams_replies):
            raise ValueError(f"{self.path} streams, so it cannot start at once")
