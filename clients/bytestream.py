"""ByteStream: one blob up or down, resumed where it was interrupted."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from reapi.core.digest import Digest
from reapi.core.errors import DataLoss, NotFound, ReapiError, Unavailable, Unimplemented
from reapi.core.resource_name import read_name, write_name
from reapi.protos.google.bytestream.bytestream_pb2 import (
    QueryWriteStatusRequest,
    ReadRequest,
    WriteRequest,
)

from .channel import Channel
from .methods import QUERY_WRITE_STATUS, READ, WRITE

OpenAt = Callable[[int], AsyncGenerator[bytes, None]]
"""Opens the content of a blob at an offset; the chunks follow from there."""

CHUNK_BYTES = 1 << 20


def bytes_source(data: bytes) -> OpenAt:
    """The OpenAt of bytes in memory."""

    async def open_at(offset: int) -> AsyncGenerator[bytes, None]:
        for start in range(offset, len(data), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]

    return open_at


class ByteStream:
    """Transfers of single blobs of one instance."""

    def __init__(self, channel: Channel, instance_name: str) -> None:
        self._channel = channel
        self._instance_name = instance_name

    async def read(
        self, digest: Digest, offset: int, limit: int | None
    ) -> AsyncGenerator[bytes, None]:
        """As BlobStore.read. Bytes that came before an interruption are not asked for again."""
        end = digest.size_bytes if limit is None else min(digest.size_bytes, offset + limit)
        hasher = digest.function.new() if offset == 0 and end == digest.size_bytes else None
        request = ReadRequest(resource_name=read_name(self._instance_name, digest))
        position = offset
        retries = self._channel.retries()
        while position < end:
            request.read_offset = position
            request.read_limit = end - position
            try:
                async with aclosing(self._channel.server_stream(READ, request)) as replies:
                    async for reply in replies:
                        chunk = reply.data
                        if not chunk:
                            continue  # A sign of life (BS10).
                        position += len(chunk)
                        if hasher is not None:
                            hasher.update(chunk)
                        if position > end or (
                            position == end and hasher and hasher.hexdigest() != digest.hash
                        ):
                            raise DataLoss(f"the server sent bytes that are not blob {digest}")
                        yield chunk
                        retries.progressed()
                if position < end:
                    raise Unavailable(f"the server ended the transfer of blob {digest} early")
            except NotFound as error:
                if position > offset:
                    raise DataLoss(f"blob {digest} went away while it was read") from error
                raise
            except DataLoss:
                raise
            except ReapiError as error:
                if position < end:
                    await retries.wait(error)

    async def write_once(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """As BlobStore.write. After an interruption it goes on only if the server has all that
        was taken out of `chunks`: they cannot be had again."""
        taken = 0

        async def open_at(offset: int) -> AsyncGenerator[bytes, None]:
            nonlocal taken
            if offset != taken:
                raise _NotReplayable
            async for chunk in chunks:
                taken += len(chunk)
                yield chunk

        await self.write(digest, open_at)

    async def write(self, digest: Digest, open_at: OpenAt) -> None:
        """Uploads a blob; an interrupted upload asks how far it came and goes on from there."""
        name = write_name(self._instance_name, str(uuid.uuid4()), digest)
        retries = self._channel.retries()
        offset, failure = 0, None
        while True:
            try:
                committed = await self._write_from(name, digest, open_at, offset)
                if committed == digest.size_bytes:
                    return
                # Neither complete nor refused: the stream was cut between us and the server.
                raise Unavailable(f"the server stored {committed} bytes of blob {digest}")
            except _NotReplayable:
                assert failure is not None
                raise failure from None
            except ReapiError as error:
                failure = error
            await retries.wait(failure)
            status = await self._committed(name)
            if status is None:
                return
            if status > offset:
                retries.progressed()
            offset = status

    async def _write_from(self, name: str, digest: Digest, open_at: OpenAt, offset: int) -> int:
        async with (
            aclosing(open_at(offset)) as chunks,
            aclosing(_requests(name, digest, chunks, offset)) as requests,
        ):
            reply = await self._channel.client_stream(WRITE, requests)
        return reply.committed_size

    async def _committed(self, name: str) -> int | None:
        """How much of an upload the server has; None when it has the blob (Q-QWS)."""
        try:
            status = await self._channel.unary(
                QUERY_WRITE_STATUS, QueryWriteStatusRequest(resource_name=name)
            )
        except (NotFound, Unimplemented):
            return 0
        return None if status.complete else status.committed_size


class _NotReplayable(Exception):
    """The source cannot go back to the offset that the server wants."""


async def _requests(
    name: str, digest: Digest, chunks: AsyncIterator[bytes], offset: int
) -> AsyncGenerator[WriteRequest, None]:
    """The name stands on the first request only; the last one says that it is the last (BS12)."""
    async for chunk in chunks:
        for start in range(0, len(chunk), CHUNK_BYTES):
            part = chunk if len(chunk) <= CHUNK_BYTES else chunk[start : start + CHUNK_BYTES]
            yield WriteRequest(resource_name=name, write_offset=offset, data=part)
            offset += len(part)
            name = ""
    yield WriteRequest(resource_name=name, write_offset=offset, finish_write=True)
