"""Readers of compressed objects (compressed.py): of the plain bytes, and of the frame as it lies.

A damaged frame ends both early, and not all of the blob is hashed then.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable
from concurrent.futures import Executor
from contextlib import aclosing
from typing import TypeVar

from reapi.core.compression import ZstdDecompressor
from reapi.core.digest import Hasher
from reapi.core.errors import InvalidArgument

from .interface import ObjectReader

_Result = TypeVar("_Result")


class PlainReader:
    """An ObjectReader of the blob of `size_bytes` in `frame`, from `offset` to `end`."""

    def __init__(
        self, frame: ObjectReader, threads: Executor, size_bytes: int, offset: int, end: int
    ) -> None:
        self._frame = frame
        self._threads = threads
        self._size_bytes = size_bytes
        self._offset = offset
        self._end = min(end, size_bytes)

    @property
    def stamp(self) -> Hashable:
        return self._frame.stamp

    async def chunks(self, hasher: Hasher | None) -> AsyncGenerator[bytes, None]:
        """See ObjectReader."""
        wanted = _Wanted(self._size_bytes, self._offset, self._end, hasher)
        async with aclosing(self._frame.chunks(None)) as stored:
            async for chunk in stored:
                wanted.feed(chunk)
                while plain := await _run(self._threads, wanted.read):
                    yield plain
                if wanted.is_over:
                    return


class _Wanted:
    """The part that is wanted of a blob that is decompressed from its start."""

    def __init__(self, size_bytes: int, offset: int, end: int, hasher: Hasher | None) -> None:
        self._decompressor = ZstdDecompressor(size_bytes)
        self._position = 0
        self._offset = offset
        self._end = end
        self._hasher = hasher
        self.is_over = False

    def feed(self, chunk: bytes) -> None:
        self._decompressor.feed(chunk)

    def read(self) -> bytes:
        """The next wanted bytes, hashed; none when it is over or more of the frame is needed."""
        wanted = b""
        try:
            while not wanted and not self.is_over and (piece := self._decompressor.read()):
                start = max(self._offset - self._position, 0)
                wanted = piece[start : self._end - self._position]
                self._position += len(piece)
                self.is_over = self._position >= self._end
        except InvalidArgument:
            self.is_over = True
        if self._hasher is not None:
            self._hasher.update(wanted)
        return wanted


class FrameReader:
    """An ObjectReader of `frame` itself; it is the blob within that is hashed."""

    def __init__(self, frame: ObjectReader, threads: Executor, size_bytes: int) -> None:
        self._frame = frame
        self._threads = threads
        self._size_bytes = size_bytes

    @property
    def stamp(self) -> Hashable:
        return self._frame.stamp

    def chunks(self, hasher: Hasher | None) -> AsyncGenerator[bytes, None]:
        """See ObjectReader, and CompressedObjects.open_compressed for when what is hashed."""
        return self._frame.chunks(None) if hasher is None else self._checked(hasher)

    async def _checked(self, hasher: Hasher) -> AsyncGenerator[bytes, None]:
        content = _Content(self._size_bytes, hasher)
        held = b""
        try:
            async with aclosing(self._frame.chunks(None)) as stored:
                async for chunk in stored:
                    content.feed(chunk)
                    await _run(self._threads, content.take)
                    if held:
                        yield held
                    held = chunk
            content.finish()
        except InvalidArgument:
            return
        if held:
            yield held


class _Content:
    """Hashes the blob in a frame, the last piece of it only when the frame is whole."""

    def __init__(self, size_bytes: int, hasher: Hasher) -> None:
        self._decompressor = ZstdDecompressor(size_bytes)
        self._hasher = hasher
        self._last_piece = b""

    def feed(self, chunk: bytes) -> None:
        self._decompressor.feed(chunk)

    def take(self) -> None:
        while piece := self._decompressor.read():
            self._hasher.update(self._last_piece)
            self._last_piece = piece

    def finish(self) -> None:
        self._decompressor.finish()
        self._hasher.update(self._last_piece)


async def _run(threads: Executor, work: Callable[[], _Result]) -> _Result:
    return await asyncio.get_running_loop().run_in_executor(threads, work)
