"""BatchReadBlobs from bytes to bytes: a reply is mostly data, which is copied once."""

import asyncio
from collections.abc import Iterable, Mapping
from itertools import islice

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument, NotFound, status_of
from reapi.core.instances import Instances
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    BatchReadBlobsRequest,
    BatchReadBlobsResponse,
    Compressor,
)

from .batch_compression import compressed_where_smaller
from .capabilities_service import MAX_BATCH_TOTAL_SIZE_BYTES
from .digest_fields import (
    DIGESTS_PER_STEP,
    are_well_formed,
    check_request_size,
    digest_of_field,
    split_request,
)
from .wire import length_delimited, varint

_FUNCTION_TAG = b"\x20"

_RESPONSES_TAG = b"\x0a"
_DIGEST_TAG = b"\x0a"
_DATA_TAG = b"\x12"
_STATUS_OK = b"\x1a\x00"
_STATUS_OK_ZSTD = b"\x1a\x00\x20\x01"
"""And compressor: ZSTD."""
_STATUS_FIELD = BatchReadBlobsResponse.Response.STATUS_FIELD_NUMBER


class BatchReader:
    """Reads small blobs, each distinct one once with its status (CAS9 to CAS12).

    Compressed only for clients that accept it, and only where it saves bytes (CAS10).
    """

    def __init__(self, blobs: BlobStore, instances: Instances) -> None:
        self._blobs = blobs
        self._instances = instances

    async def read(self, request: bytes) -> bytes:
        """A serialized BatchReadBlobsResponse; InvalidArgument for a malformed request."""
        check_request_size(request)
        plain = split_request(request, _FUNCTION_TAG, self._instances)
        if plain is not None and are_well_formed(*plain):
            function, fields = plain
            # The digest with its length, as a response holds it too.
            messages = {digest_of_field(field, function): field[1:] for field in fields}
            is_zstd_accepted = False
        else:
            messages, is_zstd_accepted = self._parse(request)
        _check_total(messages)
        if len(messages) <= DIGESTS_PER_STEP:
            return b"".join(await self._read(messages, is_zstd_accepted=is_zstd_accepted))
        parts: list[bytes] = []
        unread = iter(messages.items())
        while some := dict(islice(unread, DIGESTS_PER_STEP)):
            parts += await self._read(some, is_zstd_accepted=is_zstd_accepted)
            await asyncio.sleep(0)
        return b"".join(parts)

    async def _read(
        self, messages: Mapping[Digest, bytes], *, is_zstd_accepted: bool
    ) -> list[bytes]:
        found = await self._blobs.read_many(list(messages))
        frames = await compressed_where_smaller(found) if is_zstd_accepted else {}
        parts: list[bytes] = []
        for digest, message in messages.items():
            data = found.get(digest)
            if data is None:
                parts += _absent(digest, message)
            elif is_zstd_accepted and digest in frames:
                parts += _compressed(frames[digest], message)
            else:
                length = varint(len(data))
                size = 4 + len(message) + len(length) + len(data)
                parts += (_RESPONSES_TAG, varint(size), _DIGEST_TAG, message)
                parts += (_DATA_TAG, length, data, _STATUS_OK)
        return parts

    def _parse(self, request: bytes) -> tuple[dict[Digest, bytes], bool]:
        """Digests as in a plain request, and whether ZSTD may be answered."""
        try:
            message = BatchReadBlobsRequest.FromString(request)
        except DecodeError as error:
            raise InvalidArgument("the request is not a BatchReadBlobsRequest") from error
        digests = self._instances.parse_digests(
            message.instance_name, message.digests, message.digest_function
        )
        serialized = {digest: digest.to_message().SerializeToString() for digest in digests}
        messages = {digest: varint(len(each)) + each for digest, each in serialized.items()}
        return messages, Compressor.ZSTD in message.acceptable_compressors


def _check_total(digests: Iterable[Digest]) -> None:
    total = sum(digest.size_bytes for digest in digests)
    if total > MAX_BATCH_TOTAL_SIZE_BYTES:
        raise InvalidArgument(
            f"{total} bytes asked for; max_batch_total_size_bytes is "
            f"{MAX_BATCH_TOTAL_SIZE_BYTES}: read large blobs by ByteStream"
        )


def _compressed(frame: bytes, message: bytes) -> tuple[bytes, ...]:
    length = varint(len(frame))
    size = 2 + len(message) + len(length) + len(frame) + len(_STATUS_OK_ZSTD)
    head = (_RESPONSES_TAG, varint(size), _DIGEST_TAG, message)
    return *head, _DATA_TAG, length, frame, _STATUS_OK_ZSTD


def _absent(digest: Digest, message: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    status = status_of(NotFound(f"blob {digest} is not here")).SerializeToString()
    encoded = length_delimited(_STATUS_FIELD, status)
    size = 1 + len(message) + len(encoded)
    return _RESPONSES_TAG, varint(size), _DIGEST_TAG, message, encoded
