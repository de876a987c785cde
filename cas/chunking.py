"""FastCDC 2020: cuts a blob where its content says so, so that similar blobs share chunks (CAP12).

The only file that knows pyfastcdc, whose cut points and gear values are those of the protocol's
test vectors for both of their seeds. It releases the interpreter's lock while it looks for a cut.
The level of normalization is 2, as the protocol says.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

from pyfastcdc import FastCDC


@dataclass(frozen=True, slots=True)
class FastCdcParameters:
    """What determines the cut points; `avg_size_bytes` is a power of two."""

    avg_size_bytes: int
    min_size_bytes: int
    max_size_bytes: int
    seed: int = 0


AVG_CHUNK_BYTES = 512 << 10
MIN_CHUNK_BYTES = AVG_CHUNK_BYTES // 4
"""Of all chunks but the last of a blob."""
MAX_CHUNK_BYTES = AVG_CHUNK_BYTES * 4

ANNOUNCED = FastCdcParameters(AVG_CHUNK_BYTES, MIN_CHUNK_BYTES, MAX_CHUNK_BYTES)
"""Those of GetCapabilities: clients that cut by them get the very chunks that are here."""


class Chunk(NamedTuple):
    """Part of a blob, `offset` bytes from its beginning."""

    offset: int
    data: bytes

    @property
    def length(self) -> int:
        """In bytes."""
        return len(self.data)


class ChunkCutter:
    """Cuts one blob that comes in pieces of any size. Not for several threads at once.

    Holds what is not cut yet: less than a largest chunk and the last piece.
    """

    def __init__(self, parameters: FastCdcParameters = ANNOUNCED) -> None:
        self._fastcdc = FastCDC(
            parameters.avg_size_bytes,
            min_size=parameters.min_size_bytes,
            max_size=parameters.max_size_bytes,
            normalized_chunking=2,
            seed=parameters.seed,
        )
        self._max_size_bytes = parameters.max_size_bytes
        self._uncut = bytearray()
        self._offset = 0

    @property
    def is_due(self) -> bool:
        """Whether there is enough for a chunk, whatever follows."""
        return len(self._uncut) >= self._max_size_bytes

    def add(self, piece: bytes) -> None:
        """Takes the next bytes."""
        self._uncut += piece

    def cut(self, *, is_end: bool = False) -> list[Chunk]:
        """The chunks that nothing which follows can change; all that are left at the end.

        Takes about 1 ms for each 2 MiB.
        """
        chunks = []
        start = 0
        least = 1 if is_end else self._max_size_bytes
        with memoryview(self._uncut) as view:
            while len(view) - start >= least:
                end = start + self._next_length(view, start)
                chunks.append(Chunk(self._offset + start, bytes(view[start:end])))
                start = end
        del self._uncut[:start]
        self._offset += start
        return chunks

    def _next_length(self, view: memoryview, start: int) -> int:
        window = view[start : start + self._max_size_bytes]
        return next(iter(self._fastcdc.cut_buf(window))).length


async def cut_chunks(
    pieces: AsyncIterator[bytes], parameters: FastCdcParameters = ANNOUNCED
) -> AsyncGenerator[list[Chunk], None]:
    """The chunks of a blob in order, a few at a time: together as long as the latest piece and a
    largest chunk at most. The work is done in threads.
    """
    cutter = ChunkCutter(parameters)
    async for piece in pieces:
        cutter.add(piece)
        if cutter.is_due:
            yield await asyncio.to_thread(cutter.cut)
    rest = await asyncio.to_thread(cutter.cut, is_end=True)
    if rest:
        yield rest
