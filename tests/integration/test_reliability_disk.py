"""Disks that are full, read-only or broken (reliability D1, D3, D7)."""

import asyncio
import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2

from reapi.cas.storage import Storage
from reapi.clients.channel import Channel
from reapi.clients.methods import HEALTH_WATCH
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import ReapiError, ResourceExhausted, Unavailable
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.local_storage import ManualClock, local_storage
from tests.fakes.mounts import read_only, small_disk
from tests.fakes.raw_client import RawClient, RawService, raw_client
from tests.integration.system import open_system

STORAGE_SERVICES = (
    "",
    "build.bazel.remote.execution.v2.ContentAddressableStorage",
    "google.bytestream.ByteStream",
)
DAY = 24 * 3600
INLINE, FILE = 900, 100_000
CHUNK = 100_000


def blob(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


async def try_to_write(storage: Storage, data: bytes) -> ReapiError | None:
    return (await storage.blobs.write_many({digest_of(data): data})).get(digest_of(data))


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


async def check_all_readable(storage: Storage, stored: dict[Digest, bytes]) -> None:
    assert await storage.blobs.find_missing(stored) == []
    assert await storage.blobs.read_many(list(stored)) == stored


async def check_nothing_of(storage: Storage, data_dir: Path, data: bytes) -> None:
    """Neither a row, nor a file that is whole or was on its way."""
    digest = digest_of(data)
    assert await storage.blobs.find_missing([digest]) == [digest]
    assert list((data_dir / "incoming").iterdir()) == []
    assert list((data_dir / "blobs").glob(f"*/{digest.hash}*")) == []


async def fill(storage: Storage, sizes: tuple[int, ...]) -> tuple[dict[Digest, bytes], bytes]:
    """Writes until a write is refused: what is stored, and what was refused."""
    stored = {}
    for number in range(1000):
        data = blob(number, sizes[number % len(sizes)])
        failure = await try_to_write(storage, data)
        if failure is not None:
            assert isinstance(failure, ResourceExhausted), failure
            assert "no space" in failure.message
            assert failure.retry_after_seconds
            return stored, data
        stored[digest_of(data)] = data
    raise AssertionError("the disk is never full")


@pytest.mark.parametrize("sizes", [(FILE,), (INLINE,), (FILE, INLINE)], ids=str)
async def test_reliability_D1_a_full_disk_refuses_writes_until_eviction_makes_room(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    clock = ManualClock()
    with small_disk(tmp_path / "disk", "size=2m") as disk:
        async with local_storage(disk, clock=clock, memory_bytes=0) as storage:
            stored, refused = await fill(storage, sizes)
            await check_nothing_of(storage, disk, refused)
            await check_all_readable(storage, stored)
            clock.seconds += 2 * DAY
            if FILE in sizes:
                assert await try_to_write(storage, blob(5000, FILE)) is None
                assert len(await storage.blobs.find_missing(stored)) >= 1
        async with local_storage(disk, clock=clock, memory_bytes=0) as storage:
            present = set(stored) - set(await storage.blobs.find_missing(stored))
            assert set(await storage.blobs.read_many(list(stored))) == present


async def test_reliability_D1_a_disk_that_fills_up_during_an_upload_leaves_nothing_of_it(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", "size=2m") as disk:
        async with local_storage(disk, memory_bytes=0) as storage:
            kept = blob(1, FILE)
            assert await try_to_write(storage, kept) is None
            data = blob(2, 10 * CHUNK)
            ballast = disk / "ballast"

            async def filling() -> AsyncIterator[bytes]:
                async for number, chunk in _numbered(chunks(data)):
                    if number == 4:
                        _fill_up(ballast)
                    yield chunk

            with pytest.raises(ResourceExhausted, match="no space"):
                await storage.blobs.write(digest_of(data), filling())
            await check_nothing_of(storage, disk, data)
            assert await storage.blobs.read_many([digest_of(kept)]) == {digest_of(kept): kept}
            failure = await try_to_write(storage, blob(3, INLINE))
            assert isinstance(failure, ResourceExhausted)
            ballast.unlink()
            await storage.blobs.write(digest_of(data), chunks(data))
            assert await try_to_write(storage, blob(3, INLINE)) is None
            await check_all_readable(storage, {digest_of(data): data, digest_of(kept): kept})


async def test_reliability_D1_a_disk_without_a_byte_left_for_the_databases_breaks_nothing(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", "size=2m") as disk:
        async with local_storage(disk, memory_bytes=0) as storage:
            index = storage.blobs._index
            stored = {digest_of(data): data for data in (blob(n, INLINE) for n in range(20))}
            assert await storage.blobs.write_many(stored) == {}
            _fill_up(disk / "ballast")
            refused = 0
            for number in range(100, 200):  # past the reservations, which would refuse them all
                data = blob(number, INLINE)
                try:
                    await index.add_inline({digest_of(data).key: data}, 1, 1, "")
                except ResourceExhausted:
                    refused += 1
            assert refused
            await check_all_readable(storage, stored)
            (disk / "ballast").unlink()
            assert await try_to_write(storage, blob(300, INLINE)) is None
            await check_all_readable(storage, stored)


def _fill_up(path: Path) -> None:
    """Takes what the disk has left."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError, match="No space left"):
            _write_for_ever(descriptor)
    finally:
        os.close(descriptor)


def _write_for_ever(descriptor: int) -> None:
    while True:
        os.write(descriptor, bytes(4096))


async def _numbered(source: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    async for chunk in source:
        yield number, chunk
        number += 1


async def test_reliability_D3_a_failed_sync_of_a_file_ends_all_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = 0

    def fail_once(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 1:
            raise OSError(errno.EIO, "Input/output error")

    async with local_storage(tmp_path, survives_power_loss=True, memory_bytes=0) as storage:
        kept = blob(1, FILE)
        assert await try_to_write(storage, kept) is None
        monkeypatch.setattr("os.fsync", fail_once)
        for number in (2, 2, 3):
            data = blob(number, FILE)
            failure = await try_to_write(storage, data)
            assert isinstance(failure, Unavailable)
            assert "failed while syncing" in failure.message
            await check_nothing_of(storage, tmp_path, data)
        assert synced == 1
        assert "failed while syncing" in (storage.health.problem or "")
        await check_all_readable(storage, {digest_of(kept): kept})


CHILD = """
import asyncio, sys
from pathlib import Path
from reapi.core.database import Database
from reapi.core.errors import ReapiError

async def main():
    path = Path(sys.argv[1])
    async with Database(path, ["CREATE TABLE t (x)"], survives_power_loss=True) as database:
        for line in sys.stdin:
            try:
                await database.write(lambda c: c.execute("INSERT INTO t VALUES (?)", (line,)))
                print("stored", flush=True)
            except ReapiError as error:
                print(type(error).__name__, error.message, flush=True)
    print([row[0].strip() for row in
           __import__("sqlite3").connect(path).execute("SELECT x FROM t ORDER BY x")], flush=True)

asyncio.run(main())
"""


@contextmanager
def failing_syncs(pid: int) -> Iterator[None]:
    """Every sync of that process fails meanwhile."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    tracer = subprocess.Popen(
        [strace, "-f", "-p", str(pid), "-e", "inject=fsync,fdatasync:error=EIO"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    try:
        line = tracer.stderr.readline()
        if "attached" not in line:
            pytest.skip(f"tracing is not permitted here: {line.strip()}")
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


def test_reliability_D3_a_failed_sync_of_a_database_ends_its_writes(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "x.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert child.stdin is not None
    assert child.stdout is not None

    def write(line: str) -> str:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{line}\n")
        return child.stdout.readline().strip()

    try:
        assert write("before") == "stored"
        with failing_syncs(child.pid):
            assert write("during").startswith("Unavailable ")
        refused = write("after")
        assert refused.startswith("Unavailable ")
        assert "failed while syncing" in refused
        stdout, _ = child.communicate()
        assert stdout.strip() == "['before']"
    finally:
        child.kill()
        child.wait()


async def fill_inodes(storage: Storage) -> tuple[dict[Digest, bytes], bytes]:
    """Writes files until one is refused: what is stored, and what was refused."""
    stored: dict[Digest, bytes] = {}
    while True:
        data = blob(len(stored), 2000)
        failure = await try_to_write(storage, data)
        if failure is not None:
            assert isinstance(failure, Unavailable), failure
            assert "no inode left" in failure.message
            assert failure.retry_after_seconds
            return stored, data
        stored[digest_of(data)] = data


async def test_reliability_D7_without_inodes_writes_fail_until_eviction_makes_some(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    with small_disk(tmp_path / "disk", "size=16m,nr_inodes=64") as disk:
        async with local_storage(disk, clock=clock, memory_bytes=0) as storage:
            stored, refused = await fill_inodes(storage)
            assert len(stored) < 64
            assert "no inode left" in (storage.health.problem or "")
            await check_nothing_of(storage, disk, refused)
            await check_all_readable(storage, stored)
            assert await try_to_write(storage, blob(1, INLINE)) is None
            clock.seconds += 2 * DAY
            fresh = blob(5000, 2000)
            assert await try_to_write(storage, fresh) is None
            assert await storage.blobs.read_many([digest_of(fresh)]) != {}
            assert storage.health.problem is None
            assert len(await storage.blobs.find_missing(stored)) >= 1


async def test_reliability_D7_eviction_makes_inodes_though_nobody_writes_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reapi.cas.factory._PROBE_SECONDS", 0.001)
    clock = ManualClock()
    with small_disk(tmp_path / "disk", "size=16m,nr_inodes=64") as disk:
        async with local_storage(disk, clock=clock, memory_bytes=0) as storage:
            well = asyncio.Event()
            storage.health.add_listener(lambda problem: None if problem else well.set())
            await fill_inodes(storage)
            assert storage.health.problem
            clock.seconds += 2 * DAY
            await well.wait()
            assert await try_to_write(storage, blob(0, 2000)) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take root's permissions away")
async def test_reliability_D7_a_directory_without_permissions_is_named_and_may_recover() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        os.chmod(folder, 0o755)
        os.seteuid(65534)
        try:
            async with local_storage(Path(folder) / "data", memory_bytes=0) as storage:
                data_dir = Path(folder) / "data"
                for name in ("incoming", "blobs"):
                    (data_dir / name).chmod(0)
                    failure = await try_to_write(storage, blob(1, FILE))
                    assert isinstance(failure, Unavailable)
                    assert "cannot write" in failure.message
                    assert "Permission denied" in failure.message
                    assert "Permission denied" in (storage.health.problem or "")
                    (data_dir / name).chmod(0o755)
                    await check_nothing_of(storage, data_dir, blob(1, FILE))
                    assert await try_to_write(storage, blob(2, FILE)) is None
                    assert storage.health.problem is None
                    (removed,) = (data_dir / "blobs").glob(f"*/{digest_of(blob(2, FILE)).hash}*")
                    removed.unlink()
                    assert await storage.blobs.read_many([digest_of(blob(2, FILE))]) == {}
        finally:
            os.seteuid(0)


class HealthClient:
    """What clients and load balancers see of a server's storage."""

    def __init__(self, client: RawClient, channel: Channel) -> None:
        self._client = client
        self._channel = channel
        service = health_pb2.DESCRIPTOR.services_by_name["Health"]
        self._health = RawService(client.channel, service)

    async def statuses(self) -> set[int]:
        requests = [health_pb2.HealthCheckRequest(service=name) for name in STORAGE_SERVICES]
        return {(await self._health.Check(request)).status for request in requests}

    async def becomes(self, status: int) -> None:
        """Returns when the server as a whole says so."""
        watch = self._channel.server_stream(HEALTH_WATCH, health_pb2.HealthCheckRequest())
        async with aclosing(watch) as replies:
            async for reply in replies:
                if reply.status == status:
                    return

    async def code_of_update(self, data: bytes) -> int:
        request = re_pb2.BatchUpdateBlobsRequest()
        request.requests.add(digest=digest_of(data).to_message(), data=data)
        (response,) = (await self._client.cas.BatchUpdateBlobs(request)).responses
        return response.status.code


SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reliability_D7_a_read_only_disk_is_not_serving_until_a_write_works(
    tmp_path: Path,
) -> None:
    async with (
        open_system(tmp_path, storage={"inline_max_bytes": INLINE}) as system,
        raw_client(system.address) as raw,
    ):
        client = HealthClient(raw, system.channel)
        assert await client.code_of_update(blob(1, FILE)) == code_pb2.OK
        assert await client.statuses() == {SERVING}
        with read_only(system.config.data_dir / "incoming"):
            assert await client.code_of_update(blob(2, FILE)) == code_pb2.UNAVAILABLE
            assert await client.statuses() == {NOT_SERVING}
            stored = digest_of(blob(1, FILE))
            assert await system.blobs.read_many([stored]) == {stored: blob(1, FILE)}
        assert await client.code_of_update(blob(2, FILE)) == code_pb2.OK
        assert await client.statuses() == {SERVING}


def take_all_inodes(folder: Path) -> list[Path]:
    """The empty files that hold them."""
    baits = [folder / f"bait-{number}" for number in range(os.statvfs(folder).f_favail)]
    for bait in baits:
        bait.touch()
    return baits


async def test_reliability_D7_a_disk_without_inodes_is_not_serving_until_they_are_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reapi.cas.factory._PROBE_SECONDS", 0.001)
    (tmp_path / "system").mkdir()
    with small_disk(tmp_path / "system" / "data", "size=16m,nr_inodes=200") as disk:
        async with (
            open_system(tmp_path / "system", storage={"inline_max_bytes": INLINE}) as system,
            raw_client(system.address) as raw,
        ):
            client = HealthClient(raw, system.channel)
            assert await client.code_of_update(blob(1, FILE)) == code_pb2.OK
            baits = take_all_inodes(disk)
            assert await client.statuses() == {SERVING}
            assert await client.code_of_update(blob(2, FILE)) == code_pb2.UNAVAILABLE
            assert await client.statuses() == {NOT_SERVING}
            stored = digest_of(blob(1, FILE))
            assert await system.blobs.read_many([stored]) == {stored: blob(1, FILE)}
            for bait in baits:
                bait.unlink()
            await client.becomes(SERVING)
            assert await client.statuses() == {SERVING}
            assert await client.code_of_update(blob(2, FILE)) == code_pb2.OK
