"""One read of a whole blob from the slow tier, for all who want it at the same moment."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from itertools import islice
from typing import NoReturn

from reapi.core.errors import Unavailable

from .fills import Fill
from .reading import closing

WINDOW_BYTES = 2 << 20
"""What is in memory at most, and one chunk more."""

READ_AHEAD_BYTES = 1 << 20
"""Of which the fastest reader may have so much before it; the rest is for those behind it."""


class FellBehind(Unavailable):
    """This reader was too slow; the fetch is over, and its fill too: read the fast tier."""


class SharedFetch:
    """Reads as soon as it is made; ends when nobody reads any more, or the blob is whole.

    The fastest reader is waited for, and no other, so that one that stalls stalls nobody else. Who
    is behind by more than the window, or comes too late for it, waits until the blob is in the fast
    tier and reads on there; as soon as there is such a one, nobody is waited for any more.
    """

    def __init__(self, open_slow: Callable[[], AsyncIterator[bytes]], fill: Fill | None) -> None:
        self._open_slow = open_slow
        self._fill = fill
        self._window: deque[bytes] = deque()
        self._window_bytes = 0
        self._window_start = 0
        self._readers: set[_Reader] = set()
        self._fallen_behind = 0
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self.is_open = True
        """Whether it can be joined: also while the blob is whole and its fill is not."""
        self.is_whole = False
        """Whether all bytes came out of the slow tier."""
        self.task = asyncio.create_task(self._run())

    async def read(self) -> AsyncGenerator[bytes, None]:
        """All of the blob; raises what the slow tier raised, or FellBehind."""
        reader = _Reader()
        self._readers.add(reader)
        self._notify()
        try:
            while True:
                if reader.next < self._window_start:
                    await self._end_for(reader)
                if reader.next < self._window_start + len(self._window):
                    chunk = self._window[reader.next - self._window_start]
                    reader.next += 1
                    self._trim()
                    yield chunk
                elif self.is_whole:
                    return
                elif self._failure is not None:
                    raise self._failure
                else:
                    await self._changed.wait()
        finally:
            self._readers.discard(reader)
            self._notify()
            self._close_if_unwanted()

    async def _end_for(self, fallen: "_Reader") -> NoReturn:
        self._readers.discard(fallen)
        self._fallen_behind += 1
        self._notify()
        try:
            await asyncio.wait((self.task,))
        finally:
            self._fallen_behind -= 1
        raise self._failure or FellBehind("others were faster")

    def _close_if_unwanted(self) -> None:
        if not self._readers and not self._fallen_behind and not self.is_whole:
            self.close()

    def close(self) -> None:
        """Breaks off; readers that are left get Unavailable."""
        self.is_open = False
        self.task.cancel()

    async def _run(self) -> None:
        try:
            async with closing(self._open_slow()) as chunks:
                async for chunk in chunks:
                    self._add(chunk)
                    if self._fill is not None:
                        await self._fill.put(chunk)
                    await self._pace()
            self.is_whole = True
            self._notify()
            if self._fill is not None:
                self._fill.end()
                await asyncio.wait((self._fill.task,))
        except Exception as error:
            self._failure = error  # raised by every reader
        finally:
            self.is_open = False
            if not self.is_whole:
                self._failure = self._failure or Unavailable("the store is closing")
                if self._fill is not None:
                    self._fill.cancel()
            self._notify()

    def _add(self, chunk: bytes) -> None:
        self._window.append(chunk)
        self._window_bytes += len(chunk)
        self._trim()

    async def _pace(self) -> None:
        while self._is_paced() and self._unread_bytes() > READ_AHEAD_BYTES:
            await self._changed.wait()
        self._trim()

    def _is_paced(self) -> bool:
        return bool(self._readers) and not self._fallen_behind

    def _unread_bytes(self) -> int:
        fastest = max(reader.next for reader in self._readers)
        return sum(map(len, islice(self._window, max(0, fastest - self._window_start), None)))

    def _trim(self) -> None:
        """Drops the oldest chunks beyond the window, but none that the fastest reader needs."""
        end = self._window_start + len(self._window)
        needed = max(reader.next for reader in self._readers) if self._is_paced() else end
        while self._window_bytes > WINDOW_BYTES and self._window_start < needed:
            self._window_bytes -= len(self._window.popleft())
            self._window_start += 1
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class _Reader:
    """Where one reader is: the number of the chunk that it needs next."""

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next = 0
