"""Unfinished uploads: bounded, and never in the way of each other."""

import asyncio
from pathlib import Path

import pytest

from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import ResourceExhausted
from tests.fakes.local_storage import local_storage

DATA = bytes(range(256)) * 4000


async def begin(storage: Storage, name: str, digest: Digest) -> None:
    """A stream that brings half of the blob."""
    async with storage.uploads.stream(name, digest) as stream:
        await stream.append(DATA[: len(DATA) // 2])


async def write(storage: Storage, name: str, digest: Digest) -> None:
    async with storage.uploads.stream(name, digest) as stream:
        await stream.append(DATA[stream.received_bytes :])
        await stream.complete()


async def test_streams_of_one_name_may_follow_while_the_first_is_stored(tmp_path: Path) -> None:
    digest = digest_of(DATA)
    async with local_storage(tmp_path) as storage:
        for _ in range(3):
            await asyncio.gather(
                *(write(storage, "name", digest) for _ in range(4)), return_exceptions=True
            )
            assert await storage.blobs.find_missing([digest]) == []
            assert storage.uploads.received_bytes("name") == 0
        assert not list((tmp_path / "incoming").iterdir())


async def test_the_upload_that_waits_longest_is_dropped_for_one_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_storage(tmp_path) as storage:
        monkeypatch.setattr(storage.uploads, "_most_idle", 2)
        for name in "abc":
            await begin(storage, name, digest_of(DATA))
        received = [storage.uploads.received_bytes(name) for name in "abc"]
        assert received == [0, len(DATA) // 2, len(DATA) // 2]


async def test_a_dropped_upload_gives_its_room_back(tmp_path: Path) -> None:
    digest = digest_of(DATA)
    async with local_storage(tmp_path, max_size_bytes=len(DATA)) as storage:
        await begin(storage, "first", digest)
        with pytest.raises(ResourceExhausted):
            await begin(storage, "second", digest)
        await storage.uploads.aclose()
        await write(storage, "second", digest)
        assert await storage.blobs.find_missing([digest]) == []


async def test_closing_leaves_no_file_of_an_unfinished_upload(tmp_path: Path) -> None:
    async with local_storage(tmp_path) as storage:
        await begin(storage, "name", digest_of(DATA))
    assert not list((tmp_path / "incoming").iterdir())
