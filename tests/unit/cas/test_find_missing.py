"""What FindMissingBlobs remembers from call to call; the answers as such are fuzzed."""

from reapi.cas.find_missing import MissingBlobsFinder
from reapi.cas.hash_filter import NoFilter
from reapi.cas.presence import Presence
from reapi.core.digest import BLAKE3, SHA256, digest_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    FindMissingBlobsRequest,
    FindMissingBlobsResponse,
)
from tests.fakes.instances import INSTANCES
from tests.fakes.memory_store import MemoryBlobStore

DIGEST = digest_of(b"some bytes", SHA256)


async def missing(finder: MissingBlobsFinder, instance_name: str, number: int) -> int:
    """How many of DIGEST's hash and size are missing, read as the request says."""
    request = FindMissingBlobsRequest(
        instance_name=instance_name,
        blob_digests=[DIGEST.to_message()],
        digest_function=number,  # type: ignore[arg-type]  # an enum's number
    )
    reply = await finder.find(request.SerializeToString())
    return len(FindMissingBlobsResponse.FromString(reply).missing_blob_digests)


async def test_D11_what_is_known_of_one_function_is_unknown_of_another() -> None:
    store = MemoryBlobStore()
    store.blobs[DIGEST] = b"some bytes"
    presence = Presence(lambda: 1_800_000_000, 3600, lambda: 0)
    finder = MissingBlobsFinder(store, presence, NoFilter(), INSTANCES)
    for _ in range(2):  # the second time from memory
        assert await missing(finder, "main", 0) == 0
        assert await missing(finder, "main", SHA256.number) == 0
        assert await missing(finder, "main", BLAKE3.number) == 1
        assert await missing(finder, "buck2", 0) == 1
    del store.blobs[DIGEST]
    assert await missing(finder, "main", 0) == 0, "it was not remembered"
