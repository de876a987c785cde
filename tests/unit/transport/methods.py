"""Methods that many tests of the transport call."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from reapi_transport import Call, Method


async def echo(request: bytes, call: Call) -> bytes:
    return request


async def echo_each(requests: AsyncIterator[bytes], call: Call) -> AsyncGenerator[bytes, None]:
    async for request in requests:
        yield request


async def count(requests: AsyncIterator[bytes], call: Call) -> bytes:
    """How many requests of how many bytes."""
    sizes = [len(request) async for request in requests]
    return f"{len(sizes)} {sum(sizes)}".encode()


async def repeat(request: bytes, call: Call) -> AsyncGenerator[bytes, None]:
    """Ten times the request."""
    for _ in range(10):
        yield request


ECHO = Method("/test/Echo", False, False, echo)
ECHO_AT_ONCE = Method("/test/EchoAtOnce", False, False, echo, starts_at_once=True)
ECHO_EACH = Method("/test/EchoEach", True, True, echo_each)
COUNT = Method("/test/Count", True, False, count)
REPEAT = Method("/test/Repeat", False, True, repeat)

ALL = (ECHO, ECHO_AT_ONCE, ECHO_EACH, COUNT, REPEAT)


class Endless:
    """A handler of each kind that waits for ever, and says how it ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def _wait(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def unary(self, request: bytes, call: Call) -> bytes:
        await self._wait()
        return b""

    async def stream(self, request: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        yield b"first"
        await self._wait()

    async def reading(self, requests: AsyncIterator[bytes], call: Call) -> bytes:
        self.began.set()
        try:
            async for _ in requests:
                pass
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    @property
    def methods(self) -> tuple[Method, ...]:
        return (
            Method("/endless/Unary", False, False, self.unary),
            Method("/endless/AtOnce", False, False, self.unary, starts_at_once=True),
            Method("/endless/Stream", False, True, self.stream),
            Method("/endless/Reading", True, False, self.reading),
        )
