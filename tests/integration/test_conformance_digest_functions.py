"""Conformance of digest functions through every service of a real server (conformance 1.3).

D7 is of SplitBlob and SpliceBlob, which are not served.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from reapi.clients import Client
from reapi.clients.methods import GET_ACTION_RESULT
from reapi.core.digest import (
    BLAKE3,
    DIGEST_FUNCTIONS,
    SHA1,
    SHA256,
    SHA256TREE,
    SHA512,
    Digest,
    DigestFunction,
    digest_of,
)
from reapi.core.errors import InvalidArgument
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import (
    QueryWriteStatusRequest,
    ReadRequest,
    WriteRequest,
)
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import local_storage
from tests.fakes.raw_client import RawClient, code_of, details_of, failure_of
from tests.integration.system import System, sh
from tests.unit.executor.harness import Executable
from tests.unit.scheduler.harness import metadata_of, response_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
SMALL = b"some bytes"
LARGE = bytes(range(251)) * 8000

EVERY_FUNCTION = pytest.mark.parametrize(
    "function", DIGEST_FUNCTIONS, ids=lambda function: function.name
)
STATED = [BLAKE3, SHA256TREE]
"""Those that resource names state, because nobody may infer them."""

INFERRED = [function for function in DIGEST_FUNCTIONS if function not in STATED]
NOT_SERVED = ["MD5", "VSO", "MURMUR3", "GITSHA1"]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[RawClient]:
    async with (
        local_storage(tmp_path) as storage,
        checked_client(storage) as made,
    ):
        yield made


async def upload(client: RawClient, data: bytes, digest: Digest, *, number: int) -> int:
    """The code of the entry of a batch with this one blob."""
    request = re_pb2.BatchUpdateBlobsRequest(
        requests=[{"digest": digest.to_message(), "data": data}],
        digest_function=number,  # type: ignore[arg-type]  # an enum's number
    )
    (response,) = (await client.cas.BatchUpdateBlobs(request)).responses
    return int(response.status.code)


async def is_missing(client: RawClient, digest: Digest, *, number: int, instance: str = "") -> bool:
    request = re_pb2.FindMissingBlobsRequest(
        instance_name=instance,
        blob_digests=[digest.to_message()],
        digest_function=number,  # type: ignore[arg-type]
    )
    return bool((await client.cas.FindMissingBlobs(request)).missing_blob_digests)


async def batch_read(
    client: RawClient, digest: Digest, *, number: int, instance: str = ""
) -> bytes | None:
    """The data, or None for a blob that is not there."""
    request = re_pb2.BatchReadBlobsRequest(
        instance_name=instance,
        digests=[digest.to_message()],
        digest_function=number,  # type: ignore[arg-type]
    )
    (response,) = (await client.cas.BatchReadBlobs(request)).responses
    assert response.digest == digest.to_message()
    return response.data if response.status.code == 0 else None


async def stream_in(client: RawClient, name: str, data: bytes) -> int:
    requests = [
        WriteRequest(resource_name=name, data=data[: 1 << 20]),
        WriteRequest(write_offset=len(data[: 1 << 20]), data=data[1 << 20 :], finish_write=True),
    ]
    return int((await client.bytestream.Write(requests)).committed_size)


async def stream_out(client: RawClient, name: str) -> bytes:
    replies = await client.bytestream.Read(ReadRequest(resource_name=name))
    return b"".join(reply.data for reply in replies)


@EVERY_FUNCTION
async def test_D1_a_hash_has_the_length_of_its_function(
    client: RawClient, function: DigestFunction
) -> None:
    good = digest_of(SMALL, function)
    assert await is_missing(client, good, number=function.number)
    for hash_text in (good.hash[1:], good.hash[2:], good.hash + "00", good.hash.upper(), "a" * 66):
        wrong = good._replace(hash=hash_text)
        request = re_pb2.FindMissingBlobsRequest(
            blob_digests=[wrong.to_message()], digest_function=function.name
        )
        assert await code_of(client.cas.FindMissingBlobs(request)) == INVALID
        name = f"blobs/{function.name.lower()}/{wrong}"
        assert await code_of(client.bytestream.Read(ReadRequest(resource_name=name))) == INVALID
        assert await upload(client, SMALL, wrong, number=function.number) == INVALID.value[0]


async def test_D1_D2_a_length_of_no_inferred_function_is_invalid(client: RawClient) -> None:
    for length in (32, 63, 65, 66, 127):
        digest = re_pb2.Digest(hash="a" * length, size_bytes=1)
        for call in (
            client.cas.FindMissingBlobs(re_pb2.FindMissingBlobsRequest(blob_digests=[digest])),
            client.cas.BatchReadBlobs(re_pb2.BatchReadBlobsRequest(digests=[digest])),
            client.cas.GetTree(re_pb2.GetTreeRequest(root_digest=digest)),
            client.action_cache.GetActionResult(
                re_pb2.GetActionResultRequest(action_digest=digest)
            ),
        ):
            assert await code_of(call) == INVALID


@pytest.mark.parametrize("function", INFERRED, ids=lambda function: function.name)
async def test_D2_a_function_that_is_not_stated_is_inferred_from_the_length(
    client: RawClient, function: DigestFunction
) -> None:
    digest = digest_of(SMALL, function)
    assert await upload(client, SMALL, digest, number=0) == 0
    for number in (0, function.number):
        assert not await is_missing(client, digest, number=number)
        assert await batch_read(client, digest, number=number) == SMALL
    assert await stream_out(client, f"blobs/{digest}") == SMALL


@pytest.mark.parametrize("function", STATED, ids=lambda function: function.name)
async def test_D2_blake3_and_sha256tree_are_never_inferred(
    client: RawClient, function: DigestFunction
) -> None:
    digest = digest_of(LARGE, function)
    assert await upload(client, LARGE, digest, number=0) == INVALID.value[0]
    assert await upload(client, LARGE, digest, number=function.number) == 0
    assert await is_missing(client, digest, number=0)
    assert await batch_read(client, digest, number=0) is None
    read = client.bytestream.Read(ReadRequest(resource_name=f"blobs/{digest}"))
    assert await code_of(read) == NOT_FOUND


@EVERY_FUNCTION
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_D3_resource_names_state_what_is_not_inferred(
    client: RawClient, function: DigestFunction, data: bytes
) -> None:
    digest = digest_of(data, function)
    segment = f"{function.name.lower()}/" if function in STATED else ""
    assert read_name("main", digest) == f"main/blobs/{segment}{digest}"
    name = write_name("main", "id", digest)
    assert name == f"main/uploads/id/blobs/{segment}{digest}"
    wrong = b"!" + data[1:]
    assert await code_of(stream_in(client, name, wrong)) == INVALID
    assert await stream_in(client, name, data) == len(data)
    status = await client.bytestream.QueryWriteStatus(QueryWriteStatusRequest(resource_name=name))
    assert status.complete
    assert await stream_out(client, read_name("main", digest)) == data
    assert await batch_read(client, digest, number=function.number) == data


@pytest.mark.parametrize("function", INFERRED, ids=lambda function: function.name)
async def test_D3_a_redundant_segment_is_taken(client: RawClient, function: DigestFunction) -> None:
    digest = digest_of(SMALL, function)
    segment = function.name.lower()
    assert await stream_in(client, f"uploads/id/blobs/{segment}/{digest}", SMALL) == len(SMALL)
    assert await stream_out(client, f"blobs/{segment}/{digest}") == SMALL
    assert await stream_out(client, f"blobs/{digest}") == SMALL


@EVERY_FUNCTION
async def test_D3_subjects_state_only_what_is_not_inferred(
    client: RawClient, function: DigestFunction
) -> None:
    absent = digest_of(b"absent", function)
    request = re_pb2.UpdateActionResultRequest(
        action_digest=digest_of(b"action", function).to_message(),
        action_result={"stdout_digest": absent.to_message()},
        digest_function=function.name,
    )
    error = await failure_of(client.action_cache.UpdateActionResult(request))
    (detail,) = details_of(error).details
    failure = error_details_pb2.PreconditionFailure()
    assert detail.Unpack(failure)
    segment = f"{function.name.lower()}/" if function in STATED else ""
    assert [each.subject for each in failure.violations] == [f"blobs/{segment}{absent}"]


@pytest.mark.parametrize("name", NOT_SERVED)
async def test_reliability_B6_D4_a_function_that_is_not_announced_is_invalid(
    client: RawClient, name: str
) -> None:
    """With a hint at what is announced."""
    digest = digest_of(SMALL)
    one, function = digest.to_message(), {"digest_function": name}
    batch = [{"digest": one, "data": SMALL}]
    calls = [
        client.cas.FindMissingBlobs(re_pb2.FindMissingBlobsRequest(blob_digests=[one], **function)),
        client.cas.FindMissingBlobs(re_pb2.FindMissingBlobsRequest(**function)),
        client.cas.BatchReadBlobs(re_pb2.BatchReadBlobsRequest(digests=[one], **function)),
        client.cas.BatchUpdateBlobs(re_pb2.BatchUpdateBlobsRequest(requests=batch, **function)),
        client.cas.GetTree(re_pb2.GetTreeRequest(root_digest=one, **function)),
        client.action_cache.GetActionResult(
            re_pb2.GetActionResultRequest(action_digest=one, **function)
        ),
        client.action_cache.UpdateActionResult(
            re_pb2.UpdateActionResultRequest(action_digest=one, action_result={}, **function)
        ),
        client.bytestream.Read(ReadRequest(resource_name=f"blobs/{name.lower()}/{digest}")),
        stream_in(client, f"uploads/id/blobs/{name.lower()}/{digest}", SMALL),
    ]
    for call in calls:
        error = await failure_of(call)
        assert error.code() == INVALID
        details = error.details() or ""
        assert f"digest function {name} is not served" in details
        assert "SHA256, BLAKE3" in details
        assert "GetCapabilities" in details


@EVERY_FUNCTION
async def test_reliability_B6_D4_a_hash_that_contradicts_the_stated_function_is_invalid(
    client: RawClient, function: DigestFunction
) -> None:
    other = digest_of(SMALL, SHA512 if function is not SHA512 else SHA1)
    digests = [other.to_message()]
    for call in (
        client.cas.FindMissingBlobs(
            re_pb2.FindMissingBlobsRequest(blob_digests=digests, digest_function=function.name)
        ),
        client.cas.BatchReadBlobs(
            re_pb2.BatchReadBlobsRequest(digests=digests, digest_function=function.name)
        ),
    ):
        assert await code_of(call) == INVALID
    assert await upload(client, SMALL, other, number=function.number) == INVALID.value[0]


async def test_D5_digests_of_one_request_share_a_function(client: RawClient) -> None:
    mixes = [(SHA256, SHA1), (SHA1, SHA256), (SHA512, SHA1)]
    for mix in mixes:
        digests = [digest_of(SMALL, function).to_message() for function in mix]
        for call in (
            client.cas.FindMissingBlobs(re_pb2.FindMissingBlobsRequest(blob_digests=digests)),
            client.cas.BatchReadBlobs(re_pb2.BatchReadBlobsRequest(digests=digests)),
        ):
            assert await code_of(call) == INVALID


async def test_D5_CAS4_a_blob_of_another_function_fails_alone(client: RawClient) -> None:
    """The first hash that can be one says of what function the batch is."""
    requests = [
        {"digest": {"hash": "no hash", "size_bytes": 10}, "data": SMALL},
        {"digest": digest_of(SMALL, SHA1).to_message(), "data": SMALL},
        {"digest": digest_of(SMALL, SHA256).to_message(), "data": SMALL},
    ]
    reply = await client.cas.BatchUpdateBlobs(re_pb2.BatchUpdateBlobsRequest(requests=requests))
    codes = [response.status.code for response in reply.responses]
    assert codes == [INVALID.value[0], 0, INVALID.value[0]]


async def test_D5_results_and_their_digests_share_a_function(client: RawClient) -> None:
    request = re_pb2.UpdateActionResultRequest(
        action_digest=digest_of(b"action", BLAKE3).to_message(),
        action_result={"stdout_digest": digest_of(SMALL, SHA1).to_message()},
        digest_function=BLAKE3.name,
    )
    assert await code_of(client.action_cache.UpdateActionResult(request)) == INVALID


@EVERY_FUNCTION
async def test_D6_outputs_have_the_function_of_the_action(
    system: System, function: DigestFunction
) -> None:
    script = "mkdir -p d/e; cat in/program >d/e/a; head -c 20000 /dev/zero >big; echo said"
    command = sh(
        script,
        output_paths=["d", "big"],
        output_directory_format=re_pb2.Command.TREE_AND_DIRECTORY,
    )
    tree = {"in": {"program": Executable(b"#!/bin/sh\n"), "empty": b""}}
    action = await system.add(command, tree, function=function)
    response = await system.run_action(action, digest_function=function.name)
    assert response.status.code == 0, response.status
    result = response.result
    (file,), (directory,) = result.output_files, result.output_directories
    assert file.digest == digest_of(bytes(20000), function).to_message()
    assert await system.read(file.digest, function) == bytes(20000)
    assert result.stdout_digest == digest_of(b"said\n", function).to_message()
    data = await system.read(directory.tree_digest, function)
    message = re_pb2.Tree.FromString(data)
    (child,) = message.children
    assert child.files[0].digest == digest_of(b"#!/bin/sh\n", function).to_message()
    root = digest_of(message.root.SerializeToString(), function)
    assert directory.root_directory_digest == root.to_message()
    assert await system.read(directory.root_directory_digest, function)
    again = await system.run_action(action, digest_function=function.name)
    assert again.cached_result
    assert again.result == result


@EVERY_FUNCTION
async def test_D6_a_command_runs_from_files_to_files_under_every_function(
    system: System, tmp_path: Path, function: DigestFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user of the Python client has it, twice: run, then cached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/text").write_bytes(LARGE)
    async with Client(system.address, digest_function=function.name) as client:
        for is_again in (False, True):
            result = await client.run(
                ["sh", "-c", "mkdir out && cp in/text out/copy && echo made >file && echo done"],
                inputs=["in"],
                outputs=["out", "file"],
                root=tmp_path,
            )
            assert (result.exit_code, result.stdout, result.cached) == (0, b"done\n", is_again)
            assert (tmp_path / "out/copy").read_bytes() == LARGE
            assert (tmp_path / "file").read_bytes() == b"made\n"
            outputs = [entry.digest for entry in result.outputs]
            assert digest_of(b"made\n", function) in outputs
            for digest in (result.action_digest, result.stdout_digest, *outputs):
                assert digest is not None
                assert digest.function is function
        details = await client.get_action(result.action_digest)
        assert details.result is not None
        (operation, *_) = await client.list_operations()
        assert operation.action_digest == result.action_digest


async def test_D8_gitsha1_is_not_announced_and_not_taken_for_sha1(client: RawClient) -> None:
    capabilities = await client.capabilities.GetCapabilities(re_pb2.GetCapabilitiesRequest())
    gitsha1 = re_pb2.DigestFunction.GITSHA1
    assert gitsha1 not in capabilities.cache_capabilities.digest_functions
    digest = digest_of(b"blob 10\0" + SMALL, SHA1)._replace(size_bytes=10)
    assert await upload(client, SMALL, digest, number=0) == INVALID.value[0]


async def test_D9_a_blob_of_the_official_vectors_goes_in_and_out(client: RawClient) -> None:
    data = (bytes(range(251)) * 408)[:102400]
    hash_text = "0668d69e5331840d2f1823d717b7b3f5d1fdc8a09504cddb692b87ff83d50e5f"
    name = f"blobs/sha256tree/{hash_text}/102400"
    assert await stream_in(client, f"uploads/id/{name}", data) == 102400
    assert await stream_out(client, name) == data


@EVERY_FUNCTION
async def test_D10_metadata_states_the_function(system: System, function: DigestFunction) -> None:
    action = await system.add(sh("true"), function=function)
    operations = await system.execute(action, digest_function=function.name)
    operations += await system.wait(operations[0].name)
    for operation in operations:
        metadata = metadata_of(operation)
        assert metadata.digest_function == function.number
        assert metadata.action_digest == action.to_message()


async def test_D11_equal_bytes_under_two_functions_are_two_blobs(client: RawClient) -> None:
    """And a hash of one function names nothing under another of the same length."""
    for data in (SMALL, LARGE):
        one, other = digest_of(data, SHA256), digest_of(data, BLAKE3)
        assert await upload(client, data, one, number=SHA256.number) == 0
        assert await is_missing(client, other, number=BLAKE3.number)
        assert await is_missing(client, one, number=BLAKE3.number)
        assert await upload(client, data, one, number=BLAKE3.number) == INVALID.value[0]
        assert await upload(client, data, other, number=BLAKE3.number) == 0
        assert not await is_missing(client, one, number=SHA256.number)
        assert not await is_missing(client, other, number=BLAKE3.number)
        assert await is_missing(client, other, number=SHA256.number)


async def test_D11_results_of_one_hash_under_two_functions_are_two_results(
    client: RawClient,
) -> None:
    action = digest_of(b"action")
    for number, exit_code in ((SHA256.number, 1), (BLAKE3.number, 2)):
        update = re_pb2.UpdateActionResultRequest(
            action_digest=action.to_message(),
            action_result={"exit_code": exit_code},
            digest_function=number,  # type: ignore[arg-type]
        )
        get = re_pb2.GetActionResultRequest(
            action_digest=action.to_message(),
            digest_function=number,  # type: ignore[arg-type]
        )
        assert await code_of(client.action_cache.GetActionResult(get)) == NOT_FOUND
        await client.action_cache.UpdateActionResult(update)
        assert (await client.action_cache.GetActionResult(get)).exit_code == exit_code


class TestInstanceOfBlake3:
    """Q-BUCK5: a client that never states its function, also when it is BLAKE3."""

    async def test_storage_reads_64_digits_as_blake3(self, client: RawClient) -> None:
        digest = digest_of(LARGE, BLAKE3)
        assert await stream_in(client, f"buck2/uploads/id/blobs/{digest}", LARGE) == len(LARGE)
        assert await stream_out(client, f"buck2/blobs/{digest}") == LARGE
        for number in (0, BLAKE3.number):
            assert not await is_missing(client, digest, number=number, instance="buck2")
            assert await batch_read(client, digest, number=number, instance="buck2") == LARGE
        small = digest_of(SMALL, BLAKE3)
        request = re_pb2.BatchUpdateBlobsRequest(
            instance_name="buck2", requests=[{"digest": small.to_message(), "data": SMALL}]
        )
        (response,) = (await client.cas.BatchUpdateBlobs(request)).responses
        assert response.status.code == 0
        assert not await is_missing(client, small, number=BLAKE3.number)

    async def test_an_action_runs_and_is_cached(self, system: System) -> None:
        command = sh("cat in; echo out >o", output_paths=["o"])
        action = await system.add(command, {"in": b"input"}, function=BLAKE3)
        response = await system.run_action(action, instance_name="buck2")
        assert response.status.code == 0, response.status
        assert response.result.stdout_digest == digest_of(b"input", BLAKE3).to_message()
        assert response.result.output_files[0].digest == digest_of(b"out\n", BLAKE3).to_message()
        request = re_pb2.GetActionResultRequest(
            instance_name="buck2", action_digest=action.to_message()
        )
        cached = await system.channel.unary(GET_ACTION_RESULT, request)
        assert cached == response.result
        operations = await system.execute(action, instance_name="buck2")
        assert response_of(operations[-1]).cached_result
        assert metadata_of(operations[-1]).digest_function == BLAKE3.number

    async def test_a_client_of_sha256_is_told_at_once(self, system: System) -> None:
        async with Client(system.address, instance_name="buck2") as client:
            with pytest.raises(InvalidArgument, match="does not serve digest function SHA256"):
                await client.upload_bytes(SMALL)
        async with Client(
            system.address, instance_name="buck2", digest_function="BLAKE3"
        ) as client:
            digest = await client.upload_bytes(SMALL)
            assert await client.read_bytes(digest) == SMALL
