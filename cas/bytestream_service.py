"""google.bytestream.ByteStream: blobs of any size, in chunks (conformance 1.5), and live logs."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument, NotFound, OutOfRange
from reapi.core.instances import Instances
from reapi.core.interfaces import BlobStore, Call, OperationLogs
from reapi.core.log_name import LogName, parse_log_name
from reapi.core.resource_name import parse_read_name, parse_write_name
from reapi.core.rpc import Method, bind
from reapi.protos.google.bytestream import bytestream_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import (
    QueryWriteStatusRequest,
    QueryWriteStatusResponse,
    ReadRequest,
    WriteResponse,
)

from .prompt_messages import PromptMessages
from .upload import Uploads, UploadStream
from .wire import length_delimited
from .write_chunk import WriteChunk, parse_write_request
from .zstd_stream import CompressedSource, ZstdUpload, zstd_chunks

_SERVICE = bytestream_pb2.DESCRIPTOR.services_by_name["ByteStream"]
_DATA_FIELD = bytestream_pb2.ReadResponse.DATA_FIELD_NUMBER

_EXISTS_COMPRESSED = -1
"""The committed_size of a compressed upload that was not needed (BS17)."""


class ByteStreamService:
    """Reads from the store, and writes through resumable uploads. `logs` are None where no actions
    are run."""

    def __init__(
        self,
        blobs: BlobStore,
        uploads: Uploads,
        instances: Instances,
        compressed: CompressedSource | None = None,
        logs: OperationLogs | None = None,
    ) -> None:
        self._blobs = blobs
        self._uploads = uploads
        self._instances = instances
        self._compressed = compressed
        self._logs = logs

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(
            _SERVICE,
            {
                "Read": self.read,
                "Write": self.write,
                "QueryWriteStatus": self.query_write_status,
            },
            raw_requests=frozenset({"Write"}),
            at_once=("QueryWriteStatus",),
        )

    async def read(self, request: ReadRequest, call: Call) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob, from an offset and up to a limit (BS6, BS7, BS8, BS11); or of a log,
        as they are printed (BS24)."""
        log = parse_log_name(request.resource_name)
        if log is not None:
            async with aclosing(self._read_log(log, request, call)) as parts:
                async for part in parts:
                    yield length_delimited(_DATA_FIELD, part)
            return
        async for chunk in await self._read_blob(request):
            # A ReadResponse, with one copy of the bytes instead of three.
            yield length_delimited(_DATA_FIELD, chunk)

    async def _read_blob(self, request: ReadRequest) -> AsyncIterator[bytes]:
        _, digest, compressor = parse_read_name(request.resource_name, self._instances)
        _check_range(request, digest.size_bytes)
        if compressor:
            if request.read_limit:
                raise InvalidArgument("read_limit is not possible in a compressed blob")
            return await self._read_zstd(digest, request.read_offset)
        return self._blobs.read(
            digest, offset=request.read_offset, limit=request.read_limit or None
        )

    async def _read_log(
        self, name: LogName, request: ReadRequest, call: Call
    ) -> AsyncGenerator[bytes, None]:
        """Waits for what is not printed yet. An offset behind the end is noticed at the end."""
        self._instances.check(name.instance_name)
        _check_range(request, None)
        if self._logs is None:
            raise NotFound("this server runs no actions, so there are no logs")
        position = request.read_offset
        end = position + request.read_limit if request.read_limit else None
        async with aclosing(self._logs.read(name, position, call)) as parts:
            async for part in parts:
                if isinstance(part, Digest):
                    _check_range(request, part.size_bytes)
                    chunks = self._blobs.read(
                        part,
                        offset=min(position, part.size_bytes),
                        limit=None if end is None else end - position,
                    )
                    async for chunk in chunks:
                        yield chunk
                    return
                part = part if end is None else part[: end - position]
                position += len(part)
                yield part
                if position == end:
                    return

    async def _read_zstd(self, digest: Digest, offset: int) -> AsyncIterator[bytes]:
        if self._compressed is not None and offset == 0:
            stored = await self._compressed.read_zstd(digest)
            if stored is not None:
                return stored
        return zstd_chunks(self._blobs.read(digest, offset=offset), digest.size_bytes - offset)

    async def write(self, messages: AsyncIterator[bytes], call: Call) -> WriteResponse:
        """Begins or continues an upload, which ends with the first finish_write (BS12 to BS20).

        A whole upload answers how many bytes came, compressed ones if they were (Q-CSIZE). One that
        brings no more is DeadlineExceeded after a while, and can be resumed.
        """
        messages = PromptMessages(messages, self._uploads.idle_seconds)
        message = await anext(messages, None)
        if message is None:
            raise InvalidArgument("a write needs at least one request")
        first = parse_write_request(message)
        instance_name, _, digest, compressor = parse_write_name(
            first.resource_name, self._instances
        )
        exists = WriteResponse(
            committed_size=_EXISTS_COMPRESSED if compressor else digest.size_bytes
        )
        if not await self._blobs.find_missing([digest]):
            return exists
        async with self._uploads.stream(first.resource_name, digest, instance_name) as upload:
            taker = ZstdUpload(upload, digest) if compressor else upload
            end = await _receive(first, messages, taker, upload.received_bytes)
            if end is not None:
                await taker.complete()
                return WriteResponse(committed_size=end)
            if upload.is_over:
                return exists
            return WriteResponse(committed_size=upload.received_bytes)

    async def query_write_status(
        self, request: QueryWriteStatusRequest, call: Call
    ) -> QueryWriteStatusResponse:
        """Where an upload goes on; 0 when nothing is known of it (BS21, BS22)."""
        _, _, digest, _ = parse_write_name(request.resource_name, self._instances)
        if not await self._blobs.find_missing([digest]):
            return QueryWriteStatusResponse(committed_size=digest.size_bytes, complete=True)
        received = self._uploads.received_bytes(request.resource_name)
        return QueryWriteStatusResponse(committed_size=received)


def _check_range(request: ReadRequest, size_bytes: int | None) -> None:
    """`size_bytes` is None while that is not known."""
    largest = request.read_offset if size_bytes is None else size_bytes
    if not 0 <= request.read_offset <= largest:
        raise OutOfRange(f"read_offset {request.read_offset} of {largest} bytes")
    if request.read_limit < 0:
        raise InvalidArgument(f"read_limit {request.read_limit} is negative")


async def _receive(
    first: WriteChunk,
    messages: AsyncIterator[bytes],
    upload: UploadStream | ZstdUpload,
    offset: int,
) -> int | None:
    """Takes all data of one stream, which begins at `offset`.

    Returns the offset behind it if the client finished the blob. It counts the bytes on the wire,
    from an `offset` of plain bytes on (BS13).
    """
    request = first
    while True:
        if request.resource_name not in ("", first.resource_name):
            raise InvalidArgument("resource_name changed within the stream")
        if request.write_offset != offset:
            raise InvalidArgument(f"write_offset {request.write_offset} instead of {offset}")
        if not await upload.append(request.data):
            return None
        offset += len(request.data)
        if request.finish_write:
            if await anext(messages, None) is not None:
                raise InvalidArgument("a request after finish_write")
            return offset
        message = await anext(messages, None)
        if message is None:
            return None
        request = parse_write_request(message)
