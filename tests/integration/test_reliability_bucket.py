"""Somebody else writes to the bucket: only the true bytes ever come out (reliability S4)."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.objects.names import new_suffix, object_name
from reapi.cas.objects.s3_config import S3Config
from reapi.core.compression import compress_blob
from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest
from tests.fakes.checked_client import checked_client
from tests.fakes.local_storage import local_storage
from tests.fakes.raw_client import RawClient, code_of
from tests.minio import S3Server, minio_client

NOT_FOUND, DATA_LOSS = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS
ZSTD = re_pb2.Compressor.ZSTD
SEED = random.Random(4)
NOISE = SEED.randbytes(40_000)
TEXT = b"".join(b"line %d\n" % number for number in range(10_000))
CONTENTS = {digest_of(data): data for data in (NOISE, TEXT, SEED.randbytes(2_500_000))}

Change = Callable[[bytes], bytes | None]


class Bucket:
    """The objects of blobs, as whoever has the keys of the bucket sees them."""

    def __init__(self, server: S3Server, config: S3Config) -> None:
        self._client = minio_client(server)
        self._config = config

    def keys(self) -> list[str]:
        found = self._client.list_objects(self._config.bucket, recursive=True)
        return sorted(str(one.object_name) for one in found)

    def key_of(self, digest: Digest) -> str:
        (key,) = (key for key in self.keys() if f"/{digest.hash}-" in key and "/cas/" in key)
        return key

    def get(self, key: str) -> bytes:
        response = self._client.get_object(self._config.bucket, key)
        try:
            return bytes(response.read())
        finally:
            response.close()
            response.release_conn()

    def put(self, key: str, data: bytes | None) -> None:
        """Deletes when there is no data."""
        if data is None:
            self._client.remove_object(self._config.bucket, key)
        else:
            self._client.put_object(self._config.bucket, key, BytesIO(data), len(data))

    def key(self, name: str) -> str:
        return self._config.key("cas", name)


@pytest.fixture
def bucket(s3_server: S3Server, s3_config: S3Config) -> Bucket:
    return Bucket(s3_server, s3_config)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def client(
    s3_config: S3Config, tmp_path: Path, registry: CollectorRegistry
) -> AsyncIterator[RawClient]:
    async with _served(s3_config, tmp_path / "data", registry) as made:
        yield made


@asynccontextmanager
async def _served(
    config: S3Config, data_dir: Path, registry: CollectorRegistry
) -> AsyncIterator[RawClient]:
    async with (
        local_storage(data_dir, registry=registry, s3=config, compresses=True) as storage,
        checked_client(storage) as client,
    ):
        assert await storage.blobs.write_many(CONTENTS) == {}
        yield client


async def missing(client: RawClient, *digests: Digest) -> list[Digest]:
    request = re_pb2.FindMissingBlobsRequest(blob_digests=[d.to_message() for d in digests])
    reply = await client.cas.FindMissingBlobs(request)
    return [Digest(each.hash, each.size_bytes) for each in reply.missing_blob_digests]


async def read(client: RawClient, digest: Digest, **fields: int) -> bytes | grpc.StatusCode:
    """The plain bytes, or the code."""
    request = ReadRequest(resource_name=read_name("", digest), **fields)
    return await _received(client, request)


async def _received(client: RawClient, request: ReadRequest) -> bytes | grpc.StatusCode:
    try:
        return b"".join([reply.data for reply in await client.bytestream.Read(request)])
    except grpc.aio.AioRpcError as error:
        return error.code()


def _other(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data)


CHANGES: dict[str, Change] = {
    "other bytes": _other,
    "a frame of other bytes": lambda data: compress_blob(TEXT[::-1]),
    "appended bytes": lambda data: data + data,
    "one bit": lambda data: data[:-9] + bytes((data[-9] ^ 4,)) + data[-8:],
    "half of it": lambda data: data[: len(data) // 2],
    "nothing in it": lambda data: b"",
    "deleted": lambda data: None,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("digest", CONTENTS, ids=["plain", "compressed", "of several chunks"])
async def test_reliability_S4_a_forged_object_is_missing_and_counted(
    client: RawClient, bucket: Bucket, registry: CollectorRegistry, digest: Digest, change: str
) -> None:
    assert await read(client, digest) == CONTENTS[digest]
    key = bucket.key_of(digest)
    assert key.endswith(".zst") == (CONTENTS[digest] is TEXT)
    bucket.put(key, CHANGES[change](bucket.get(key)))
    if change == "appended bytes":  # those after its end are never asked for
        assert await read(client, digest) in (CONTENTS[digest], NOT_FOUND, DATA_LOSS)
        request = ReadRequest(resource_name=read_name("", digest, ZSTD))
        if digest.size_bytes == len(TEXT):
            assert await _received(client, request) in (NOT_FOUND, DATA_LOSS)
        return
    assert await read(client, digest, read_offset=3, read_limit=3) in (NOT_FOUND, DATA_LOSS)
    assert await read(client, digest) in (NOT_FOUND, DATA_LOSS)
    assert await missing(client, *CONTENTS) == [digest]
    assert registry.get_sample_value("reapi_storage_quarantined_blobs_total") == 1
    request = re_pb2.BatchUpdateBlobsRequest()
    request.requests.add(digest=digest.to_message(), data=CONTENTS[digest])
    (answer,) = (await client.cas.BatchUpdateBlobs(request)).responses
    assert answer.status.code == 0
    assert await read(client, digest) == CONTENTS[digest]


async def test_reliability_S4_swapped_objects_are_missing(
    client: RawClient, bucket: Bucket, registry: CollectorRegistry
) -> None:
    """Each is a blob, though not the one that it is said to be."""
    keys = [bucket.key_of(digest) for digest in CONTENTS]
    stored = [bucket.get(key) for key in keys]
    for key, data in zip(keys, stored[1:] + stored[:1], strict=True):
        bucket.put(key, data)
    batch = re_pb2.BatchReadBlobsRequest(digests=[d.to_message() for d in CONTENTS])
    answers = (await client.cas.BatchReadBlobs(batch)).responses
    assert {each.status.code for each in answers} == {NOT_FOUND.value[0]}
    assert b"".join(each.data for each in answers) == b""
    assert await missing(client, *CONTENTS) == list(CONTENTS)
    assert registry.get_sample_value("reapi_storage_quarantined_blobs_total") == len(CONTENTS)


async def test_reliability_S4_an_object_that_no_row_names_is_never_visible(
    client: RawClient, bucket: Bucket
) -> None:
    """Its name and its bytes are right: the index alone says what is here."""
    data = b"smuggled in" * 1_000
    digest = digest_of(data)
    for suffix in ("", new_suffix(), f"{new_suffix()}.zst"):
        content = compress_blob(data) if suffix.endswith(".zst") else data
        bucket.put(bucket.key(object_name(digest, suffix)), content)
    assert await missing(client, digest) == [digest]
    assert await read(client, digest) == NOT_FOUND
    result = re_pb2.ActionResult(output_files=[{"path": "out", "digest": digest.to_message()}])
    update = re_pb2.UpdateActionResultRequest(
        action_digest=digest_of(b"action").to_message(), action_result=result
    )
    code = await code_of(client.action_cache.UpdateActionResult(update))
    assert code == grpc.StatusCode.FAILED_PRECONDITION


async def test_reliability_S4_action_results_are_not_in_the_bucket(
    client: RawClient, bucket: Bucket
) -> None:
    """So nobody can forge them there."""
    before = bucket.keys()
    action = digest_of(b"action").to_message()
    for number in range(5):
        result = re_pb2.ActionResult(
            output_files=[
                {"path": f"{number}/{digest.hash}", "digest": digest.to_message()}
                for digest in CONTENTS
            ],
            stdout_raw=b"some output" * 50,
        )
        update = re_pb2.UpdateActionResultRequest(action_digest=action, action_result=result)
        await client.action_cache.UpdateActionResult(update)
    assert bucket.keys() == before
    assert {key.split("/cas/")[0] for key in before} == {"a/prefix"}
    stored = await client.action_cache.GetActionResult(
        re_pb2.GetActionResultRequest(action_digest=action)
    )
    bucket.put(bucket.key_of(digest_of(NOISE)), _other(NOISE))
    assert await read(client, digest_of(NOISE)) in (NOT_FOUND, DATA_LOSS)
    request = re_pb2.GetActionResultRequest(action_digest=action)
    assert len(stored.output_files) == len(CONTENTS)
    assert await code_of(client.action_cache.GetActionResult(request)) == NOT_FOUND
