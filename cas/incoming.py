"""A blob while its bytes arrive: hashed and written once, and nothing to be seen of it before."""

import asyncio
from asyncio import Future
from collections.abc import Hashable

from reapi.core.digest import Digest, Hasher
from reapi.core.errors import InvalidArgument

from .objects.hashed import Unhashed
from .objects.interface import ObjectWriter

_HOP_BYTES = 256 << 10
"""So much is worth a trip to a thread; smaller chunks wait for company."""


def wrong_bytes(digest: Digest) -> InvalidArgument:
    """The error for a blob that is not what its name says (BS15)."""
    return InvalidArgument(f"the bytes do not hash to {digest}: did the file change meanwhile?")


def too_many_bytes(digest: Digest) -> InvalidArgument:
    """The error for more bytes than a blob has."""
    return InvalidArgument(f"more than the {digest.size_bytes} bytes of {digest}")


def too_few_bytes(digest: Digest, received_bytes: int) -> InvalidArgument:
    """The error for a blob that ended early."""
    return InvalidArgument(f"{received_bytes} bytes came of the {digest.size_bytes} of {digest}")


class IncomingBlob:
    """Collects the chunks of one blob, in memory if there is no writer, else for an object.

    Chunks are taken before the earlier ones are written: a caller receives the next while others
    hash and write. A cancelled call loses no byte that was taken. `owner` is the instance that the
    bytes count for; with `is_verified` somebody else has hashed them.
    """

    def __init__(
        self,
        digest: Digest,
        owner: str,
        writer: ObjectWriter | None,
        *,
        is_verified: bool = False,
    ) -> None:
        self.digest = digest
        self.owner = owner
        self.writer = writer
        self.received_bytes = 0
        self._is_verified = is_verified
        self._hasher: Hasher = Unhashed() if is_verified else digest.function.new()
        self._chunks: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._work: Future[None] | None = None

    async def append(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes; InvalidArgument as soon as there are too many."""
        if self.received_bytes + len(chunk) > self.digest.size_bytes:
            raise too_many_bytes(self.digest)
        self._chunks.append(chunk)
        self.received_bytes += len(chunk)
        self._waiting_bytes += len(chunk)
        if self.writer is not None and self._waiting_bytes >= _HOP_BYTES:
            await self._start_work()

    async def finish(self) -> bytes | None:
        """Verifies the blob: its bytes, or None when the writer has them and may publish.

        Raises InvalidArgument when the bytes are not those of the digest.
        """
        if self.received_bytes != self.digest.size_bytes:
            raise too_few_bytes(self.digest, self.received_bytes)
        if self.writer is None:
            data = b"".join(self._chunks)
            self._hasher.update(data)
        else:
            await self._start_work()
            await self._end_work()
            data = None
        if not self._is_verified and self._hasher.hexdigest() != self.digest.hash:
            raise wrong_bytes(self.digest)
        return data

    async def publish(self) -> tuple[str, Hashable | None]:
        """The suffix of the object, which is there now, and its stamp, if that is known."""
        assert self.writer is not None
        stamp = await self.writer.publish()
        return self.writer.suffix, stamp

    async def discard(self) -> None:
        """Leaves nothing behind of what was not published; waits for the work under way."""
        self._chunks.clear()
        if self._work is not None:
            await asyncio.wait((self._work,))
            if not self._work.cancelled():
                self._work.exception()  # whoever had to know it was told
        if self.writer is not None:
            await self.writer.discard()

    async def _start_work(self) -> None:
        assert self.writer is not None
        await self._end_work()
        chunks, self._chunks = self._chunks, []
        self._waiting_bytes = 0
        self._work = asyncio.ensure_future(self.writer.write(chunks, self._hasher))

    async def _end_work(self) -> None:
        """Waits without cancelling: bytes that were taken count already."""
        while self._work is not None:
            work = self._work
            await asyncio.wait((work,))
            if self._work is work:
                work.result()
                self._work = None
