"""Conformance of GetCapabilities, and of what all storage services share (conformance 1.1, 1.2)."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from reapi.core.compression import decompress_blob
from reapi.core.digest import DIGEST_FUNCTIONS, DigestFunction, digest_of
from reapi.core.resource_name import RESERVED_SEGMENTS, read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import (
    QueryWriteStatusRequest,
    ReadRequest,
    WriteRequest,
)
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import local_storage, serving
from tests.fakes.raw_client import RawClient, code_of, raw_client

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DATA = b"some bytes"
DIGEST = digest_of(DATA)
FUNCTION = re_pb2.DigestFunction
HASH = DIGEST.hash

BAD_DIGESTS = [
    re_pb2.Digest(hash=HASH.upper(), size_bytes=10),
    re_pb2.Digest(hash=HASH[:-1], size_bytes=10),
    re_pb2.Digest(hash=HASH + "0", size_bytes=10),
    re_pb2.Digest(hash=HASH[:-1] + "g", size_bytes=10),
    re_pb2.Digest(hash=HASH[:-1] + "٣", size_bytes=10),
    re_pb2.Digest(hash=HASH, size_bytes=-1),
    re_pb2.Digest(hash=HASH, size_bytes=2**53 + 1),
    re_pb2.Digest(hash=HASH, size_bytes=0),
    re_pb2.Digest(hash=digest_of(b"").hash, size_bytes=103),
    re_pb2.Digest(),
]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[RawClient]:
    async with (
        local_storage(tmp_path) as storage,
        checked_client(storage) as made,
    ):
        await storage.blobs.write_many({DIGEST: DATA})
        yield made


@pytest.fixture
async def capabilities(client: RawClient) -> re_pb2.ServerCapabilities:
    return await client.capabilities.GetCapabilities(re_pb2.GetCapabilitiesRequest())


class TestGeneral:
    async def test_G1_a_right_hash_with_a_wrong_size_is_never_fixed(
        self, client: RawClient
    ) -> None:
        wrong = re_pb2.Digest(hash=HASH, size_bytes=11)
        missing = await client.cas.FindMissingBlobs(
            re_pb2.FindMissingBlobsRequest(blob_digests=[wrong])
        )
        assert list(missing.missing_blob_digests) == [wrong]
        read = await client.cas.BatchReadBlobs(re_pb2.BatchReadBlobsRequest(digests=[wrong]))
        assert read.responses[0].status.code == grpc.StatusCode.NOT_FOUND.value[0]
        request = ReadRequest(resource_name=f"blobs/{HASH}/11")
        assert await code_of(client.bytestream.Read(request)) == grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize("bad", BAD_DIGESTS, ids=str)
    async def test_reliability_B3_B5_G2_G4_malformed_digests_are_invalid(
        self, client: RawClient, bad: re_pb2.Digest
    ) -> None:
        calls = [
            client.cas.FindMissingBlobs(re_pb2.FindMissingBlobsRequest(blob_digests=[bad])),
            client.cas.BatchReadBlobs(re_pb2.BatchReadBlobsRequest(digests=[bad])),
            client.cas.GetTree(re_pb2.GetTreeRequest(root_digest=bad)),
            client.cas.SplitBlob(re_pb2.SplitBlobRequest(blob_digest=bad)),
            client.cas.SpliceBlob(re_pb2.SpliceBlobRequest(blob_digest=bad)),
            client.cas.SpliceBlob(
                re_pb2.SpliceBlobRequest(blob_digest=DIGEST.to_message(), chunk_digests=[bad])
            ),
            client.action_cache.GetActionResult(re_pb2.GetActionResultRequest(action_digest=bad)),
            client.action_cache.UpdateActionResult(
                re_pb2.UpdateActionResultRequest(
                    action_digest=bad, action_result=re_pb2.ActionResult()
                )
            ),
        ]
        assert [await code_of(call) for call in calls] == [INVALID] * len(calls)
        update = await client.cas.BatchUpdateBlobs(
            re_pb2.BatchUpdateBlobsRequest(requests=[{"digest": bad, "data": DATA}])
        )
        assert update.responses[0].status.code == INVALID.value[0]
        name = f"blobs/{bad.hash}/{bad.size_bytes}"
        for call in (
            client.bytestream.Read(ReadRequest(resource_name=name)),
            client.bytestream.Write([WriteRequest(resource_name=f"uploads/u/{name}")]),
            client.bytestream.QueryWriteStatus(
                QueryWriteStatusRequest(resource_name=f"uploads/u/{name}")
            ),
        ):
            assert await code_of(call) == INVALID

    async def test_G4_an_absent_digest_is_invalid(self, client: RawClient) -> None:
        for call in (
            client.cas.GetTree(re_pb2.GetTreeRequest()),
            client.action_cache.GetActionResult(re_pb2.GetActionResultRequest()),
        ):
            assert await code_of(call) == INVALID

    @pytest.mark.parametrize("function", DIGEST_FUNCTIONS, ids=lambda function: function.name)
    @pytest.mark.parametrize("instance_name", ["", "main"])
    async def test_reliability_B4_G3_the_empty_blob_is_everywhere(
        self, client: RawClient, function: DigestFunction, instance_name: str
    ) -> None:
        """It was never uploaded."""
        empty = digest_of(b"", function)
        one = empty.to_message()
        fields = {"instance_name": instance_name, "digest_function": function.number}
        missing = await client.cas.FindMissingBlobs(
            re_pb2.FindMissingBlobsRequest(blob_digests=[one], **fields)
        )
        assert not missing.missing_blob_digests
        for accepted in ([], [re_pb2.Compressor.ZSTD]):
            batch = await client.cas.BatchReadBlobs(
                re_pb2.BatchReadBlobsRequest(
                    digests=[one], acceptable_compressors=accepted, **fields
                )
            )
            (answer,) = batch.responses
            assert (answer.status.code, answer.data) == (0, b"")
        for limit in (0, 5):
            name = read_name(instance_name, empty)
            request = ReadRequest(resource_name=name, read_limit=limit)
            assert b"".join([r.data for r in await client.bytestream.Read(request)]) == b""
        zstd = ReadRequest(resource_name=read_name(instance_name, empty, re_pb2.Compressor.ZSTD))
        frame = b"".join([reply.data for reply in await client.bytestream.Read(zstd)])
        assert decompress_blob(frame, 0) == b""
        status = await client.bytestream.QueryWriteStatus(
            QueryWriteStatusRequest(resource_name=write_name(instance_name, "u", empty))
        )
        assert (status.committed_size, status.complete) == (0, True)
        (page,) = await client.cas.GetTree(re_pb2.GetTreeRequest(root_digest=one, **fields))
        assert list(page.directories) == [re_pb2.Directory()]
        split = await client.cas.SplitBlob(re_pb2.SplitBlobRequest(blob_digest=one, **fields))
        assert not split.chunk_digests

    async def test_G6_an_unknown_instance_is_invalid_everywhere(self, client: RawClient) -> None:
        message, name = DIGEST.to_message(), "un/known"
        calls = [
            client.capabilities.GetCapabilities(re_pb2.GetCapabilitiesRequest(instance_name=name)),
            client.cas.FindMissingBlobs(re_pb2.FindMissingBlobsRequest(instance_name=name)),
            client.cas.FindMissingBlobs(
                re_pb2.FindMissingBlobsRequest(instance_name=name, blob_digests=[message])
            ),
            client.cas.BatchUpdateBlobs(re_pb2.BatchUpdateBlobsRequest(instance_name=name)),
            client.cas.BatchReadBlobs(re_pb2.BatchReadBlobsRequest(instance_name=name)),
            client.cas.GetTree(re_pb2.GetTreeRequest(instance_name=name, root_digest=message)),
            client.action_cache.GetActionResult(
                re_pb2.GetActionResultRequest(instance_name=name, action_digest=message)
            ),
            client.bytestream.Read(ReadRequest(resource_name=read_name(name, DIGEST))),
            client.bytestream.Write(
                [WriteRequest(resource_name=write_name(name, "u", DIGEST), data=DATA)]
            ),
        ]
        assert [await code_of(call) for call in calls] == [INVALID] * len(calls)

    async def test_G7_reserved_words_end_an_instance_name(self, client: RawClient) -> None:
        for word in RESERVED_SEGMENTS - {"blobs"}:
            request = ReadRequest(resource_name=f"{word}/blobs/{DIGEST}")
            assert await code_of(client.bytestream.Read(request)) == INVALID

    @pytest.mark.parametrize("value", [b"", b"\xff\xff", b"\x0a\x7f"])
    async def test_G8_bad_request_metadata_fails_no_call(
        self, client: RawClient, value: bytes
    ) -> None:
        key = "build.bazel.remote.execution.v2.requestmetadata-bin"
        request = re_pb2.FindMissingBlobsRequest()
        await client.cas.FindMissingBlobs(request, metadata=((key, value),))

    async def test_G10_unknown_enum_numbers_are_invalid(self, client: RawClient) -> None:
        message = DIGEST.to_message()
        for number in (FUNCTION.MD5, 77):
            request = re_pb2.FindMissingBlobsRequest(
                blob_digests=[message],
                digest_function=number,  # type: ignore[arg-type]  # what a newer client may send
            )
            assert await code_of(client.cas.FindMissingBlobs(request)) == INVALID

    async def test_requests_that_are_no_messages_are_invalid(self, client: RawClient) -> None:
        assert await code_of(client.cas.FindMissingBlobs(b"\xff\xff")) == INVALID
        assert await code_of(client.cas.BatchReadBlobs(b"\xff\xff")) == INVALID


class TestCapabilities:
    async def test_CAP1_CAP2_caches_and_execution_are_told_of(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        assert capabilities.HasField("cache_capabilities")
        assert capabilities.execution_capabilities.exec_enabled

    async def test_CAP2_without_execution_its_message_is_absent(self, tmp_path: Path) -> None:
        async with (
            local_storage(tmp_path) as storage,
            serving(storage, has_execution=False) as address,
            raw_client(address) as client,
        ):
            reply = await client.capabilities.GetCapabilities(re_pb2.GetCapabilitiesRequest())
            assert reply.HasField("cache_capabilities")
            assert not reply.HasField("execution_capabilities")

    async def test_CAP3_the_range_of_versions_is_set(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        low, high = capabilities.low_api_version, capabilities.high_api_version
        assert (low.major, low.minor) == (2, 0)
        assert (low.major, low.minor) <= (high.major, high.minor) <= (2, 12)
        assert not capabilities.HasField("deprecated_api_version")

    async def test_CAP4_versions_with_output_paths_and_action_platform_are_announced(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        """IN5 and EX21 prove that both work."""
        high = capabilities.high_api_version
        assert (high.major, high.minor) >= (2, 3)

    async def test_CAP5_CAP6_GO1_functions_are_known_and_sha256_is_the_single_one(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        execution = capabilities.execution_capabilities
        assert execution.digest_function == FUNCTION.SHA256
        assert execution.digest_function in execution.digest_functions
        for functions in (
            capabilities.cache_capabilities.digest_functions,
            execution.digest_functions,
        ):
            assert list(functions) == [function.number for function in DIGEST_FUNCTIONS]
            assert FUNCTION.UNKNOWN not in functions

    async def test_CAP6_Q_BUCK5_an_instance_announces_what_it_can_tell_apart(
        self, client: RawClient
    ) -> None:
        request = re_pb2.GetCapabilitiesRequest(instance_name="buck2")
        reply = await client.capabilities.GetCapabilities(request)
        assert reply.execution_capabilities.digest_function == FUNCTION.BLAKE3
        for functions in (
            reply.cache_capabilities.digest_functions,
            reply.execution_capabilities.digest_functions,
        ):
            assert functions[0] == FUNCTION.BLAKE3
            assert FUNCTION.SHA256 not in functions
            assert {FUNCTION.SHA1, FUNCTION.SHA512, FUNCTION.SHA256TREE} <= set(functions)

    async def test_CAP7_L1_a_batch_fits_into_a_message_of_4_MiB(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        limit = capabilities.cache_capabilities.max_batch_total_size_bytes
        assert 3_000_000 <= limit <= 4_000_000

    async def test_CAP8_blobs_have_no_largest_size(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        assert capabilities.cache_capabilities.max_cas_blob_size_bytes == 0

    async def test_CAP9_Q_SISO4_zstd_is_all_that_is_listed(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        """That it works, as Q-BUCK2 asks, is shown in test_conformance_zstd.py."""
        cache = capabilities.cache_capabilities
        assert list(cache.supported_compressors) == [re_pb2.Compressor.ZSTD]
        assert list(cache.supported_batch_update_compressors) == [re_pb2.Compressor.ZSTD]

    async def test_CAP12_nothing_is_promised_that_is_not_there(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        cache = capabilities.cache_capabilities
        assert not cache.HasField("rep_max_cdc_params")

    async def test_CAP10_absolute_symlinks_are_allowed(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        strategy = capabilities.cache_capabilities.symlink_absolute_path_strategy
        assert strategy == re_pb2.SymlinkAbsolutePathStrategy.ALLOWED

    async def test_CAP13_priorities_of_either_sign_are_announced(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        for announced in (
            capabilities.cache_capabilities.cache_priority_capabilities,
            capabilities.execution_capabilities.execution_priority_capabilities,
        ):
            (one,) = announced.priorities
            assert one.min_priority < 0 < one.max_priority

    async def test_CAP14_updates_are_enabled(self, capabilities: re_pb2.ServerCapabilities) -> None:
        assert capabilities.cache_capabilities.action_cache_update_capabilities.update_enabled

    async def test_CAP15_no_node_property_is_announced(
        self, capabilities: re_pb2.ServerCapabilities
    ) -> None:
        assert not capabilities.execution_capabilities.supported_node_properties
