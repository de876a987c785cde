"""The embedded store beyond its contract: damage, restarts, crashes, memory."""

import asyncio
import os
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reapi.cas.objects.names import new_suffix, object_name
from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from tests.cancelling import STEPS
from tests.fakes.local_storage import INLINE_MAX_BYTES, local_storage

SMALL = b"small"
LARGE = random.Random(1).randbytes(2_500_000)
"""A file of three chunks."""


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def read_all(storage: Storage, digest: Digest, **options: int) -> bytes:
    return b"".join([chunk async for chunk in storage.blobs.read(digest, **options)])


def file_of(data_dir: Path, digest: Digest) -> Path:
    (path,) = (data_dir / "blobs" / digest.hash[:2]).glob(f"{digest.hash}-*")
    return path


async def recovered(storage: Storage) -> None:
    assert storage.recovery is not None
    await storage.recovery


def flip_bit(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def entries(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


class TestRestart:
    async def test_blobs_and_results_survive_a_restart(self, tmp_path: Path) -> None:
        blobs = {digest_of(data): data for data in (SMALL, LARGE)}
        async with local_storage(tmp_path) as storage:
            await storage.blobs.write_many(blobs)
        async with local_storage(tmp_path) as storage:
            assert await storage.blobs.find_missing(blobs) == []
            assert await storage.blobs.read_many(list(blobs)) == blobs

    async def test_a_crash_loses_nothing_that_was_answered(self, tmp_path: Path) -> None:
        blobs = {digest_of(data): data for data in (SMALL, LARGE)}
        async with local_storage(tmp_path / "before") as storage:
            await storage.blobs.write_many(blobs)
            shutil.copytree(tmp_path / "before", tmp_path / "after")  # as a crash leaves it
        async with local_storage(tmp_path / "after") as storage:
            assert await storage.blobs.read_many(list(blobs)) == blobs

    async def test_a_second_process_is_refused(self, tmp_path: Path) -> None:
        async with local_storage(tmp_path):
            with pytest.raises(FailedPrecondition, match="another process"):
                async with local_storage(tmp_path):
                    pass

    async def test_a_larger_inline_limit_finds_the_files_of_before(self, tmp_path: Path) -> None:
        data = bytes(INLINE_MAX_BYTES + 1)
        async with local_storage(tmp_path) as storage:
            await storage.blobs.write_many({digest_of(data): data, digest_of(SMALL): SMALL})
        async with local_storage(tmp_path, inline_max_bytes=INLINE_MAX_BYTES + 1) as storage:
            assert await read_all(storage, digest_of(data)) == data
        async with local_storage(tmp_path, inline_max_bytes=1) as storage:
            assert await read_all(storage, digest_of(SMALL)) == SMALL

    async def test_a_small_blob_has_no_file_of_its_own(self, tmp_path: Path) -> None:
        async with local_storage(tmp_path) as storage:
            await storage.blobs.write(digest_of(SMALL), chunks(SMALL))
        assert entries(tmp_path / "blobs") == entries(tmp_path / "incoming") == []


class TestDamage:
    """CAS3, BS11, reliability D4 to D6: never served, quarantined, counted, reported missing."""

    @pytest.mark.parametrize("position", [0, 1_500_000, len(LARGE) - 1])
    async def test_reliability_D4_a_flipped_bit_in_a_file_is_found(
        self, tmp_path: Path, position: int
    ) -> None:
        digest = digest_of(LARGE)
        registry = CollectorRegistry()
        async with local_storage(tmp_path, registry=registry) as storage:
            await storage.blobs.write(digest, chunks(LARGE))
            assert await read_all(storage, digest) == LARGE
            damaged = file_of(tmp_path, digest)
            flip_bit(damaged, position)
            with pytest.raises(DataLoss):
                await read_all(storage, digest)
            assert await storage.blobs.find_missing([digest]) == [digest]
            assert entries(tmp_path / "quarantine") == [damaged.name]
            assert registry.get_sample_value("reapi_storage_quarantined_blobs_total") == 1
            await storage.blobs.write(digest, chunks(LARGE))
            assert await read_all(storage, digest) == LARGE

    async def test_reliability_D4_a_part_of_a_changed_file_is_not_served_either(
        self, tmp_path: Path
    ) -> None:
        digest = digest_of(LARGE)
        async with local_storage(tmp_path) as storage:
            await storage.blobs.write(digest, chunks(LARGE))
            flip_bit(file_of(tmp_path, digest), len(LARGE) - 1)
            with pytest.raises(NotFound):
                await read_all(storage, digest, offset=0, limit=10)

    async def test_a_part_is_served_after_a_restart(self, tmp_path: Path) -> None:
        digest = digest_of(LARGE)
        async with local_storage(tmp_path) as storage:
            await storage.blobs.write(digest, chunks(LARGE))
        async with local_storage(tmp_path) as storage:
            assert await read_all(storage, digest, offset=7, limit=9) == LARGE[7:16]

    async def test_reliability_D5_a_truncated_file_is_missing(self, tmp_path: Path) -> None:
        digest = digest_of(LARGE)
        async with local_storage(tmp_path) as storage:
            await storage.blobs.write(digest, chunks(LARGE))
            with file_of(tmp_path, digest).open("r+b") as file:
                file.truncate(0)
            with pytest.raises(NotFound):
                await read_all(storage, digest)
            assert await storage.blobs.find_missing([digest]) == [digest]

    async def test_reliability_D6_a_file_deleted_behind_the_index_heals_to_missing(
        self, tmp_path: Path
    ) -> None:
        digest = digest_of(LARGE)
        async with local_storage(tmp_path) as storage:
            await storage.blobs.write(digest, chunks(LARGE))
            file_of(tmp_path, digest).unlink()
            assert await storage.blobs.read_many([digest]) == {}
            assert await storage.blobs.find_missing([digest]) == [digest]
            assert await storage.blobs.write_many({digest: LARGE}) == {}
            assert await read_all(storage, digest) == LARGE

    async def test_reliability_D4_a_flipped_bit_in_the_database_is_found(
        self, tmp_path: Path
    ) -> None:
        digest = digest_of(SMALL)
        async with local_storage(tmp_path) as storage:
            await storage.blobs.write_many({digest: SMALL})
        database = (tmp_path / "inline.db").read_bytes()
        flip_bit(tmp_path / "inline.db", database.index(SMALL))
        async with local_storage(tmp_path) as storage:
            assert await storage.blobs.find_missing([digest]) == []
            assert await storage.blobs.read_many([digest]) == {}
            assert await storage.blobs.find_missing([digest]) == [digest]
            await storage.blobs.write_many({digest: SMALL})
            assert await read_all(storage, digest) == SMALL


class TestMemory:
    async def test_blobs_that_memory_cannot_hold_are_read_from_disk(self, tmp_path: Path) -> None:
        blobs = {digest_of(data): data for data in (bytes([n]) * 900 for n in range(50))}
        async with local_storage(tmp_path, memory_bytes=5000) as storage:
            await storage.blobs.write_many(blobs)
            for _ in range(2):
                assert await storage.blobs.read_many(list(blobs)) == blobs


class TestAfterCrash:
    async def test_bytes_without_a_row_are_swept(self, tmp_path: Path) -> None:
        async with local_storage(tmp_path / "before") as storage:
            await storage.blobs.write_many({digest_of(LARGE): LARGE, digest_of(SMALL): SMALL})
            shutil.copytree(tmp_path / "before", tmp_path / "after")
        stray = tmp_path / "after" / "blobs" / object_name(digest_of(b"stray"), new_suffix())
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"stray")
        os.utime(stray, (1, 1))  # before this start
        (tmp_path / "after" / "incoming" / "7").write_bytes(b"half")
        async with local_storage(tmp_path / "after") as storage:
            assert not (tmp_path / "after" / "incoming" / "7").exists()
            await recovered(storage)
            assert not stray.exists()
            blobs = {digest_of(LARGE): LARGE, digest_of(SMALL): SMALL}
            assert await storage.blobs.read_many(list(blobs)) == blobs

    async def test_F11_what_a_lost_index_named_is_not_swept(self, tmp_path: Path) -> None:
        async with local_storage(tmp_path / "before") as storage:
            shutil.copytree(tmp_path / "before", tmp_path / "after")
        strays = [
            tmp_path / "after" / "blobs" / object_name(digest_of(b"%d" % number), new_suffix())
            for number in range(150)
        ]
        for stray in strays:
            stray.parent.mkdir(exist_ok=True)
            stray.write_bytes(b"stray")
            os.utime(stray, (1, 1))
        async with local_storage(tmp_path / "after") as storage:
            await recovered(storage)
            assert all(stray.exists() for stray in strays)

    async def test_a_cancelled_upload_leaves_no_file(self, tmp_path: Path) -> None:
        started = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            yield LARGE[:1_000_000]
            started.set()
            await asyncio.get_running_loop().create_future()

        async with local_storage(tmp_path) as storage:
            writing = asyncio.create_task(storage.blobs.write(digest_of(LARGE), stalling()))
            await started.wait()
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert entries(tmp_path / "incoming") == []

    async def test_a_refused_upload_leaves_no_file(self, tmp_path: Path) -> None:
        async with local_storage(tmp_path) as storage:
            with pytest.raises(InvalidArgument):
                await storage.blobs.write(digest_of(LARGE), chunks(LARGE[::-1]))
            assert entries(tmp_path / "incoming") == entries(tmp_path / "blobs") == []


class TestVerifiedBytes:
    async def test_a_cancelled_write_waits_for_the_commit_that_another_process_holds_up(
        self, tmp_path: Path
    ) -> None:
        digest = digest_of(SMALL)
        async with local_storage(tmp_path) as storage:
            with closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                writing = asyncio.create_task(storage.blobs.write_many({digest: SMALL}))
                for _ in range(STEPS):
                    await asyncio.sleep(0)
                writing.cancel()
                for _ in range(STEPS):
                    await asyncio.sleep(0)
                assert not writing.done()
                assert await storage.blobs.find_missing([digest]) == [digest]
                other.execute("ROLLBACK")
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert await storage.blobs.find_missing([digest]) == []

    async def test_what_its_writer_has_verified_is_not_hashed_again(self, tmp_path: Path) -> None:
        digest = digest_of(b"of something else")._replace(size_bytes=len(LARGE))
        async with local_storage(tmp_path) as storage:
            await storage.blobs.for_verified().write(digest, chunks(LARGE))
            assert await storage.blobs.find_missing([digest]) == []

    async def test_of_which_some_are_missing_are_refused(self, tmp_path: Path) -> None:
        digest = digest_of(LARGE)
        async with local_storage(tmp_path) as storage:
            with pytest.raises(InvalidArgument):
                await storage.blobs.for_verified().write(digest, chunks(LARGE[:-1]))
            assert await storage.blobs.find_missing([digest]) == [digest]

    async def test_all_others_are_hashed_as_before(self, tmp_path: Path) -> None:
        digest = digest_of(b"of something else")._replace(size_bytes=len(LARGE))
        async with local_storage(tmp_path) as storage:
            storage.blobs.for_verified()
            with pytest.raises(InvalidArgument):
                await storage.blobs.write(digest, chunks(LARGE))
