"""SplitBlob: the chunks of a blob, so that a client fetches only those that it does not have."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

from reapi.core.digest import Digest, DigestFunction, digest_of, parse_digest
from reapi.core.errors import NotFound, ResourceExhausted
from reapi.core.instances import Instances
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ChunkingFunction,
    SplitBlobRequest,
)

from .chunk_records import ChunkRecords, check_chunking_function, most_chunks, response_of
from .chunking import MIN_CHUNK_BYTES, Chunk, cut_chunks
from .single_flight import SingleFlight

_MOST_AT_ONCE = 4
"""Blobs being cut: each takes some MiB of memory, and two cores cannot hash more any faster."""


class BlobSplitter:
    """Answers from the record of a blob, or cuts it now and stores its chunks (CAS16).

    Chunks are blobs like any other: those that several blobs have are stored once, and when one of
    them is evicted the blob stays, to be cut again (CAS19).

    A blob that may have more chunks than a response has room for, or for whose chunks there is no
    room in the store, has no split information: NotFound, on which clients read it as a whole.

    Chunks are on account of the instance that asks first; `blobs_for` gives the store for it.
    """

    def __init__(
        self,
        blobs: BlobStore,
        blobs_for: Callable[[str], BlobStore],
        records: ChunkRecords,
        instances: Instances,
    ) -> None:
        self._blobs = blobs
        self._blobs_for = blobs_for
        self._records = records
        self._instances = instances
        self._cutting = SingleFlight[Digest, bytes]()
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)

    async def split(self, request: SplitBlobRequest) -> bytes:
        """A serialized SplitBlobResponse. The blob and all chunks are present and stay for the
        retention time.

        The response says which function was used, which need not be the one asked for. Raises
        NotFound when the blob is absent, or is not split; DataLoss when it turns out to be damaged.
        """
        check_chunking_function(request.chunking_function)
        function = self._instances.parse_function(
            request.instance_name, request.digest_function, len(request.blob_digest.hash)
        )
        blob = parse_digest(request.blob_digest, function)
        record = await self._records.get(blob)
        missing = await self._blobs.find_missing([blob] if record is None else record.needed)
        if blob in missing:
            raise NotFound(f"blob {blob} is not here")
        if record is not None and not missing:
            return record.response
        if blob.size_bytes <= MIN_CHUNK_BYTES:
            chunks = [blob] if blob.size_bytes else []
            return response_of(chunks, ChunkingFunction.FAST_CDC_2020)
        if blob.size_bytes > largest_cut_bytes(function):
            raise NotFound(f"blob {blob} is too large to be split: read it as a whole")
        store = self._blobs_for(request.instance_name)
        return await self._cutting.run(blob, lambda: self._cut(blob, store))

    async def _cut(self, blob: Digest, store: BlobStore) -> bytes:
        chunks: list[Digest] = []
        async with self._slots, aclosing(cut_chunks(self._blobs.read(blob))) as cuts:
            async for some in cuts:
                chunks += await _store(some, blob, store)
        record = await self._records.put(blob, chunks, ChunkingFunction.FAST_CDC_2020)
        return record.response


async def _store(chunks: Sequence[Chunk], blob: Digest, store: BlobStore) -> list[Digest]:
    digests = await asyncio.to_thread(_digests_of, chunks, blob.function)
    contents = {digest: chunk.data for digest, chunk in zip(digests, chunks, strict=True)}
    for failure in (await store.write_many(contents)).values():
        if isinstance(failure, ResourceExhausted):
            raise NotFound(
                f"no room for the chunks of blob {blob}: read it as a whole"
            ) from failure
        raise failure
    return digests


def largest_cut_bytes(function: DigestFunction) -> int:
    """The size of a blob whose chunks surely fit into a response, be all of them the smallest."""
    return most_chunks(function) * MIN_CHUNK_BYTES


def _digests_of(chunks: Sequence[Chunk], function: DigestFunction) -> list[Digest]:
    return [digest_of(chunk.data, function) for chunk in chunks]
