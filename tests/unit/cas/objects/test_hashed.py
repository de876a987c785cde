"""Hashing ahead of those who use what is read."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from reapi.cas.objects.hashed import hashed

SIZES = (1 << 20, 100, 1 << 17, 1 << 20, 1)
CHUNKS = [bytes((number,)) * size for number, size in enumerate(SIZES)]


class RecordingHasher:
    """Knows what it was fed, and says when that is so much."""

    def __init__(self, awaited: int = 0) -> None:
        self.fed: list[bytes | bytearray | memoryview] = []
        self.has_awaited = threading.Event()
        self._awaited = awaited

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self.fed.append(data)
        if len(self.fed) == self._awaited:
            self.has_awaited.set()

    def digest(self) -> bytes:
        raise AssertionError("nobody asks here")

    def hexdigest(self) -> str:
        raise AssertionError("nobody asks here")


class Source:
    """Chunks, and whether they were closed."""

    def __init__(self) -> None:
        self.is_closed = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for chunk in CHUNKS:
                yield chunk
        finally:
            self.is_closed = True


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def test_all_chunks_come_in_order_and_each_was_fed_before(
    threads: ThreadPoolExecutor,
) -> None:
    hasher = RecordingHasher()
    seen = []
    async for chunk in hashed(Source().chunks(), hasher, threads):
        seen.append(chunk)
        assert hasher.fed[: len(seen)] == seen
    assert seen == hasher.fed == CHUNKS


async def test_the_next_chunk_is_hashed_while_one_is_used(threads: ThreadPoolExecutor) -> None:
    hasher = RecordingHasher(awaited=4)
    chunks = hashed(Source().chunks(), hasher, threads)
    for _ in range(3):
        await anext(chunks)
    assert await asyncio.to_thread(hasher.has_awaited.wait, 30)
    await chunks.aclose()


async def test_no_more_than_one_chunk_is_hashed_ahead(threads: ThreadPoolExecutor) -> None:
    hasher = RecordingHasher()
    chunks = hashed(Source().chunks(), hasher, threads)
    await anext(chunks)
    threads.shutdown()
    assert hasher.fed == CHUNKS[:2]
    await chunks.aclose()


async def test_closing_early_closes_the_source(threads: ThreadPoolExecutor) -> None:
    source = Source()
    chunks = hashed(source.chunks(), RecordingHasher(), threads)
    await anext(chunks)
    await chunks.aclose()
    assert source.is_closed


async def test_a_source_that_fails_keeps_back_what_was_not_used_yet(
    threads: ThreadPoolExecutor,
) -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield CHUNKS[0]
        yield CHUNKS[1]
        raise OSError("the source is gone")

    chunks = hashed(failing(), RecordingHasher(), threads)
    assert await anext(chunks) == CHUNKS[0]
    with pytest.raises(OSError, match="gone"):
        await anext(chunks)
