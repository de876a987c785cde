"""The multipart upload of one object, from a spool that is being filled."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Self

import obstore
from obstore.store import S3Store

from .s3_errors import S3_ERRORS
from .s3_requests import PART_BYTES, Requests
from .s3_spool import Spool

if TYPE_CHECKING:  # exists for type checkers only
    from obstore import PutResult

SPOOL_BYTES = 2 * PART_BYTES
"""One part is read for its upload while the next is received."""

_PARTS_AT_ONCE = 3


class _Discarded(Exception):
    """Nobody wants the object any more."""


class MultipartUpload:
    """Uploads parts while later bytes arrive, and waits for `complete` or `discard` at the end.

    obstore iterates over it: each item is one part. An item that raises makes obstore abort the
    upload; cancelling its future would leave the upload in the bucket for ever, so nobody does.
    An upload that waits for bytes holds no memory: a part is read only when it is whole.
    """

    def __init__(self, store: S3Store, key: str, spool: Spool, requests: Requests) -> None:
        self._spool = spool
        self._requests = requests
        self._received = 0
        self._taken = 0
        self._is_whole = False
        self._is_discarded = False
        self._changed = asyncio.Event()
        self._ended = asyncio.ensure_future(
            obstore.put_async(
                store,
                key,
                self,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )
        )
        self._ended.add_done_callback(self._end)

    async def room(self) -> int:
        """Waits until the spool has room, and says how much.

        Raises Unavailable or ResourceExhausted when the upload has failed.
        """
        await self._until(lambda: self._ended.done() or self._free() > 0)
        if self._ended.done():
            self._raise_failure()
        return self._free()

    def received(self, size_bytes: int) -> None:
        """So many more bytes are in the spool."""
        self._received += size_bytes
        self._changed.set()

    async def complete(self) -> None:
        """All bytes are in the spool: the object is whole and visible on return."""
        self._is_whole = True
        self._changed.set()
        await asyncio.wait((self._ended,))
        self._raise_failure()

    async def discard(self) -> None:
        """The object will not be seen; waits until the bucket has forgotten its parts.

        If it does not, for it cannot be reached, the janitor will (s3_janitor.py).
        """
        self._is_discarded = True
        self._changed.set()
        await asyncio.wait((self._ended,))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        """The next part. Called by obstore, one call at a time."""
        await self._until(
            lambda: self._is_discarded or self._is_whole or self._waiting() >= PART_BYTES
        )
        if self._is_discarded:
            raise _Discarded
        size = min(self._waiting(), PART_BYTES)
        if size == 0:
            raise StopAsyncIteration
        part = await self._requests.part(size, partial(self._spool.read, self._taken))
        self._taken += size
        self._changed.set()
        return part

    def _waiting(self) -> int:
        return self._received - self._taken

    def _free(self) -> int:
        return SPOOL_BYTES - self._waiting()

    def _raise_failure(self) -> None:
        try:
            self._ended.result()
        except S3_ERRORS as error:
            self._requests.fail("store an object", error)

    def _end(self, ended: "asyncio.Future[PutResult]") -> None:
        if not ended.cancelled():
            ended.exception()  # those who wait look at it; without them it is of no interest
        self._changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()
