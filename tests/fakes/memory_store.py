"""BlobStore and ActionCache in dicts: the contracts at their plainest, for tests above them."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from reapi.core.digest import EMPTY_HASHES, SHA256, Digest, DigestFunction, digest_of
from reapi.core.errors import InvalidArgument, NotFound, ReapiError
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

_CHUNK_BYTES = 64 << 10


class MemoryBlobStore:
    """Passes the BlobStore contract suite; `blobs` may be looked at and changed by tests.

    `function` is for what is added without a digest.
    """

    def __init__(self, function: DigestFunction = SHA256) -> None:
        self.function = function
        self.blobs: dict[Digest, bytes] = {}

    def add(self, data: bytes) -> Digest:
        """Stores `data` at once and says its digest."""
        digest = digest_of(data, self.function)
        self.blobs[digest] = data
        return digest

    def _get(self, digest: Digest) -> bytes | None:
        return b"" if digest.hash == EMPTY_HASHES[digest.function] else self.blobs.get(digest)

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        return [digest for digest in dict.fromkeys(digests) if self._get(digest) is None]

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        found = {digest: self._get(digest) for digest in digests}
        return {digest: data for digest, data in found.items() if data is not None}

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        data = self._get(digest)
        if data is None:
            raise NotFound(f"blob {digest} is not here")
        end = len(data) if limit is None else min(len(data), offset + limit)
        for start in range(offset, end, _CHUNK_BYTES):
            yield data[start : min(start + _CHUNK_BYTES, end)]

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        failures: dict[Digest, ReapiError] = {}
        for digest, data in blobs.items():
            if digest_of(data, digest.function) == digest:
                self.blobs[digest] = data
            else:
                failures[digest] = InvalidArgument(f"the bytes do not hash to {digest}")
        return failures

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        data = b"".join([chunk async for chunk in chunks])
        for error in (await self.write_many({digest: data})).values():
            raise error


class MemoryActionCache:
    """Keeps what it is given; checks nothing."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, Digest], ActionResult] = {}

    async def get(self, instance_name: str, action_digest: Digest) -> ActionResult:
        try:
            return self.results[instance_name, action_digest]
        except KeyError:
            raise NotFound(f"no result for action {action_digest}") from None

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult
    ) -> ActionResult:
        self.results[instance_name, action_digest] = result
        return result
