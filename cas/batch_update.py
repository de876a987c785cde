"""BatchUpdateBlobs: many small blobs in one commit, each with a status of its own."""

import asyncio
from collections.abc import Callable
from itertools import islice

from reapi.core.digest import HASH_LENGTHS, Digest, DigestFunction, make_digest
from reapi.core.errors import InvalidArgument, ReapiError, status_of
from reapi.core.instances import Instances
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    BatchUpdateBlobsRequest,
    BatchUpdateBlobsResponse,
)

from .batch_compression import BatchDecompressor
from .digest_fields import DIGESTS_PER_STEP
from .wire import length_delimited

_Response = BatchUpdateBlobsResponse.Response
_RESPONSES_FIELD = BatchUpdateBlobsResponse.RESPONSES_FIELD_NUMBER
_STATUS_OK = b"\x12\x00"

_MOST_ENTRIES = 100_000
"""Twice as many as the smallest ones that fit into the 4 MiB of an ordinary message."""


class BatchUpdater:
    """Stores what is right of a batch and says what is wrong with the rest (CAS4 to CAS8).

    The sum of sizes is bounded by the transport's limit alone (CAS5), the number of entries by
    their work (reliability B11). `blobs_for` gives the store on account of an instance.
    """

    def __init__(self, blobs_for: Callable[[str], BlobStore], instances: Instances) -> None:
        self._blobs_for = blobs_for
        self._instances = instances

    async def update(self, request: BatchUpdateBlobsRequest) -> bytes:
        """A serialized BatchUpdateBlobsResponse, with an entry for each of the request."""
        if len(request.requests) > _MOST_ENTRIES:
            raise InvalidArgument(
                f"{len(request.requests)} blobs in one batch; {_MOST_ENTRIES} are allowed"
            )
        function = self._function(request)
        store = self._blobs_for(request.instance_name)
        blobs: dict[Digest, bytes] = {}
        repeated: dict[int, tuple[Digest, bytes]] = {}
        digests: list[Digest | ReapiError] = []
        decompressor = BatchDecompressor()
        for number, entry in enumerate(request.requests):
            if number % DIGESTS_PER_STEP == DIGESTS_PER_STEP - 1:
                await asyncio.sleep(0)
            try:
                digest = _parse(entry, function)
                data = entry.data
                compressor = entry.compressor
                if compressor:  # any but IDENTITY, which is 0
                    data = await decompressor.plain(data, compressor, digest)
            except InvalidArgument as error:
                digests.append(error)
                continue
            digests.append(digest)
            if blobs.setdefault(digest, data) is not data:
                repeated[number] = digest, data
        failures: dict[Digest, ReapiError] = {}
        unwritten = iter(blobs.items())
        while some := dict(islice(unwritten, DIGESTS_PER_STEP)):
            failures.update(await store.write_many(some))
        parts = []
        for number, (entry, digest_or_error) in enumerate(
            zip(request.requests, digests, strict=True)
        ):
            if number % DIGESTS_PER_STEP == DIGESTS_PER_STEP - 1:
                await asyncio.sleep(0)
            if number in repeated:
                parts.append(_response(entry, await _update_again(store, *repeated[number])))
            elif isinstance(digest_or_error, ReapiError):
                parts.append(_response(entry, digest_or_error))
            else:
                parts.append(_response(entry, failures.get(digest_or_error)))
        return b"".join(parts)

    def _function(self, request: BatchUpdateBlobsRequest) -> DigestFunction:
        """One for all entries (D5): an entry of another one fails, and does not fail the others."""
        lengths = (len(entry.digest.hash) for entry in request.requests)
        first = next((length for length in lengths if length in HASH_LENGTHS), None)
        return self._instances.parse_function(request.instance_name, request.digest_function, first)


async def _update_again(store: BlobStore, digest: Digest, data: bytes) -> ReapiError | None:
    """Of entries with the same digest, each is judged by its own data."""
    return (await store.write_many({digest: data})).get(digest)


def _parse(entry: BatchUpdateBlobsRequest.Request, function: DigestFunction) -> Digest:
    digest = entry.digest
    return make_digest(digest.hash, digest.size_bytes, function)


def _response(entry: BatchUpdateBlobsRequest.Request, failure: ReapiError | None) -> bytes:
    digest = entry.digest.SerializeToString()
    if failure is None:
        response = length_delimited(_Response.DIGEST_FIELD_NUMBER, digest) + _STATUS_OK
    else:
        response = _Response(digest=entry.digest, status=status_of(failure)).SerializeToString()
    return length_delimited(_RESPONSES_FIELD, response)
