"""BlobStore and ActionCache in dicts: the contracts at their plainest, for tests above them."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from reapi.core.cache_state import CacheFinding, CacheState
from reapi.core.digest import EMPTY_HASHES, SHA256, Digest, DigestFunction, digest_of
from reapi.core.errors import DataLoss, InvalidArgument, NotFound, ReapiError
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult

_CHUNK_BYTES = 64 << 10


class MemoryBlobStore:
    """Passes the BlobStore contract suite; `blobs` may be looked at and changed by tests.

    `function` is for what is added without a digest.
    """

    def __init__(self, function: DigestFunction = SHA256) -> None:
        self.function = function
        self.blobs: dict[Digest, bytes] = {}
        self.call_counts: Counter[str] = Counter()
        """How often each method was called; a `read` counts when it begins."""
        self.error: ReapiError | None = None
        """What every call raises, as that of a store that is down."""
        self.write_error: ReapiError | None = None
        """What every write raises, as that of a full store."""
        self._damaged: set[Digest] = set()

    def add(self, data: bytes) -> Digest:
        """Stores `data` at once and says its digest."""
        digest = digest_of(data, self.function)
        self.blobs[digest] = data
        return digest

    def damage(self, digest: Digest, position: int = -1) -> None:
        """Flips a bit of the stored bytes; who reads them all notices, and then they are gone."""
        data = bytearray(self.blobs[digest])
        data[position] ^= 1
        self.blobs[digest] = bytes(data)
        self._damaged.add(digest)

    def _begin(self, call: str) -> None:
        self.call_counts[call] += 1
        if self.error is not None:
            raise self.error
        if self.write_error is not None and call.startswith("write"):
            raise self.write_error

    def _get(self, digest: Digest) -> bytes | None:
        return b"" if digest.hash == EMPTY_HASHES[digest.function] else self.blobs.get(digest)

    def _drop_damaged(self, digest: Digest) -> bool:
        if digest not in self._damaged:
            return False
        self._damaged.remove(digest)
        del self.blobs[digest]
        return True

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        self._begin("find_missing")
        return [digest for digest in dict.fromkeys(digests) if self._get(digest) is None]

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        self._begin("read_many")
        for digest in digests:
            self._drop_damaged(digest)
        found = {digest: self._get(digest) for digest in digests}
        return {digest: data for digest, data in found.items() if data is not None}

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        self._begin("read")
        data = self._get(digest)
        if data is None:
            raise NotFound(f"blob {digest} is not here")
        end = len(data) if limit is None else min(len(data), offset + limit)
        for start in range(offset, end, _CHUNK_BYTES):
            if start + _CHUNK_BYTES >= end and self._drop_damaged(digest):
                error_class = DataLoss if start > offset else NotFound
                raise error_class(f"the stored bytes of {digest} are damaged")
            yield data[start : min(start + _CHUNK_BYTES, end)]

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        self._begin("write_many")
        return self._write(blobs)

    def _write(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        failures: dict[Digest, ReapiError] = {}
        for digest, data in blobs.items():
            if digest_of(data, digest.function) == digest:
                self.blobs[digest] = data
                self._damaged.discard(digest)
            else:
                failures[digest] = InvalidArgument(f"the bytes do not hash to {digest}")
        return failures

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        self._begin("write")
        data = b"".join([chunk async for chunk in chunks])
        for error in self._write({digest: data}).values():
            raise error


class MemoryActionCache:
    """Keeps what it is given; checks nothing."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, Digest], ActionResult] = {}
        self.removals: dict[tuple[str, Digest], CacheFinding] = {}

    async def get(self, instance_name: str, action_digest: Digest) -> ActionResult:
        try:
            return self.results[instance_name, action_digest]
        except KeyError:
            raise NotFound(f"no result for action {action_digest}") from None

    async def explain(self, instance_name: str, action_digest: Digest) -> CacheFinding:
        is_present = (instance_name, action_digest) in self.results
        return CacheFinding(CacheState.PRESENT if is_present else CacheState.ABSENT)

    async def last_removal(self, instance_name: str, action_digest: Digest) -> CacheFinding | None:
        return self.removals.get((instance_name, action_digest))

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult, *, writer: str = ""
    ) -> ActionResult:
        self.results[instance_name, action_digest] = result
        return result
