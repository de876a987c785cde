"""zstd on ByteStream: blobs that leave or come as compressed streams (BS8, BS13, Z1, Z2)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from reapi.core.compression import PIECE_BYTES, ZstdCompressor, ZstdDecompressor
from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument

from .upload import UploadStream

INLINE_BYTES = 32 << 10
"""So much is compressed, or made of compressed bytes, faster than a thread could be asked."""


class CompressedSource(Protocol):
    """A store that may have kept blobs as zstd frames."""

    async def read_zstd(self, digest: Digest) -> AsyncIterator[bytes] | None:
        """The frames of the whole blob as they are stored, or None when there are none.

        What BlobStore.read says of errors holds: NotFound before the first chunk and never after
        it, DataLoss instead of the last chunk when the bytes within do not hash to the digest.
        """


class ZstdUpload:
    """Passes the plain bytes of one zstd stream on to an upload, whose present end it begins at.

    The stream of an upload that is resumed is a fresh one, of the bytes that are not here yet.
    """

    def __init__(self, upload: UploadStream, digest: Digest) -> None:
        self._upload = upload
        self._decompressor = ZstdDecompressor(digest.size_bytes - upload.received_bytes)

    async def append(self, data: bytes | memoryview) -> bool:
        """As UploadStream.append, for compressed bytes; a damaged stream ends the upload too."""
        self._decompressor.feed(data)
        is_small = len(data) <= INLINE_BYTES
        while piece := await self._next_piece(is_small):
            if not await self._upload.append(piece):
                return False
            is_small = is_small and len(piece) < INLINE_BYTES
        return True

    async def complete(self) -> None:
        """As UploadStream.complete, once the stream is known to be whole."""
        try:
            self._decompressor.finish()
        except InvalidArgument:
            self._upload.is_over = True
            raise
        await self._upload.complete()

    async def _next_piece(self, is_small: bool) -> bytes:
        try:
            if is_small:
                return self._decompressor.read(INLINE_BYTES)
            return await asyncio.to_thread(self._decompressor.read, PIECE_BYTES)
        except InvalidArgument:
            self._upload.is_over = True
            raise


async def zstd_chunks(chunks: AsyncIterator[bytes], size_bytes: int) -> AsyncGenerator[bytes, None]:
    """One zstd frame of `chunks`, which hold `size_bytes` together; nothing before the first."""
    compressor = ZstdCompressor(size_bytes)
    async for chunk in chunks:
        if len(chunk) <= INLINE_BYTES:
            compressed = compressor.compress(chunk)
        else:
            compressed = await asyncio.to_thread(compressor.compress, chunk)
        if compressed:
            yield compressed
    yield compressor.finish()
