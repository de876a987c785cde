"""What FindMissingBlobs remembers from call to call; the answers as such are fuzzed."""

import asyncio

import pytest

from reapi.cas.digest_fields import DIGESTS_PER_STEP
from reapi.cas.find_missing import MissingBlobsFinder
from reapi.cas.hash_filter import NoFilter
from reapi.cas.presence import Presence
from reapi.core.digest import BLAKE3, SHA1, SHA256, Digest, DigestFunction, digest_of
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


@pytest.mark.parametrize("function", [SHA256, SHA1], ids=["the plain form", "another form"])
async def test_reliability_B11_a_small_call_overtakes_a_very_large_one(
    function: DigestFunction,
) -> None:
    store = MemoryBlobStore(function)
    presence = Presence(lambda: 1_800_000_000, 3600, lambda: 0)
    finder = MissingBlobsFinder(store, presence, NoFilter(), INSTANCES)
    present = store.add(b"some bytes")
    absent = [
        Digest(f"{number:0{2 * function.hash_bytes}x}", 5, function).to_message()
        for number in range(5 * DIGESTS_PER_STEP)
    ]
    large = FindMissingBlobsRequest(blob_digests=[present.to_message(), *absent, *absent])
    small = FindMissingBlobsRequest(blob_digests=[present.to_message(), absent[0]])
    ended: list[str] = []

    async def find(name: str, request: FindMissingBlobsRequest) -> FindMissingBlobsResponse:
        reply = await finder.find(request.SerializeToString())
        ended.append(name)
        return FindMissingBlobsResponse.FromString(reply)

    replies = await asyncio.gather(find("large", large), find("small", small))
    assert ended == ["small", "large"]
    assert [list(reply.missing_blob_digests) for reply in replies] == [absent, [absent[0]]]
