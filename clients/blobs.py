"""The CAS of a server as a BlobStore: FindMissingBlobs and the batch methods.

What is too large for a batch goes through ByteStream (bytestream.py).
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing

from google.rpc import code_pb2

from reapi.core.digest import EMPTY_HASHES, Digest, DigestFunction, digest_of
from reapi.core.errors import Internal, NotFound, ReapiError, error_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .batches import OVERHEAD_BYTES, SURE_BATCH_BYTES, cut_batches, fits
from .bytestream import ByteStream, OpenAt, bytes_source
from .capabilities import get_capabilities, max_batch_bytes
from .channel import Channel
from .concurrency import map_bounded
from .methods import BATCH_READ_BLOBS, BATCH_UPDATE_BLOBS, FIND_MISSING_BLOBS

_DIGESTS_PER_CALL = 10_000
_CALLS_AT_ONCE = 4
_QUICK_BYTES = 256 << 10
"""Hashed sooner than another thread could have helped."""


class RemoteBlobStore:
    """A BlobStore (core/interfaces.py) over the network; what is read is verified.

    Blobs of any size may be given to `read_many` and `write_many`: they are cut into calls that
    the server takes. Interrupted transfers are resumed.
    """

    def __init__(self, channel: Channel, instance_name: str = "") -> None:
        self._channel = channel
        self._instance_name = instance_name
        self._byte_stream = ByteStream(channel, instance_name)
        self._batch_bytes: int | None = None

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        asked = [digest for digest in dict.fromkeys(digests) if not _is_empty(digest)]
        calls = list(_of_one_function(asked, _DIGESTS_PER_CALL))
        missing = set().union(
            *await map_bounded(self._find_missing_of_call, calls, at_once=_CALLS_AT_ONCE)
        )
        return [digest for digest in asked if digest in missing]

    async def _find_missing_of_call(self, digests: Sequence[Digest]) -> set[Digest]:
        function = digests[0].function
        request = re_pb2.FindMissingBlobsRequest(
            instance_name=self._instance_name, digest_function=function.name
        )
        add = request.blob_digests.add
        for digest in digests:
            add(hash=digest.hash, size_bytes=digest.size_bytes)
        reply = await self._channel.unary(FIND_MISSING_BLOBS, request)
        return {
            Digest(missing.hash, missing.size_bytes, function)
            for missing in reply.missing_blob_digests
        }

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        found = {digest: b"" for digest in digests if _is_empty(digest)}
        asked = [digest for digest in dict.fromkeys(digests) if digest not in found]
        batches, large = await self._batches(asked)
        for batch in await map_bounded(self._read_batch, batches, at_once=_CALLS_AT_ONCE):
            found |= batch
        for one in await map_bounded(self._read_whole, large, at_once=_CALLS_AT_ONCE):
            found |= one
        return found

    async def _read_batch(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        function = digests[0].function
        request = re_pb2.BatchReadBlobsRequest(
            instance_name=self._instance_name, digest_function=function.name
        )
        for digest in digests:
            request.digests.add(hash=digest.hash, size_bytes=digest.size_bytes)
        reply = await self._channel.unary(BATCH_READ_BLOBS, request)
        if sum(digest.size_bytes for digest in digests) < _QUICK_BYTES:
            return _verified(reply, function)
        return await asyncio.to_thread(_verified, reply, function)

    async def _read_whole(self, digest: Digest) -> dict[Digest, bytes]:
        try:
            return {digest: b"".join([chunk async for chunk in self.read(digest)])}
        except NotFound:
            return {}

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        if _is_empty(digest) or limit == 0:
            return
        async with aclosing(self._byte_stream.read(digest, offset, limit)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        batches, large = await self._batches(blobs)
        failures: dict[Digest, ReapiError] = {}

        async def write_batch(digests: Sequence[Digest]) -> None:
            failures.update(await self._write_batch(digests, blobs))

        async def write_large(digest: Digest) -> None:
            try:
                await self.write_from(digest, bytes_source(blobs[digest]))
            except ReapiError as error:
                failures[digest] = error

        await map_bounded(write_batch, batches, at_once=_CALLS_AT_ONCE)
        await map_bounded(write_large, large, at_once=_CALLS_AT_ONCE)
        return failures

    async def _write_batch(
        self, digests: Sequence[Digest], blobs: Mapping[Digest, bytes]
    ) -> dict[Digest, ReapiError]:
        request = re_pb2.BatchUpdateBlobsRequest(
            instance_name=self._instance_name, digest_function=digests[0].function.name
        )
        for digest in digests:
            request.requests.add(digest=digest.to_message(), data=blobs[digest])
        reply = await self._channel.unary(BATCH_UPDATE_BLOBS, request)
        statuses = {
            (response.digest.hash, response.digest.size_bytes): response.status
            for response in reply.responses
        }
        failures: dict[Digest, ReapiError] = {}
        for digest in digests:
            status = statuses.get((digest.hash, digest.size_bytes))
            if status is None:
                failures[digest] = Internal(f"the server did not say whether it stored {digest}")
            elif status.code != code_pb2.OK:
                failures[digest] = error_of(status)
        return failures

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        await self._byte_stream.write_once(digest, chunks)

    async def write_from(self, digest: Digest, open_at: OpenAt) -> None:
        """Like `write`, of content that can be opened again at an offset: it is resumed there."""
        await self._byte_stream.write(digest, open_at)

    async def _batches(
        self, digests: Collection[Digest]
    ) -> tuple[list[list[Digest]], list[Digest]]:
        """The calls for blobs that fit into a batch, and the blobs that do not."""
        total = sum(digest.size_bytes for digest in digests) + OVERHEAD_BYTES * len(digests)
        limit = SURE_BATCH_BYTES if total <= SURE_BATCH_BYTES else await self._batch_limit()
        fitting = [digest for digest in digests if fits(digest, limit)]
        large = [digest for digest in digests if not fits(digest, limit)]
        batches = [
            batch
            for group in _of_one_function(fitting, len(fitting) or 1)
            for batch in cut_batches(group, limit)
        ]
        return batches, large

    async def _batch_limit(self) -> int:
        if self._batch_bytes is None:
            capabilities = await get_capabilities(self._channel, self._instance_name)
            self._batch_bytes = max_batch_bytes(capabilities)
        return self._batch_bytes


def _is_empty(digest: Digest) -> bool:
    """The empty blob is everywhere, so nobody is asked about it (G3)."""
    return digest.size_bytes == 0 and digest.hash == EMPTY_HASHES[digest.function]


def _verified(
    reply: re_pb2.BatchReadBlobsResponse, function: DigestFunction
) -> dict[Digest, bytes]:
    """What came of a batch; raises what one of its blobs failed with."""
    found = {}
    for response in reply.responses:
        code = response.status.code
        if code == code_pb2.OK:
            data = response.data
            # Damaged on the way or at rest: absent, says the contract.
            digest = digest_of(data, function)
            if digest.hash == response.digest.hash:
                found[digest] = data
        elif code not in (code_pb2.NOT_FOUND, code_pb2.DATA_LOSS):
            raise error_of(response.status)
    return found


def _of_one_function(digests: Iterable[Digest], at_most: int) -> Iterator[list[Digest]]:
    """Parts whose digests share their function, as those of one request must (D5)."""
    groups: dict[DigestFunction, list[Digest]] = {}
    for digest in digests:
        groups.setdefault(digest.function, []).append(digest)
    for group in groups.values():
        for start in range(0, len(group), at_most):
            yield group[start : start + at_most]
