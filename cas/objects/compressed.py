"""Objects compressed at rest: an ObjectStore over another one, blob by blob where it saves.

A compressed object is one zstd frame and has a name that ends in `.zst`; all others lie as they
are. Damaged frames read as objects that are too short, so that their digest turns out wrong.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from reapi.core.compression import AT_REST, ZstdCompressor, longest_frame_bytes
from reapi.core.digest import Digest, Hasher

from .compressed_reader import FrameReader, PlainReader
from .hashed import Unhashed
from .interface import ObjectInfo, ObjectReader, ObjectStore, ObjectWriter
from .names import parse_object_name

ENDING = ".zst"

SAMPLE_BYTES = 256 << 10
"""From so much of a blob, or all of a smaller one, it is decided whether compression saves."""

_WORTH_RATIO = 0.9

_Result = TypeVar("_Result")


class CompressedObjects:
    """An ObjectStore. Reads what either setting of `compresses` has written."""

    def __init__(self, inner: ObjectStore, threads: Executor, *, compresses: bool = True) -> None:
        self._inner = inner
        self._threads = threads
        self._compresses = compresses

    async def create(self, digest: Digest, ending: str = "") -> ObjectWriter:
        """See ObjectStore. What somebody has encoded already is stored as it is."""
        if not self._compresses or ending:
            return await self._inner.create(digest, ending)
        return _Writer(self._inner, self._threads, digest)

    async def open(self, name: str, offset: int, end: int) -> ObjectReader:
        """See ObjectStore. A compressed object is read from its start, wherever `offset` is."""
        size_bytes = _plain_size(name)
        if size_bytes is None:
            return await self._inner.open(name, offset, end)
        frame = await self._inner.open(name, 0, longest_frame_bytes(size_bytes))
        return PlainReader(frame, self._threads, size_bytes, offset, end)

    async def open_compressed(self, name: str) -> ObjectReader | None:
        """The stored frame of a whole blob, whose plain bytes are fed to the hasher; None if the
        object is not compressed.

        All of the blob is fed before the last chunk of the frame is yielded, and never if the frame
        is damaged anywhere: a caller that holds back one chunk knows in time. Without a hasher the
        frame is not looked into. Raises as `open` does.
        """
        size_bytes = _plain_size(name)
        if size_bytes is None:
            return None
        frame = await self._inner.open(name, 0, longest_frame_bytes(size_bytes))
        return FrameReader(frame, self._threads, size_bytes)

    async def delete(self, names: Sequence[str]) -> None:
        """See ObjectStore."""
        await self._inner.delete(names)

    async def quarantine(self, name: str) -> None:
        """See ObjectStore."""
        await self._inner.quarantine(name)

    def list(self) -> AsyncIterator[Sequence[ObjectInfo]]:
        """See ObjectStore."""
        return self._inner.list()

    async def check(self) -> None:
        """See ObjectStore."""
        await self._inner.check()


def _plain_size(name: str) -> int | None:
    """The size of the blob in a compressed object; None for all other names."""
    parsed = parse_object_name(name) if name.endswith(ENDING) else None
    return None if parsed is None else parsed[0].size_bytes


class _Writer:
    """Keeps the sample in memory, then begins an object of the form that suits it."""

    def __init__(self, store: ObjectStore, threads: Executor, digest: Digest) -> None:
        self._store = store
        self._threads = threads
        self._digest = digest
        self._sample: list[bytes | memoryview] = []
        self._sample_bytes = 0
        self._inner: ObjectWriter | None = None
        self._compressor: ZstdCompressor | None = None

    @property
    def suffix(self) -> str:
        return "" if self._inner is None else self._inner.suffix

    async def write(self, chunks: Sequence[bytes | memoryview], hasher: Hasher) -> None:
        if self._inner is None:
            await self._run(lambda: _hashed(chunks, hasher))
            self._sample += chunks
            self._sample_bytes += sum(map(len, chunks))
            if self._sample_bytes >= SAMPLE_BYTES:
                await self._begin()
        elif self._compressor is None:
            await self._inner.write(chunks, hasher)
        else:
            compress = self._compressor.compress

            def work() -> bytes:
                return b"".join([compress(chunk) for chunk in _hashed(chunks, hasher)])

            await self._write_frame(await self._run(work))

    async def publish(self) -> None:
        if self._inner is None:
            await self._begin()
        assert self._inner is not None
        if self._compressor is not None:
            await self._write_frame(await self._run(self._compressor.finish))
        await self._inner.publish()

    async def discard(self) -> None:
        self._sample.clear()
        if self._inner is not None:
            await self._inner.discard()

    async def _begin(self) -> None:
        sample, self._sample = self._sample, []
        compressor = ZstdCompressor(self._digest.size_bytes, AT_REST)

        def work() -> bytes:
            parts = [compressor.compress(chunk) for chunk in sample]
            return b"".join(parts) + compressor.flush()

        frame = await self._run(work)
        if len(frame) > _WORTH_RATIO * self._sample_bytes:
            self._inner = await self._store.create(self._digest)
            await self._inner.write(sample, Unhashed())
        else:
            self._inner = await self._store.create(self._digest, ENDING)
            self._compressor = compressor
            await self._write_frame(frame)

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _write_frame(self, part: bytes) -> None:
        assert self._inner is not None
        if part:
            await self._inner.write([part], Unhashed())


def _hashed(chunks: Sequence[bytes | memoryview], hasher: Hasher) -> Sequence[bytes | memoryview]:
    for chunk in chunks:
        hasher.update(chunk)
    return chunks
