"""One object that is read from the bucket."""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Self

import obstore
from obstore.store import S3Store

from reapi.core.digest import Hasher

from .hashed import hashed
from .interface import CHUNK_BYTES, NoObject
from .s3_errors import S3_ERRORS
from .s3_requests import Requests

if TYPE_CHECKING:  # these exist for type checkers only
    from obstore import BytesStream, GetOptions, GetResult

_STREAM_BYTES = CHUNK_BYTES // 4
"""obstore's chunks are at least so large, and seldom twice that. Four are in memory at once, as
bytes, copies and messages; larger ones are not read any faster."""

_WHOLE_BYTES = CHUNK_BYTES
"""What is no longer than this comes in one piece: if it is damaged, nobody gets a byte of it."""

_RESUMPTIONS = 3
"""In a row, without a byte between them."""


class S3Reader:
    """An ObjectReader of an answer that has begun.

    While a chunk is used the next one is hashed and the one behind it received; no more than that
    is asked for. An answer that breaks off is continued by another request for the same version of
    the object.
    """

    def __init__(
        self,
        store: S3Store,
        key: str,
        offset: int,
        end: int,
        *,
        requests: Requests,
        threads: Executor,
    ) -> None:
        self._store = store
        self._key = key
        self._position = offset
        self._end = end
        self._requests = requests
        self._threads = threads
        self._answer: obstore.GetResult

    async def open(self) -> Self:
        """Raises NoObject or Unavailable."""
        self._answer = await self._ask(None)
        meta = self._answer.meta
        self._stamp = (meta["e_tag"], meta["size"], meta["last_modified"])
        return self

    @property
    def stamp(self) -> Hashable:
        """See ObjectReader."""
        return self._stamp

    def chunks(self, hasher: Hasher | None) -> AsyncGenerator[bytes, None]:
        """See ObjectReader."""
        chunks = self._chunks()
        return chunks if hasher is None else hashed(chunks, hasher, self._threads)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        failures = 0
        stream = self._stream(self._answer)
        coming = asyncio.ensure_future(stream.__anext__())
        try:
            while True:
                try:
                    received = await coming
                except StopAsyncIteration:
                    return
                except S3_ERRORS as error:
                    failures += 1
                    if failures > _RESUMPTIONS:
                        self._requests.fail("read an object", error)
                    try:
                        answer = await self._ask(self._answer.meta["e_tag"])
                    except NoObject:
                        return  # deleted or changed meanwhile
                    self._requests.metrics.resumed_reads.inc()
                    stream = self._stream(answer)
                    coming = asyncio.ensure_future(stream.__anext__())
                    continue
                failures = 0
                self._position += len(received)
                is_last = self._position >= self._end
                if not is_last:
                    coming = asyncio.ensure_future(stream.__anext__())
                for start in range(0, len(received), CHUNK_BYTES):
                    yield received[start : start + CHUNK_BYTES]
                if is_last:
                    return
        finally:
            _abandon(coming)

    def _stream(self, answer: "GetResult") -> "BytesStream":
        left = self._end - self._position
        return answer.stream(_WHOLE_BYTES if left <= _WHOLE_BYTES else _STREAM_BYTES)

    async def _ask(self, e_tag: str | None) -> "GetResult":
        options: GetOptions = {"range": (self._position, self._end)}
        if e_tag is not None:
            options["if_match"] = e_tag
        return await self._requests.run(
            "read an object", lambda: obstore.get_async(self._store, self._key, options=options)
        )


def _abandon(future: "asyncio.Future[bytes]") -> None:
    """Whether it goes well or not: nobody wants to know any more."""
    if not future.cancel() and not future.cancelled():
        future.exception()
