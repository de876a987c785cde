"""FindMissingBlobs from bytes to bytes: the call that clients make with thousands of digests.

The reply is put together from the very bytes of the request: the digests have field number 2 in
both messages.
"""

import asyncio
from collections.abc import Hashable, Sequence

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest, DigestFunction, parse_digest
from reapi.core.errors import InvalidArgument
from reapi.core.instances import Instances
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    FindMissingBlobsRequest,
    FindMissingBlobsResponse,
)

from .digest_fields import (
    DIGESTS_PER_STEP,
    HASH_START,
    are_well_formed,
    check_request_size,
    digest_of_field,
    split_request,
)
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
        check_request_size(request)
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
        if len(unknown) <= DIGESTS_PER_STEP:
            return b"".join(dict.fromkeys(await self._absent(unknown, function, epoch)))
        absent: dict[bytes, None] = {}
        for start in range(0, len(unknown), DIGESTS_PER_STEP):
            some = unknown[start : start + DIGESTS_PER_STEP]
            absent.update(dict.fromkeys(await self._absent(some, function, epoch)))
            await asyncio.sleep(0)
        return b"".join(absent)

    async def _absent(
        self, fields: list[bytes], function: DigestFunction, epoch: Hashable
    ) -> Sequence[bytes]:
        possible = self._filter.possible_texts(fields, HASH_START)
        if not possible:
            return fields
        present = await self._find_present(possible, function)
        self._remember(present, function, epoch)
        return [field for field in fields if field not in present]

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
        messages = message.blob_digests
        function = self._instances.parse_function(
            message.instance_name,
            message.digest_function,
            len(messages[0].hash) if messages else None,
        )
        missing: dict[Digest, None] = {}
        for start in range(0, len(messages), DIGESTS_PER_STEP):
            some = messages[start : start + DIGESTS_PER_STEP]
            digests = [parse_digest(each, function) for each in some]
            missing.update(dict.fromkeys(await self._blobs.find_missing(digests)))
            await asyncio.sleep(0)
        response = FindMissingBlobsResponse()
        for number, digest in enumerate(missing):
            response.missing_blob_digests.append(digest.to_message())
            if number % DIGESTS_PER_STEP == 0:
                await asyncio.sleep(0)
        return response.SerializeToString()
