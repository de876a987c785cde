"""SpliceBlob: makes a blob of chunks that are here, so that a client uploads only new chunks."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing

from reapi.core.digest import Digest, DigestFunction, Hasher, parse_digest
from reapi.core.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound
from reapi.core.instances import Instances
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ChunkingFunction,
    SpliceBlobRequest,
    SpliceBlobResponse,
)

from .chunk_records import ChunkRecords, check_chunking_function, most_chunks
from .chunking import MAX_CHUNK_BYTES

MOST_CHUNKS = 50_000
"""Of one request: 30 GiB of chunks of the usual size."""

_SMALLEST_AVERAGE_BYTES = 1024
"""Of chunks worth recording; no function may be announced with a smaller one (CAP12)."""

_RECORDED_FUNCTIONS = (ChunkingFunction.UNKNOWN, ChunkingFunction.FAST_CDC_2020)
"""Clients do not take an answer by a function that is not announced."""

_MOST_AT_ONCE = 4
"""Blobs being made. A small request may ask for much work: the same chunk again and again."""

_RUN_BYTES = 1 << 20
"""Of small chunks that are read at once."""

_DIGESTS_PER_STEP = 1000
"""Other tasks get their turn after so many."""


class BlobSplicer:
    """Reads chunks and stores them as one blob, whose digest the store computes (CAS17).

    What the client says is never trusted: not for a blob that is here already either, so its
    chunks are not recorded unless the blob was made of them. `blobs_for` gives the store on account
    of an instance.
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
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)

    async def splice(self, request: SpliceBlobRequest) -> SpliceBlobResponse:
        """The blob and its chunks are present and stay for the retention time, on return.

        A blob that is here already is not made again; when not all of the given chunks could be
        extended then, raises AlreadyExists (CAS18). Raises NotFound when a chunk is absent,
        InvalidArgument when the chunks are not the blob, ResourceExhausted when there is no room.
        Cancelling leaves nothing visible.
        """
        self._instances.check(request.instance_name)
        check_chunking_function(request.chunking_function)
        blob, chunks = await _parse(request, self._instances)
        missing = await self._blobs.find_missing([blob, *chunks])
        is_present = blob not in missing
        absent = set(missing).intersection(chunks)
        if absent:
            shown = f"{len(absent)} of its chunks are not here, {min(absent)} for one"
            if is_present:
                raise AlreadyExists(f"blob {blob} is here, but {shown}")
            raise NotFound(f"blob {blob} cannot be made: {shown}")
        if not is_present:
            hasher = blob.function.new()
            async with self._slots, aclosing(self._content(chunks, hasher)) as content:
                await self._blobs_for(request.instance_name).write(blob, content)
            # A store that has got the blob from somebody else meanwhile need not look at the bytes.
            if hasher.hexdigest() == blob.hash:
                await self._record(blob, chunks, request.chunking_function)
        return SpliceBlobResponse(blob_digest=blob.to_message())

    async def _record(
        self, blob: Digest, chunks: Sequence[Digest], function: "ChunkingFunction.Value"
    ) -> None:
        """Keeps the chunks for SplitBlob, if clients would take them for an answer."""
        most = min(most_chunks(blob.function), blob.size_bytes // _SMALLEST_AVERAGE_BYTES + 1)
        largest = max(chunk.size_bytes for chunk in chunks)
        if function in _RECORDED_FUNCTIONS and len(chunks) <= most and largest <= MAX_CHUNK_BYTES:
            await self._records.put(blob, chunks, function)

    async def _content(
        self, chunks: Sequence[Digest], hasher: Hasher
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of all chunks, fed to `hasher` too.

        Raises NotFound when a chunk has gone meanwhile, or is damaged.
        """
        for run in _runs(chunks):
            pieces = self._stream(run[0]) if len(run) == 1 else self._read_small(run)
            async with aclosing(pieces):
                async for piece in pieces:
                    await asyncio.to_thread(hasher.update, piece)
                    yield piece

    async def _stream(self, chunk: Digest) -> AsyncGenerator[bytes, None]:
        try:
            async for piece in self._blobs.read(chunk):
                yield piece
        except DataLoss as error:
            raise NotFound(f"chunk {chunk} was damaged: upload it again") from error

    async def _read_small(self, chunks: Sequence[Digest]) -> AsyncGenerator[bytes, None]:
        """All as one piece."""
        found = await self._blobs.read_many(list(dict.fromkeys(chunks)))
        for chunk in chunks:
            if chunk not in found:
                raise NotFound(f"chunk {chunk} is not here any more: upload it again")
        yield b"".join(found[chunk] for chunk in chunks)


async def _parse(request: SpliceBlobRequest, instances: Instances) -> tuple[Digest, list[Digest]]:
    """The blob and its chunks, which share one digest function (D7) and add up to its size.

    Empty chunks are left out: they change nothing, and clients refuse them in an answer.
    """
    if not request.HasField("blob_digest"):
        raise InvalidArgument("blob_digest is required")
    if len(request.chunk_digests) > MOST_CHUNKS:
        count = len(request.chunk_digests)
        raise InvalidArgument(f"{count} chunks; at most {MOST_CHUNKS} make a blob: use larger ones")
    function = instances.parse_function(
        request.instance_name, request.digest_function, len(request.blob_digest.hash)
    )
    blob = parse_digest(request.blob_digest, function)
    chunks = await _parse_chunks(request, function)
    total = sum(chunk.size_bytes for chunk in chunks)
    if total != blob.size_bytes:
        raise InvalidArgument(f"the chunks have {total} bytes; blob {blob} has {blob.size_bytes}")
    return blob, chunks


async def _parse_chunks(request: SpliceBlobRequest, function: DigestFunction) -> list[Digest]:
    chunks: list[Digest] = []
    for start in range(0, len(request.chunk_digests), _DIGESTS_PER_STEP):
        some = request.chunk_digests[start : start + _DIGESTS_PER_STEP]
        parsed = [parse_digest(digest, function) for digest in some]
        chunks += [chunk for chunk in parsed if chunk.size_bytes]
        await asyncio.sleep(0)
    return chunks


def _runs(chunks: Iterable[Digest]) -> Iterator[list[Digest]]:
    """Chunks in order: small ones together, large ones alone."""
    run: list[Digest] = []
    size = 0
    for chunk in chunks:
        if run and size + chunk.size_bytes > _RUN_BYTES:
            yield run
            run, size = [], 0
        run.append(chunk)
        size += chunk.size_bytes
    if run:
        yield run
