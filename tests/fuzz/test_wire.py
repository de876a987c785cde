"""What hot paths read and write by hand is what the protobuf library reads and writes."""

import asyncio

from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reapi.cas.batch_read import BatchReader
from reapi.cas.wire import length_delimited, read_varint, varint
from reapi.cas.write_chunk import WriteChunk, parse_write_request
from reapi.core.compression import decompress_blob
from reapi.core.digest import BLAKE3, DIGEST_FUNCTIONS, SHA1, SHA256, Digest, digest_of
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    BatchReadBlobsRequest,
    BatchReadBlobsResponse,
    Compressor,
)
from reapi.protos.google.bytestream.bytestream_pb2 import ReadResponse, WriteRequest
from tests.fakes.instances import INSTANCES
from tests.fakes.memory_store import MemoryBlobStore

LONG = bytes(range(256)) * 20
"""Above the size from which WriteRequests are read by hand."""


@given(st.integers(0, 2**63 - 1))
def test_varints_round_trip(value: int) -> None:
    assert read_varint(b"??" + varint(value) + b"?", 2) == (value, 2 + len(varint(value)))


@given(st.binary(max_size=300))
def test_fields_are_read_by_the_library(data: bytes) -> None:
    field = ReadResponse.DATA_FIELD_NUMBER
    assert ReadResponse.FromString(length_delimited(field, data)).data == data


@st.composite
def write_requests(draw: st.DrawFn) -> bytes:
    """Requests long enough for the fast path, some with bytes changed or fields repeated."""
    serialized = bytearray()
    for _ in range(draw(st.integers(1, 2))):
        request = WriteRequest(
            resource_name=draw(st.sampled_from(["", "name", "R", "x" * 300])),
            write_offset=draw(st.sampled_from([0, 1, 300, -1, 2**62])),
            finish_write=draw(st.booleans()),
            data=draw(st.sampled_from([b"", b"x", LONG])),
        )
        serialized += request.SerializeToString()
    for _ in range(draw(st.integers(0, 2))):
        if not serialized:
            break
        position = draw(st.integers(0, min(len(serialized) - 1, 330)))
        serialized[position : position + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(serialized)


@given(write_requests())
@example(WriteRequest(data=LONG).SerializeToString())
@example(WriteRequest(data=LONG).SerializeToString()[:-1])
@example(WriteRequest(data=LONG).SerializeToString() + b"\x18\x01")
@settings(max_examples=500)
def test_write_requests_are_read_as_the_library_reads_them(message: bytes) -> None:
    try:
        request = WriteRequest.FromString(message)
    except DecodeError:
        expected = None
    else:
        expected = WriteChunk(
            request.resource_name, request.write_offset, request.finish_write, request.data
        )
    try:
        found = parse_write_request(message)
    except InvalidArgument:
        found = None
    assert (found and found._replace(data=bytes(found.data))) == expected


BLOBS = {
    digest_of(data, function): data
    for data in (b"", b"a", b"b" * 200, b"c" * 20_000)
    for function in DIGEST_FUNCTIONS
}


@st.composite
def batches(draw: st.DrawFn) -> tuple[str, int, list[Digest]]:
    """An instance, the number of a function or 0 where that means it, and digests of it."""
    instance_name, function, is_stated = draw(
        st.sampled_from(
            [(name, function, True) for name in ("", "main") for function in DIGEST_FUNCTIONS]
            + [("main", SHA256, False), ("", SHA1, False), ("buck2", BLAKE3, False)]
        )
    )
    known = [digest for digest in BLOBS if digest.function is function]
    digests = st.sampled_from([*known, digest_of(b"absent", function)])
    return instance_name, function.number * is_stated, draw(st.lists(digests, max_size=6))


@given(batches(), st.booleans())
def test_batch_read_replies_are_read_by_the_library(
    batch: tuple[str, int, list[Digest]], with_compressors: bool
) -> None:
    instance_name, number, asked = batch
    store = MemoryBlobStore()
    store.blobs = dict(BLOBS)
    request = BatchReadBlobsRequest(
        instance_name=instance_name,
        digests=[digest.to_message() for digest in asked],
        acceptable_compressors=[0, 1] if with_compressors else [],
        digest_function=number,  # type: ignore[arg-type]  # an enum's number
    )
    reader = BatchReader(store, INSTANCES)
    reply = asyncio.run(reader.read(request.SerializeToString()))
    response = BatchReadBlobsResponse.FromString(reply)
    distinct = list(dict.fromkeys(asked))
    assert [each.digest for each in response.responses] == [d.to_message() for d in distinct]
    for digest, each in zip(distinct, response.responses, strict=True):
        assert each.HasField("status")
        assert (each.status.code == 0) == (digest in BLOBS)
        data = each.data
        if each.compressor == Compressor.ZSTD:
            assert with_compressors
            data = decompress_blob(data, digest.size_bytes)
        assert data == BLOBS.get(digest, b"")
