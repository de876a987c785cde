"""Input files are fetched once, kept within bounds, and never removed while they are used."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from reapi.core.digest import BLAKE3, Digest, digest_of
from reapi.core.errors import BlobsMissing, Unavailable
from reapi.executor import fetch
from reapi.executor.local_cache import CachedFile, FileKey, LocalCache
from tests.fakes.memory_store import MemoryBlobStore


class SlowStore(MemoryBlobStore):
    """Answers reads only when told to, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[Digest]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        self.calls.append(list(digests))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return await super().read_many(digests)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[LocalCache]:
    async with LocalCache(tmp_path, 100) as cache:
        yield cache


@pytest.fixture
async def store() -> SlowStore:
    return SlowStore()


def keys(store: MemoryBlobStore, *blobs: bytes) -> list[FileKey]:
    return [FileKey(store.add(blob), False) for blob in blobs]


def data(file: CachedFile) -> bytes:
    return Path(file.path).read_bytes()


async def test_files_have_the_bytes_mode_and_time_of_inputs(
    cache: LocalCache, store: SlowStore
) -> None:
    digest = store.add(b"data")
    wanted = [FileKey(digest, False), FileKey(digest, True)]
    plain, executable = await cache.acquire(wanted, store)
    assert data(plain) == data(executable) == b"data"
    modes = [os.stat(file.path).st_mode & 0o777 for file in (plain, executable)]
    assert modes == [0o444, 0o555]
    assert os.stat(plain.path).st_mtime_ns == fetch.FILE_TIME_NS


async def test_D11_a_hash_under_two_functions_is_two_files(
    cache: LocalCache, store: SlowStore
) -> None:
    digest = digest_of(b"data")
    store.blobs = {digest: b"data", digest._replace(function=BLAKE3): b"else"}
    files = await cache.acquire([FileKey(digest, False) for digest in store.blobs], store)
    assert [data(file) for file in files] == [b"data", b"else"]


async def test_a_file_is_fetched_once_however_many_want_it(
    cache: LocalCache, store: SlowStore
) -> None:
    wanted = keys(store, b"a", b"b")
    store.open.clear()
    waiting = [asyncio.create_task(cache.acquire(wanted, store)) for _ in range(5)]
    await asyncio.sleep(0)
    store.open.set()
    results = await asyncio.gather(*waiting)
    assert store.calls == [[key.digest for key in wanted]]
    assert results[0][0].references == 5


async def test_a_fetch_goes_on_when_one_of_those_who_wait_is_cancelled(
    cache: LocalCache, store: SlowStore
) -> None:
    wanted = keys(store, b"a")
    store.open.clear()
    first = asyncio.create_task(cache.acquire(wanted, store))
    second = asyncio.create_task(cache.acquire(wanted, store))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    store.open.set()
    (file,) = await second
    assert (data(file), file.references, len(store.calls)) == (b"a", 1, 1)


async def test_absent_blobs_are_all_named_and_nothing_is_held(
    cache: LocalCache, store: SlowStore
) -> None:
    here, *lost = keys(store, b"here", b"lost", b"lost too")
    for key in lost:
        del store.blobs[key.digest]
    with pytest.raises(BlobsMissing) as caught:
        await cache.acquire([here, *lost], store)
    assert caught.value.subjects == tuple(key.digest.subject for key in lost)
    assert here in cache
    assert lost[0] not in cache
    assert cache.size_bytes == 4


async def test_a_failed_fetch_can_be_tried_again(cache: LocalCache, store: SlowStore) -> None:
    wanted = keys(store, b"a")
    store.error = Unavailable("the store is down")
    with pytest.raises(Unavailable):
        await cache.acquire(wanted, store)
    store.error = None
    (file,) = await cache.acquire(wanted, store)
    assert data(file) == b"a"


async def test_many_small_files_come_in_batches_of_bounded_size(
    cache: LocalCache, store: SlowStore
) -> None:
    wanted = keys(store, *(bytes([i]) * 500_000 for i in range(16)))
    await cache.acquire(wanted, store)
    assert [len(call) for call in store.calls] == [6, 6, 4]


async def test_a_large_file_is_streamed(cache: LocalCache, store: SlowStore) -> None:
    large = os.urandom(3 << 20)
    (file,) = await cache.acquire(keys(store, large), store)
    assert data(file) == large
    assert store.calls == []


async def test_a_large_file_that_is_absent_is_named(cache: LocalCache, store: SlowStore) -> None:
    digest = digest_of(bytes(3 << 20))
    with pytest.raises(BlobsMissing):
        await cache.acquire([FileKey(digest, False)], store)
    assert cache.size_bytes == 0


async def test_the_least_recently_used_files_are_removed_first(
    cache: LocalCache, store: SlowStore
) -> None:
    first, second, third = keys(store, b"1" * 40, b"2" * 40, b"3" * 40)
    cache.release(await cache.acquire([first], store))
    cache.release(await cache.acquire([second], store))
    cache.release(await cache.acquire([first], store))
    cache.release(await cache.acquire([third], store))
    assert (first in cache, second in cache, third in cache) == (True, False, True)
    assert cache.size_bytes == 80


async def test_a_file_in_use_is_never_removed(cache: LocalCache, store: SlowStore) -> None:
    used = await cache.acquire(keys(store, b"1" * 90), store)
    others = keys(store, *(bytes([i]) * 90 for i in range(10)))
    for key in others:
        cache.release(await cache.acquire([key], store))
    assert data(used[0]) == b"1" * 90
    cache.release(used)
    assert cache.size_bytes <= 100


async def test_when_links_run_out_a_copy_takes_over(
    cache: LocalCache, store: SlowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = await cache.acquire(keys(store, b"a"), store)
    really_link, links = os.link, []

    def link(source: str, target: str) -> None:
        if os.stat(source).st_nlink > 2:
            raise OSError(31, "Too many links")
        links.append(target)
        really_link(source, target)

    monkeypatch.setattr("os.link", link)
    made = [file.link_to(str(tmp_path / f"link{i}")) for i in range(4)]
    assert [os.stat(tmp_path / f"link{i}").st_ino for i in range(4)] == [m.inode for m in made]
    assert len({link.inode for link in made}) == 2
    assert (tmp_path / "link3").read_bytes() == b"a"
    assert os.stat(tmp_path / "link3").st_mode & 0o777 == 0o444
