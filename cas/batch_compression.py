"""zstd in batches: entries that come compressed, and answers that are smaller so (CAS7, CAS10)."""

import asyncio
from collections.abc import Mapping

from reapi.core.compression import compress_blob, decompress_blob
from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Compressor

from .capabilities_service import MAX_BATCH_TOTAL_SIZE_BYTES
from .zstd_stream import INLINE_BYTES

_WORTH_BYTES = 100
"""Blobs below this are answered as they are."""


class BatchDecompressor:
    """Decompresses the entries of one batch, which together stay below the announced limit."""

    def __init__(self) -> None:
        self._left_bytes = MAX_BATCH_TOTAL_SIZE_BYTES

    async def plain(self, data: bytes, compressor: int, digest: Digest) -> bytes:
        """The plain bytes of an entry, of the digest's size.

        Raises InvalidArgument when they cannot be had (CAS6, CAS7).
        """
        if compressor != Compressor.ZSTD:
            raise InvalidArgument(f"compressor {_name(compressor)} is not served; it serves ZSTD")
        if digest.size_bytes > self._left_bytes:
            raise InvalidArgument(
                f"more than the {MAX_BATCH_TOTAL_SIZE_BYTES} bytes of max_batch_total_size_bytes "
                "once decompressed: write large blobs by ByteStream"
            )
        self._left_bytes -= digest.size_bytes
        if max(len(data), digest.size_bytes) <= INLINE_BYTES:
            return decompress_blob(data, digest.size_bytes)
        return await asyncio.to_thread(decompress_blob, data, digest.size_bytes)


async def compressed_where_smaller(blobs: Mapping[Digest, bytes]) -> dict[Digest, bytes]:
    """The zstd frames of those blobs of which they are shorter."""
    if sum(map(len, blobs.values())) <= INLINE_BYTES:
        return _compress(blobs)
    return await asyncio.to_thread(_compress, blobs)


def _compress(blobs: Mapping[Digest, bytes]) -> dict[Digest, bytes]:
    frames = {}
    for digest, data in blobs.items():
        if len(data) >= _WORTH_BYTES:
            frame = compress_blob(data)
            if len(frame) < len(data):
                frames[digest] = frame
    return frames


def _name(number: int) -> str:
    names = {value: name for name, value in Compressor.Value.items()}
    return names.get(number, str(number))
