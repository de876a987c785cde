"""FindMissingBlobs from bytes to bytes: the call that clients make with thousands of digests.

The reply is put together from the very bytes of the request: the digests have field number 2 in
both messages.
"""

from collections.abc import Hashable

from google.protobuf.message import DecodeError

from reapi.core.digest import DigestFunction
from reapi.core.errors import InvalidArgument
from reapi.core.instances import Instances
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    FindMissingBlobsRequest,
    FindMissingBlobsResponse,
)

from .digest_fields import HASH_START, are_well_formed, digest_of_field, split_request
from .hash_filter import AbsenceFilter
from .presence import Presence

_FUNCTION_TAG = b"\x18"

_KNOWN_FIELDS = 150_000


class MissingBlobsFinder:
    """Answers requests, and remembers the digests of an epoch that were found present."""

    def __init__(
        self,
        blobs: BlobStore,
        presence: Presence,
        absence_filter: AbsenceFilter,
        instances: Instances,
    ) -> None:
        self._blobs = blobs
        self._presence = presence
        self._filter = absence_filter
        self._instances = instances
        # By function: the same field may name two blobs (D11).
        self._known: dict[DigestFunction, set[bytes]] = {}
        self._epoch = presence.epoch()

    async def find(self, request: bytes) -> bytes:
        """A serialized FindMissingBlobsResponse; InvalidArgument for a malformed request."""
        plain = split_request(request, _FUNCTION_TAG, self._instances)
        if plain is None:
            return await self._find_parsed(request)
        function, fields = plain
        epoch = self._presence.epoch()
        if epoch != self._epoch:
            self._known.clear()
            self._epoch = epoch
        known = self._known.setdefault(function, set())
        unknown = [field for field in fields if field not in known]
        if not are_well_formed(function, unknown):
            return await self._find_parsed(request)
        possible = self._filter.possible_texts(unknown, HASH_START)
        if not possible:
            return b"".join(dict.fromkeys(unknown))
        present = await self._find_present(possible, function)
        self._remember(present, function, epoch)
        return b"".join(dict.fromkeys(field for field in unknown if field not in present))

    async def _find_present(self, fields: list[bytes], function: DigestFunction) -> set[bytes]:
        by_digest = {digest_of_field(field, function): field for field in fields}
        for missing in await self._blobs.find_missing(by_digest):
            del by_digest[missing]
        return set(by_digest.values())

    def _remember(self, present: set[bytes], function: DigestFunction, epoch: Hashable) -> None:
        if sum(map(len, self._known.values())) + len(present) > _KNOWN_FIELDS:
            self._known.clear()
        if epoch == self._epoch == self._presence.epoch() and len(present) <= _KNOWN_FIELDS:
            self._known.setdefault(function, set()).update(present)

    async def _find_parsed(self, request: bytes) -> bytes:
        try:
            message = FindMissingBlobsRequest.FromString(request)
        except DecodeError as error:
            raise InvalidArgument("the request is not a FindMissingBlobsRequest") from error
        digests = self._instances.parse_digests(
            message.instance_name, message.blob_digests, message.digest_function
        )
        missing = await self._blobs.find_missing(digests)
        response = FindMissingBlobsResponse(
            missing_blob_digests=[digest.to_message() for digest in missing]
        )
        return response.SerializeToString()
