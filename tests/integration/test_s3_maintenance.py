"""Verify and rebuild over PostgreSQL and a bucket: what was changed behind them is found."""

import random
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import asyncpg
import pytest

from reapi.cas.maintenance.findings import Findings
from reapi.cas.maintenance.orphans import find_orphans
from reapi.cas.maintenance.rebuild import Rebuilder
from reapi.cas.maintenance.verify import Verifier
from reapi.cas.objects.names import new_suffix, object_name
from reapi.cas.objects.s3_config import S3Config
from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import NotFound
from reapi.core.postgresql.dsn import Dsn
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.local_storage import local_storage
from tests.minio import S3Server, minio_client

ACTION = digest_of(b"an action")
SIZE = 300
THREADS = 8


@pytest.fixture
async def storage(
    postgresql_dsn: Dsn, s3_config: S3Config, tmp_path: Path
) -> AsyncIterator[Storage]:
    """One that keeps every blob as an object."""
    dsn_file = tmp_path / "dsn"
    dsn_file.write_text(postgresql_dsn.url)
    async with local_storage(
        tmp_path, dsn_file=dsn_file, s3=s3_config, inline_max_bytes=0
    ) as opened:
        yield opened


class Bucket:
    """The bucket behind the storage, as somebody else sees it."""

    def __init__(self, server: S3Server, config: S3Config) -> None:
        self._client = minio_client(server)
        self._config = config

    def names(self, folder: str = "cas") -> list[str]:
        """Of all objects, in order."""
        prefix = self._config.key(folder) + "/"
        found = self._client.list_objects(self._config.bucket, prefix, recursive=True)
        return [(one.object_name or "").removeprefix(prefix) for one in found]

    def read(self, name: str) -> bytes:
        response = self._client.get_object(self._config.bucket, self._config.key("cas", name))
        try:
            return response.data
        finally:
            response.release_conn()

    def write(self, name: str, data: bytes) -> None:
        key = self._config.key("cas", name)
        self._client.put_object(self._config.bucket, key, BytesIO(data), len(data))

    def delete(self, name: str) -> None:
        self._client.remove_object(self._config.bucket, self._config.key("cas", name))

    def flip_a_bit(self, name: str) -> None:
        data = bytearray(self.read(name))
        bit = random.Random(name).randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        self.write(name, bytes(data))


@pytest.fixture
def bucket(s3_server: S3Server, s3_config: S3Config) -> Bucket:
    return Bucket(s3_server, s3_config)


async def write(storage: Storage, number: int, size: int = SIZE) -> dict[Digest, bytes]:
    generator = random.Random(size)
    blobs = {digest_of(data): data for data in (generator.randbytes(size) for _ in range(number))}
    assert await storage.blobs.write_many(blobs) == {}
    return blobs


async def verify(storage: Storage, *, repair: bool = True) -> Findings:
    parts = storage.parts
    verifier = Verifier(parts.index, parts.objects, parts.results, parts.quarantine, repair=repair)
    await verifier.verify_blobs(lambda _: None)
    await verifier.verify_results(lambda _: None)
    return verifier.findings


async def orphans(storage: Storage, written_before: float) -> list[str]:
    parts = storage.parts
    found = find_orphans(parts.index, parts.objects, written_before=written_before)
    return [info.name async for infos in found for info in infos]


@pytest.mark.slow
@pytest.mark.soak
async def test_D4_every_flipped_bit_of_a_thousand_objects_is_found(
    storage: Storage, bucket: Bucket
) -> None:
    digests = list(await write(storage, 1000))
    names = bucket.names()
    assert len(names) == 1000
    with ThreadPoolExecutor(THREADS) as threads:
        assert len(list(threads.map(bucket.flip_a_bit, names))) == 1000
    for digest in digests[:10]:
        with pytest.raises(NotFound):
            assert not [chunk async for chunk in storage.blobs.read(digest)]
    findings = await verify(storage)
    assert findings.verified.count == 0
    assert set(findings.damaged.names) == {str(digest) for digest in digests[10:]}
    assert await storage.blobs.find_missing(digests) == digests
    assert bucket.names() == []
    assert bucket.names("quarantine") == names


@pytest.mark.parametrize("length", [0, SIZE - 1])
async def test_D5_truncated_and_empty_objects_are_found(
    storage: Storage, bucket: Bucket, length: int
) -> None:
    digests = list(await write(storage, 3))
    chosen = bucket.names()[1]
    bucket.write(chosen, bucket.read(chosen)[:length])
    findings = await verify(storage)
    assert (findings.verified.count, findings.damaged.count + findings.missing.count) == (2, 1)
    (missing,) = await storage.blobs.find_missing(digests)
    assert chosen.partition("/")[2].startswith(missing.hash)


async def test_D6_deleted_objects_and_results_that_need_them_are_found(
    storage: Storage, bucket: Bucket
) -> None:
    digests = list(await write(storage, 3))
    for number, digest in enumerate(digests):
        result = re_pb2.ActionResult(exit_code=number)
        result.output_files.add(path="out", digest=digest.to_message())
        await storage.action_cache.put("main", digest_of(b"%d" % number), result)
    (gone,) = (name for name in bucket.names() if digests[0].hash in name)
    bucket.delete(gone)
    for _ in range(2):  # a dry run changes nothing
        assert (await verify(storage, repair=False)).missing.names == [str(digests[0])]
    assert await storage.blobs.find_missing(digests) == []
    findings = await verify(storage)
    assert findings.missing.names == [str(digests[0])]
    assert findings.incomplete_results.names == [f"main:{digest_of(b'0').hash}"]
    assert await storage.blobs.find_missing(digests) == digests[:1]
    with pytest.raises(NotFound):
        await storage.action_cache.get("main", digest_of(b"0"))
    assert (await storage.action_cache.get("main", digest_of(b"1"))).exit_code == 1
    assert (await verify(storage)).is_sound


async def test_objects_without_a_row_are_orphans_once_they_are_old(
    storage: Storage, bucket: Bucket
) -> None:
    (digest,) = await write(storage, 1)
    unknown = digest_of(b"no row has ever named it")
    strays = sorted([object_name(digest, new_suffix()), object_name(unknown, new_suffix())])
    for name in strays:
        bucket.write(name, b"?" * SIZE)
    bucket.write("note", b"not ours")
    assert await orphans(storage, time.time() - 3600) == []
    assert sorted(await orphans(storage, time.time() + 3600)) == strays


async def test_F11_the_index_is_made_anew_from_the_bucket_alone(
    storage: Storage, bucket: Bucket, postgresql_dsn: Dsn
) -> None:
    blobs = await write(storage, 20)
    result = re_pb2.ActionResult()
    result.output_files.add(path="out", digest=next(iter(blobs)).to_message())
    await storage.action_cache.put("", ACTION, result)
    damaged, twin = (_name_of(bucket, digest) for digest in list(blobs)[1:3])
    bucket.flip_a_bit(damaged)
    bucket.write(twin.partition(".")[0] + new_suffix(), bucket.read(twin))
    connection = await asyncpg.connect(postgresql_dsn.url)
    try:
        await connection.execute("TRUNCATE blob")
    finally:
        await connection.close()
    assert await storage.blobs.find_missing(blobs) == list(blobs)
    parts = storage.parts
    rebuilder = Rebuilder(parts.index, parts.objects, parts.presence)
    await rebuilder.run(lambda _: None)
    lost = list(blobs)[1]
    assert rebuilder.findings.damaged.names == [str(lost)]
    assert rebuilder.findings.orphaned.count == 1
    assert await storage.blobs.find_missing(blobs) == [lost]
    del blobs[lost]
    assert await storage.blobs.read_many(list(blobs)) == blobs
    assert len(bucket.names()) == 19
    assert sum((await parts.index.total_bytes()).values()) == 19 * SIZE
    assert (await storage.action_cache.get("", ACTION)).output_files == result.output_files
    assert (await verify(storage)).is_sound


def _name_of(bucket: Bucket, digest: Digest) -> str:
    (name,) = (name for name in bucket.names() if digest.hash in name)
    return name
