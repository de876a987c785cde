"""Hashes what is read while earlier bytes are being used; or nothing, where that is not wanted."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import aclosing

from reapi.core.digest import Hasher

_INLINE_HASH_BYTES = 64 << 10
"""Hashing so much takes less time than the way to a thread and back."""


async def hashed(
    chunks: AsyncGenerator[bytes, None], hasher: Hasher, threads: Executor
) -> AsyncGenerator[bytes, None]:
    """The same chunks, each yielded once it was fed to `hasher`.

    A thread hashes the next one meanwhile, so `hasher` is ahead of what was yielded, but for the
    last chunk, and one chunk more is in memory.
    """
    loop = asyncio.get_running_loop()
    ready: bytes | None = None
    async with aclosing(chunks):
        async for chunk in chunks:
            if len(chunk) <= _INLINE_HASH_BYTES:
                hasher.update(chunk)
                if ready is not None:
                    yield ready
            else:
                hashing = loop.run_in_executor(threads, hasher.update, chunk)
                if ready is not None:
                    yield ready
                await hashing
            ready = chunk
    if ready is not None:
        yield ready


class Unhashed:
    """The hasher of bytes that were hashed already, or are not those of the blob."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        pass

    def digest(self) -> bytes:
        return b""

    def hexdigest(self) -> str:
        return ""
