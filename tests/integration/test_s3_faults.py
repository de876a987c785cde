"""Killed processes, a killed or silent store, broken connections, and changed bytes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.objects import s3
from reapi.cas.objects.interface import NoObject
from reapi.cas.objects.s3 import S3Objects
from reapi.cas.objects.s3_config import S3Config
from reapi.cas.objects.s3_credentials import find_credentials
from reapi.cas.objects.s3_janitor import S3Janitor
from reapi.cas.objects.s3_metrics import S3Metrics
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import ReapiError, Unavailable
from tests.fakes.fault_proxy import FaultProxy
from tests.integration.s3_system import MIB, listed, open_objects, read, write
from tests.minio import S3Server, minio_client, new_bucket


@pytest.fixture
async def objects(s3_config: S3Config, tmp_path: Path) -> AsyncIterator[S3Objects]:
    async with open_objects(s3_config, tmp_path / "spool") as made:
        yield made


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def _uploads(server: S3Server, config: S3Config) -> list[str]:
    page = minio_client(server)._list_multipart_uploads(config.bucket)
    return [upload.object_name for upload in page.uploads]


def _janitor(
    config: S3Config,
    registry: CollectorRegistry,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> S3Janitor:
    credentials, _ = find_credentials(config)
    metrics = S3Metrics(registry)
    return S3Janitor(config, credentials, deadline_seconds=3600, metrics=metrics, now=now)


@pytest.mark.slow
async def test_reliability_F4_the_upload_of_a_killed_process_is_unseen_aborted_and_repeated(
    s3_server: S3Server, s3_config: S3Config, tmp_path: Path, registry: CollectorRegistry
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.s3_half_upload"),
        *(s3_config.endpoint, s3_config.bucket, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"half\n"
    process.kill()
    await process.wait()

    two_hours_on = _janitor(s3_config, registry, now=lambda: _now() + timedelta(hours=2))
    async with open_objects(s3_config, tmp_path / "spool") as objects:
        assert await listed(objects) == []
        assert len(_uploads(s3_server, s3_config)) == 1
        await two_hours_on.sweep()
        assert _uploads(s3_server, s3_config) == []
        assert registry.get_sample_value("reapi_s3_aborted_uploads_total") == 1
        data = os.urandom(20 * MIB)
        assert (await read(objects, await write(objects, data), digest_of(data)))[1]
    assert list((tmp_path / "spool-of-the-killed").iterdir()) == []


def _now() -> datetime:
    return datetime.now(UTC)


async def test_the_janitor_leaves_young_uploads_and_those_of_others_alone(
    minio_server: S3Server, s3_config: S3Config, registry: CollectorRegistry
) -> None:
    clock = [_now()]
    janitor = _janitor(s3_config, registry, now=lambda: clock[0])
    client = minio_client(minio_server)
    foreign = "another/prefix/cas/ab/key"
    young = s3_config.key("cas", "ab/key")
    client._create_multipart_upload(s3_config.bucket, young, {})
    await janitor.sweep()
    assert _uploads(minio_server, s3_config) == [young]
    client._create_multipart_upload(s3_config.bucket, foreign, {})
    clock[0] += timedelta(hours=2)
    await janitor.sweep()
    assert _uploads(minio_server, s3_config) == [foreign]


async def test_the_janitor_leaves_a_slow_upload_alone_that_still_gets_parts(
    minio_server: S3Server, s3_config: S3Config, registry: CollectorRegistry
) -> None:
    client = minio_client(minio_server)
    key = s3_config.key("cas", "ab/key")
    upload_id = client._create_multipart_upload(s3_config.bucket, key, {})
    (upload,) = client._list_multipart_uploads(s3_config.bucket).uploads
    begun = upload.initiated_time
    assert begun is not None
    while _now() - begun < timedelta(milliseconds=100):
        pass
    client._upload_part(s3_config.bucket, key, b"part", None, upload_id, 1)
    # By this clock the upload began an hour ago and the part came a little later.
    clock = [begun + timedelta(hours=1, milliseconds=50)]
    janitor = _janitor(s3_config, registry, now=lambda: clock[0])
    await janitor.sweep()
    assert _uploads(minio_server, s3_config) == [key]
    clock[0] += timedelta(minutes=1)
    await janitor.sweep()
    assert _uploads(minio_server, s3_config) == []


async def test_the_janitor_sweeps_when_a_store_opens(
    minio_server: S3Server,
    s3_config: S3Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swept = asyncio.Event()
    sweep = S3Janitor.sweep

    async def sweep_and_say(self: S3Janitor) -> None:
        await sweep(self)
        swept.set()

    monkeypatch.setattr(S3Janitor, "sweep", sweep_and_say)
    client = minio_client(minio_server)
    client._create_multipart_upload(s3_config.bucket, s3_config.key("cas", "ab/key"), {})
    async with open_objects(s3_config, tmp_path / "spool", upload_deadline_seconds=0):
        await swept.wait()
    assert _uploads(minio_server, s3_config) == []


@pytest.mark.parametrize(
    ("bucket", "endpoint"), [("not-there", None), ("not-there", "127.0.0.1:1")]
)
async def test_a_janitor_that_fails_says_so_counts_it_and_lives_on(
    s3_config: S3Config, registry: CollectorRegistry, bucket: str, endpoint: str | None
) -> None:
    config = replace(s3_config, bucket=bucket, endpoint=endpoint or s3_config.endpoint)
    await _janitor(config, registry).sweep()
    assert registry.get_sample_value("reapi_s3_failed_sweeps_total") == 1


@pytest.mark.slow
async def test_reliability_F8_a_killed_store_is_said_to_be_and_loses_nothing_acknowledged(
    minio_server: S3Server, tmp_path: Path
) -> None:
    with S3Server(tmp_path / "server", is_minio=True) as server:
        config = new_bucket(server, tmp_path)
        async with open_objects(config, tmp_path / "spool") as objects:
            acknowledged: dict[str, Digest] = {}
            failures: list[BaseException] = []
            before = os.urandom(20 * MIB)
            name = await write(objects, before)
            acknowledged[name] = digest_of(before)
            reader = (await objects.open(name, 0, len(before))).chunks(None)
            await anext(reader)

            async def load(size_bytes: int) -> None:
                while not failures:
                    data = os.urandom(size_bytes)
                    try:
                        acknowledged[await write(objects, data)] = digest_of(data)
                    except Unavailable as error:
                        failures.append(error)
                    if len(acknowledged) == 40:
                        server.kill()

            async with asyncio.TaskGroup() as group:
                for size in (100, 100, 5000, MIB, 10 * MIB, 10 * MIB):
                    group.create_task(load(size))

            # While it is down: everything ends, and says when to come back.
            with pytest.raises(Unavailable):
                async for _ in reader:
                    pass
            calls = [objects.open(name, 0, 1) for _ in range(300)]
            writes = [write(objects, b"x") for _ in range(100)]
            outcomes = await asyncio.gather(*calls, *writes, return_exceptions=True)
            for outcome in [*outcomes, *failures]:
                assert isinstance(outcome, Unavailable)
                assert outcome.retry_after_seconds is not None

            server.start()
            data = os.urandom(MIB)
            acknowledged[await write(objects, data)] = digest_of(data)
            for name, digest in acknowledged.items():
                assert (await read(objects, name, digest))[1], name


@pytest.mark.slow
async def test_reliability_F8_a_read_goes_on_when_the_store_is_back(
    minio_server: S3Server, tmp_path: Path
) -> None:
    with S3Server(tmp_path / "server", is_minio=True) as server:
        config = new_bucket(server, tmp_path)
        async with open_objects(config, tmp_path / "spool") as objects:
            data = os.urandom(40 * MIB)
            name = await write(objects, data)
            reader = (await objects.open(name, 0, len(data))).chunks(None)
            received = [await anext(reader)]
            server.kill()
            server.start()
            received += [chunk async for chunk in reader]
            assert b"".join(received) == data


async def test_a_read_whose_connection_breaks_often_is_resumed_where_it_was(
    s3_config: S3Config, tmp_path: Path, registry: CollectorRegistry
) -> None:
    data = os.urandom(40 * MIB)
    async with (
        FaultProxy(s3_config.endpoint) as proxy,
        open_objects(
            replace(s3_config, endpoint=proxy.endpoint), tmp_path / "spool", registry=registry
        ) as objects,
    ):
        name = await write(objects, data)
        proxy.cut_after_bytes = [3 * MIB] * 10
        assert await read(objects, name, digest_of(data)) == (data, True)
        assert proxy.cut_after_bytes == []
    assert registry.get_sample_value("reapi_s3_resumed_reads_total")


async def _all(reader: AsyncIterator[bytes]) -> list[bytes]:
    return [chunk async for chunk in reader]


async def test_a_read_is_not_continued_with_other_bytes(
    s3_server: S3Server, s3_config: S3Config, tmp_path: Path
) -> None:
    data = os.urandom(40 * MIB)
    async with (
        FaultProxy(s3_config.endpoint) as proxy,
        open_objects(replace(s3_config, endpoint=proxy.endpoint), tmp_path / "spool") as objects,
    ):
        name = await write(objects, data)
        proxy.cut_after_bytes = [5 * MIB]
        reader = (await objects.open(name, 0, len(data))).chunks(None)
        proxy.gate.clear()
        proxy.ended.clear()
        reading = asyncio.create_task(_all(reader))
        await proxy.ended.wait()
        await asyncio.to_thread(_put, s3_server, s3_config, name, os.urandom(len(data)))
        proxy.gate.set()
        received = await reading
    assert 0 < sum(map(len, received)) < len(data)
    assert data.startswith(b"".join(received))


@pytest.mark.parametrize("is_silent", [False, True])
async def test_reliability_F8_a_store_that_is_refused_or_silent_ends_every_call(
    s3_config: S3Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    monkeypatch.setattr(s3, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(s3, "_PART_ANSWER_SECONDS", 0.2)
    async with FaultProxy(s3_config.endpoint) as proxy:
        proxy.is_silent = is_silent
        endpoint = proxy.endpoint if is_silent else "127.0.0.1:1"
        async with open_objects(
            replace(s3_config, endpoint=endpoint), tmp_path / "spool"
        ) as objects:
            attempts = [
                *(objects.open("ab/abc-1.00", 0, 1) for _ in range(200)),
                *(write(objects, os.urandom(size)) for size in (10, MIB, 20 * MIB, 20 * MIB)),
                *(objects.delete(["ab/abc-1.00"]), objects.quarantine("ab/abc-1.00")),
                *(objects.check(), listed(objects)),
            ]
            for outcome in await asyncio.gather(*attempts, return_exceptions=True):
                assert isinstance(outcome, Unavailable), outcome
                assert outcome.retry_after_seconds is not None


async def test_a_client_that_stops_in_the_middle_keeps_no_part_in_memory_from_others(
    objects: S3Objects,
) -> None:
    """A part's memory is taken when a part is whole, and all parts of these are uploaded."""
    data = os.urandom(20 * MIB)
    stalled = []
    for _ in range(10):
        writer = await objects.create(digest_of(data))
        await writer.write([data[: 19 * MIB]], digest_of(data).function.new())
        stalled.append(writer)
    assert (await read(objects, await write(objects, data), digest_of(data)))[1]
    for writer in stalled:
        await writer.discard()


def _put(server: S3Server, config: S3Config, name: str, data: bytes) -> None:
    """Somebody else writes to the bucket."""
    key = config.key("cas", name)
    minio_client(server).put_object(config.bucket, key, BytesIO(data), len(data))


@pytest.mark.parametrize("size_bytes", [1000, 3 * MIB])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: os.urandom(len(data)), id="S4-forged"),
        pytest.param(lambda data: bytes((data[0] ^ 1,)) + data[1:], id="D4-first-bit"),
        pytest.param(lambda data: data[:-1] + bytes((data[-1] ^ 128,)), id="D4-last-bit"),
        pytest.param(lambda data: data[: len(data) // 2], id="D5-truncated"),
        pytest.param(lambda data: data + b"x", id="D5-longer"),
    ],
)
async def test_reliability_S4_D4_D5_changed_bytes_do_not_hash_to_their_digest(
    objects: S3Objects,
    s3_server: S3Server,
    s3_config: S3Config,
    size_bytes: int,
    change: Callable[[bytes], bytes],
) -> None:
    data = os.urandom(size_bytes)
    name = await write(objects, data)
    before = (await objects.open(name, 0, size_bytes)).stamp
    _put(s3_server, s3_config, name, change(data))
    reader = await objects.open(name, 0, size_bytes)
    assert reader.stamp != before
    hasher = digest_of(data).function.new()
    received = b"".join([chunk async for chunk in reader.chunks(hasher)])
    # Bytes after the end are never asked for: those before it are the blob still.
    is_longer = len(change(data)) > size_bytes
    assert (hasher.hexdigest() == digest_of(data).hash) == is_longer
    assert (received == data) == is_longer


async def test_reliability_D5_an_emptied_object_has_not_the_bytes_that_are_asked_for(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config
) -> None:
    name = await write(objects, b"something")
    _put(s3_server, s3_config, name, b"")
    with pytest.raises(NoObject):
        await objects.open(name, 0, 9)


async def test_reliability_D6_a_deleted_object_is_not_there(
    objects: S3Objects, s3_server: S3Server, s3_config: S3Config
) -> None:
    name = await write(objects, b"something")
    minio_client(s3_server).remove_object(s3_config.bucket, s3_config.key("cas", name))
    with pytest.raises(NoObject):
        await objects.open(name, 0, 9)


async def test_an_error_names_no_secret(s3_config: S3Config, tmp_path: Path) -> None:
    assert s3_config.secret_access_key_file is not None
    secret = s3_config.secret_access_key_file.read_text().strip()
    async with open_objects(replace(s3_config, bucket="gone"), tmp_path / "spool") as objects:
        with pytest.raises(ReapiError) as caught:
            await objects.check()
    error: BaseException | None = caught.value
    while error is not None:
        assert secret not in str(error)
        error = error.__cause__
