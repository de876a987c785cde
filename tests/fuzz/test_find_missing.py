"""Any bytes as a FindMissingBlobs request: the fast path answers what the ordinary one does."""

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reapi.cas.find_missing import MissingBlobsFinder
from reapi.cas.hash_filter import HashFilter
from reapi.cas.presence import Presence
from reapi.core.digest import BLAKE3, EMPTY_HASHES, SHA1, SHA256, SHA256TREE, digest_of
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    FindMissingBlobsRequest,
)
from tests.fakes.instances import INSTANCES
from tests.fakes.memory_store import MemoryBlobStore

FUNCTIONS = [SHA256, BLAKE3, SHA256TREE, SHA1]
PRESENT = [
    digest_of(bytes([number]) * 10**number, function)
    for number in range(1, 5)
    for function in FUNCTIONS
]
"""Under its own function alone, whatever another one of the same length would say."""

ABSENT = [digest._replace(hash=digest.hash[::-1]) for digest in PRESENT]
EMPTY_HASH = digest_of(b"").hash

PRESENCE = Presence(lambda: 1_800_000_000, 3600, lambda: 0)


def make_filter(*, is_complete: bool) -> HashFilter:
    hash_filter = HashFilter(memoryview(bytearray(1 << 25)), memoryview(bytearray([is_complete])))
    hash_filter.add_keys([digest.key for digest in PRESENT])
    return hash_filter


FILTERS = {is_complete: make_filter(is_complete=is_complete) for is_complete in (False, True)}

hashes = st.one_of(
    st.sampled_from([digest.hash for digest in (*PRESENT, *ABSENT)]),
    st.sampled_from(list(EMPTY_HASHES.values())),
    st.sampled_from(["", "0" * 63, "0" * 65, PRESENT[0].hash.upper(), "g" * 64]),
    st.text(max_size=70),
)
sizes = st.one_of(
    st.sampled_from([digest.size_bytes for digest in PRESENT]),
    st.sampled_from([0, 1, -1, 127, 128, 2**49 - 1, 2**49, 2**53, 2**53 + 1, 2**63 - 1]),
)
plain_digests = st.builds(
    lambda digest: {"hash": digest.hash, "size_bytes": digest.size_bytes},
    st.sampled_from([*PRESENT, *ABSENT]),
)
odd_digests = st.builds(
    lambda hash_text, size: {"hash": hash_text, "size_bytes": size}, hashes, sizes
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Mostly well-formed requests, some with odd digests, some with bytes changed."""
    digests = draw(st.lists(st.one_of(plain_digests, plain_digests, odd_digests), max_size=6))
    message = FindMissingBlobsRequest(
        instance_name=draw(st.sampled_from(["", "main", "buck2", "other", "ünï", "x" * 200])),
        blob_digests=digests,
        digest_function=draw(st.sampled_from([0, 1, 2, 3, 8, 9, 99])),
    )
    serialized = bytearray(message.SerializeToString())
    for _ in range(draw(st.integers(0, 2))):
        if not serialized:
            break
        position = draw(st.integers(0, len(serialized) - 1))
        replacement = draw(st.binary(max_size=3))
        serialized[position : position + draw(st.integers(0, 2))] = replacement
    return bytes(serialized)


def make_finder(*, is_filter_complete: bool = False) -> MissingBlobsFinder:
    """One that remembers nothing yet."""
    store = MemoryBlobStore()
    store.blobs = {digest: b"" for digest in PRESENT}
    return MissingBlobsFinder(store, PRESENCE, FILTERS[is_filter_complete], INSTANCES)


def answer(request: bytes, *, is_filter_complete: bool, times: int) -> bytes | str:
    """The reply, or the message of the refusal, after `times` calls."""
    finder = make_finder(is_filter_complete=is_filter_complete)
    reply: bytes | str = ""
    for _ in range(times):
        try:
            reply = asyncio.run(finder.find(request))
        except InvalidArgument as error:
            reply = error.message
    return reply


def ordinary_answer(request: bytes) -> bytes | str:
    try:
        return asyncio.run(make_finder()._find_parsed(request))
    except InvalidArgument as error:
        return error.message


def entry(hash_text: str, size: bytes) -> bytes:
    digest = b"\x0a\x40" + hash_text.encode() + b"\x10" + size
    return b"\x12" + bytes([len(digest)]) + digest


@given(requests())
@example(b"")
@example(entry(PRESENT[0].hash, b"\x0a"))
@example(entry(PRESENT[0].hash, b"\x8a\x00"))  # a size written too long
@example(entry(ABSENT[0].hash, b"\x0a") + entry(PRESENT[0].hash, b"\x0a") * 2)
@example(entry(EMPTY_HASH, b"\x01"))
@example(entry(ABSENT[0].hash, b"\x0a").replace(b"\x12\x44", b"\x12\x45") + b"\x12\x00")
@example(b"\x0a\x04main" + entry(ABSENT[0].hash, b"\x0a") + b"\x18\x01")
@example(b"\x0a\x04main" + entry(PRESENT[0].hash, b"\x0a") + b"\x18\x09")
@example(b"\x0a\x05buck2" + entry(PRESENT[1].hash, b"\x0a"))
@example(b"\x0a\x05buck2" + entry(PRESENT[0].hash, b"\x0a") + b"\x18\x01")
@example(b"\x0a\x02\x18\x01")
@example(b"\x0a\x04main" + entry(ABSENT[0].hash, b"\x0a") + b"\x18\x01\x18\x02")
@settings(deadline=None, max_examples=500, derandomize=True)
def test_both_paths_give_the_same_answer(request: bytes) -> None:
    expected = ordinary_answer(request)
    for is_filter_complete in (False, True):
        for times in (1, 2):
            found = answer(request, is_filter_complete=is_filter_complete, times=times)
            assert found == expected
