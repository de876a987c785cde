"""What tests of zstd on the wire send and receive, and blobs for it."""

import random
from collections.abc import Iterator

import grpc
import zstandard

from reapi.cas.storage import Storage
from reapi.core.compression import decompress_blob
from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import (
    QueryWriteStatusRequest,
    ReadRequest,
    WriteRequest,
)
from tests.fakes.raw_client import RawClient

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE
ZSTD = re_pb2.Compressor.ZSTD

SMALL = b"small"
TEXT = b"".join(b"line %d: %x\n" % (n, n**5 & 0xFFFFFFFFFF) for n in range(140_000))
NOISE = random.Random(2).randbytes(3_000_000)
ABSENT = digest_of(b"absent")


def name_of(digest: Digest, upload_id: str = "an-upload") -> str:
    return write_name("", upload_id, digest, ZSTD)


def requests_of(
    name: str, stream: bytes, *, offset: int = 0, chunk_bytes: int = 100_000, finish: bool = True
) -> Iterator[WriteRequest]:
    """The whole compressed stream, whose first plain byte is at `offset`, in chunks."""
    for start in range(0, len(stream), chunk_bytes) or [0]:
        yield WriteRequest(
            resource_name="" if start else name,
            write_offset=offset + start,
            data=stream[start : start + chunk_bytes],
            finish_write=finish and start + chunk_bytes >= len(stream),
        )


async def store(storage: Storage, data: bytes) -> Digest:
    assert await storage.blobs.write_many({digest_of(data): data}) == {}
    return digest_of(data)


async def read(client: RawClient, digest: Digest, offset: int = 0) -> bytes:
    """The plain bytes from `offset` on, as a client of zstd gets them."""
    request = ReadRequest(resource_name=read_name("", digest, ZSTD), read_offset=offset)
    replies = await client.bytestream.Read(request)
    assert max(len(reply.data) for reply in replies) <= 2 << 20  # BS10
    stream = b"".join(reply.data for reply in replies)
    return decompress_blob(stream, digest.size_bytes - offset)


async def write(client: RawClient, requests: Iterator[WriteRequest] | list[WriteRequest]) -> int:
    return int((await client.bytestream.Write(requests)).committed_size)


async def query(client: RawClient, name: str) -> tuple[int, bool]:
    request = QueryWriteStatusRequest(resource_name=name)
    reply = await client.bytestream.QueryWriteStatus(request)
    return reply.committed_size, reply.complete


async def is_present(client: RawClient, digest: Digest) -> bool:
    request = re_pb2.FindMissingBlobsRequest(blob_digests=[digest.to_message()])
    return not (await client.cas.FindMissingBlobs(request)).missing_blob_digests


def flushed_half(data: bytes) -> bytes:
    """The start of a stream, with all in it of the first half of `data`."""
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(data[: len(data) // 2]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
