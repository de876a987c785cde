"""BatchUpdateBlobs: many small blobs in one commit, each with a status of its own."""

from reapi.core.digest import Digest, DigestFunction, make_digest, parse_function
from reapi.core.errors import InvalidArgument, ReapiError, status_of
from reapi.core.instance_names import check_instance_name
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    BatchUpdateBlobsRequest,
    BatchUpdateBlobsResponse,
)

from .batch_compression import BatchDecompressor
from .wire import length_delimited

_Response = BatchUpdateBlobsResponse.Response
_RESPONSES_FIELD = BatchUpdateBlobsResponse.RESPONSES_FIELD_NUMBER
_STATUS_OK = b"\x12\x00"


class BatchUpdater:
    """Stores what is right of a batch and says what is wrong with the rest (CAS4 to CAS8).

    The sum of sizes is bounded by the transport's limit alone (CAS5).
    """

    def __init__(self, blobs: BlobStore, instance_names: frozenset[str]) -> None:
        self._blobs = blobs
        self._instance_names = instance_names

    async def update(self, request: BatchUpdateBlobsRequest) -> bytes:
        """A serialized BatchUpdateBlobsResponse, with an entry for each of the request."""
        check_instance_name(request.instance_name, self._instance_names)
        parse_function(request.digest_function)
        blobs: dict[Digest, bytes] = {}
        repeated: dict[int, tuple[Digest, bytes]] = {}
        digests: list[Digest | ReapiError] = []
        decompressor = BatchDecompressor()
        for number, entry in enumerate(request.requests):
            try:
                digest = _parse(entry, request.digest_function)
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
        failures: dict[Digest, ReapiError] = await self._blobs.write_many(blobs)
        parts = []
        for number, (entry, digest_or_error) in enumerate(
            zip(request.requests, digests, strict=True)
        ):
            if number in repeated:
                parts.append(_response(entry, await self._update_again(*repeated[number])))
            elif isinstance(digest_or_error, ReapiError):
                parts.append(_response(entry, digest_or_error))
            else:
                parts.append(_response(entry, failures.get(digest_or_error)))
        return b"".join(parts)

    async def _update_again(self, digest: Digest, data: bytes) -> ReapiError | None:
        """Of entries with the same digest, each is judged by its own data."""
        return (await self._blobs.write_many({digest: data})).get(digest)


def _parse(entry: BatchUpdateBlobsRequest.Request, function_number: int) -> Digest:
    digest = entry.digest
    hash_text = digest.hash
    function: DigestFunction = parse_function(function_number, len(hash_text))
    return make_digest(hash_text, digest.size_bytes, function)


def _response(entry: BatchUpdateBlobsRequest.Request, failure: ReapiError | None) -> bytes:
    digest = entry.digest.SerializeToString()
    if failure is None:
        response = length_delimited(_Response.DIGEST_FIELD_NUMBER, digest) + _STATUS_OK
    else:
        response = _Response(digest=entry.digest, status=status_of(failure)).SerializeToString()
    return length_delimited(_RESPONSES_FIELD, response)
