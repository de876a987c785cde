"""Splitter and splicer over stores in memory, whose calls a test may count, hold or break."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from reapi.cas.chunk_records import ChunkRecords
from reapi.cas.presence import Presence
from reapi.cas.splice_blob import BlobSplicer
from reapi.cas.split_blob import BlobSplitter
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import ReapiError
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.instances import INSTANCES
from tests.fakes.local_storage import ManualClock
from tests.fakes.memory_results import MemoryResultTable
from tests.fakes.memory_store import MemoryBlobStore

RETENTION_SECONDS = 24 * 3600

FUNCTION = re_pb2.ChunkingFunction


class WatchedBlobStore(MemoryBlobStore):
    """Notes what is asked for and read; `gate` holds every read while it is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Digest] = []
        self.asked: set[Digest] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.reading = asyncio.Event()
        self.write_many_error: ReapiError | None = None

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        self.asked.update(digests)
        return await super().find_missing(digests)

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        self.reads.append(digest)
        self.reading.set()
        await self.gate.wait()
        async for chunk in super().read(digest, offset=offset, limit=limit):
            yield chunk

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        self.reads += digests
        self.reading.set()
        await self.gate.wait()
        return await super().read_many(digests)

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        if self.write_many_error is not None:
            return dict.fromkeys(blobs, self.write_many_error)
        return await super().write_many(blobs)


class Chunking:
    """A splitter and a splicer that share a store and records."""

    def __init__(self, blobs: WatchedBlobStore | None = None) -> None:
        self.blobs = blobs or WatchedBlobStore()
        self.results = MemoryResultTable()
        self.clock = ManualClock()
        self.presence = Presence(self.clock, RETENTION_SECONDS, lambda: 0)
        self.records = ChunkRecords(self.results, self.presence)
        self._splitter = BlobSplitter(self.blobs, lambda _: self.blobs, self.records, INSTANCES)
        self._splicer = BlobSplicer(self.blobs, lambda _: self.blobs, self.records, INSTANCES)

    async def split(self, blob: Digest, **fields: int) -> re_pb2.SplitBlobResponse:
        request = re_pb2.SplitBlobRequest(blob_digest=blob.to_message(), **fields)  # type: ignore[arg-type]
        return re_pb2.SplitBlobResponse.FromString(await self._splitter.split(request))

    async def splice(
        self, blob: Digest, chunks: Sequence[Digest], **fields: int
    ) -> re_pb2.SpliceBlobResponse:
        messages = [chunk.to_message() for chunk in chunks]
        return await self._splicer.splice(
            re_pb2.SpliceBlobRequest(
                blob_digest=blob.to_message(),
                chunk_digests=messages,
                **fields,  # type: ignore[arg-type]  # numbers of enums
            )
        )


def content_of(blobs: MemoryBlobStore, response: re_pb2.SplitBlobResponse) -> bytes:
    """What the chunks of a response make together."""
    return b"".join(
        blobs.blobs[Digest(chunk.hash, chunk.size_bytes)] for chunk in response.chunk_digests
    )


def random_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def parts_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def digests_of(parts: Sequence[bytes]) -> list[Digest]:
    return [digest_of(part) for part in parts]
