"""FindMissingBlobs from bytes to bytes: the call that clients make with thousands of digests.

The reply is put together from the very bytes of the request: the digests have field number 2 in
both messages.
"""

from collections.abc import Hashable

from google.protobuf.message import DecodeError

from reapi.core.digest import parse_digests
from reapi.core.errors import InvalidArgument
from reapi.core.instance_names import check_instance_name
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    FindMissingBlobsRequest,
    FindMissingBlobsResponse,
)

from .digest_fields import HASH_START, are_well_formed, digest_of_field, split_request
from .presence import Presence
from .shared_memory import HashFilter

_TRAILER = b"\x18\x01"
"""digest_function: SHA256."""

_KNOWN_FIELDS = 150_000


class MissingBlobsFinder:
    """Answers requests, and remembers the digests of an epoch that were found present."""

    def __init__(
        self,
        blobs: BlobStore,
        presence: Presence,
        hash_filter: HashFilter,
        instance_names: frozenset[str],
    ) -> None:
        self._blobs = blobs
        self._presence = presence
        self._filter = hash_filter
        self._instance_names = instance_names
        self._known: set[bytes] = set()
        self._epoch = presence.epoch()

    async def find(self, request: bytes) -> bytes:
        """A serialized FindMissingBlobsResponse; InvalidArgument for a malformed request."""
        plain = split_request(request, _TRAILER)
        if plain is None:
            return await self._find_parsed(request)
        instance_name, fields = plain
        check_instance_name(instance_name, self._instance_names)
        epoch = self._presence.epoch()
        if epoch != self._epoch:
            self._known.clear()
            self._epoch = epoch
        known = self._known
        unknown = [field for field in fields if field not in known]
        if not are_well_formed(unknown):
            return await self._find_parsed(request)
        possible = self._filter.possible_texts(unknown, HASH_START)
        if not possible:
            return b"".join(dict.fromkeys(unknown))
        present = await self._find_present(possible)
        self._remember(present, epoch)
        return b"".join(dict.fromkeys(field for field in unknown if field not in present))

    async def _find_present(self, fields: list[bytes]) -> set[bytes]:
        by_digest = {digest_of_field(field): field for field in fields}
        for missing in await self._blobs.find_missing(by_digest):
            del by_digest[missing]
        return set(by_digest.values())

    def _remember(self, present: set[bytes], epoch: Hashable) -> None:
        if len(self._known) + len(present) > _KNOWN_FIELDS:
            self._known.clear()
        if epoch == self._epoch == self._presence.epoch() and len(present) <= _KNOWN_FIELDS:
            self._known |= present

    async def _find_parsed(self, request: bytes) -> bytes:
        try:
            message = FindMissingBlobsRequest.FromString(request)
        except DecodeError as error:
            raise InvalidArgument("the request is not a FindMissingBlobsRequest") from error
        check_instance_name(message.instance_name, self._instance_names)
        digests = parse_digests(message.blob_digests, message.digest_function)
        missing = await self._blobs.find_missing(digests)
        response = FindMissingBlobsResponse(
            missing_blob_digests=[digest.to_message() for digest in missing]
        )
        return response.SerializeToString()
