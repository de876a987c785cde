"""Input files are fetched once, kept within bounds, and never removed while they are used."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reapi.core.digest import BLAKE3, Digest, digest_of
from reapi.core.errors import BlobsMissing, Unavailable
from reapi.executor import fetch
from reapi.executor.cached_file import CachedFile, FileKey
from reapi.executor.local_cache import LocalCache
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


async def test_IN15_the_mode_is_that_of_inputs_whatever_our_umask_is(
    cache: LocalCache, store: SlowStore
) -> None:
    before = os.umask(0o077)
    try:
        (file,) = await cache.acquire(keys(store, b"data"), store)
    finally:
        os.umask(before)
    assert os.stat(file.path).st_mode & 0o777 == 0o444


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


@pytest.fixture
def directory_fd(tmp_path: Path) -> Iterator[int]:
    """Of the directory `staged` beside the cached files."""
    (tmp_path / "staged").mkdir()
    fd = os.open(tmp_path / "staged", os.O_RDONLY)
    yield fd
    os.close(fd)


def refuse_links(monkeypatch: pytest.MonkeyPatch, code: int, from_links: int) -> None:
    """link(2) fails as it does where a file has that many links already."""
    really_link = os.link

    def link(source: str, target: str, **options: Any) -> None:
        if os.stat(source).st_nlink >= from_links:
            raise OSError(code, os.strerror(code))
        really_link(source, target, **options)

    monkeypatch.setattr("os.link", link)


async def test_when_links_run_out_a_copy_takes_over(
    cache: LocalCache,
    store: SlowStore,
    tmp_path: Path,
    directory_fd: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (file,) = await cache.acquire(keys(store, b"a"), store)
    refuse_links(monkeypatch, errno.EMLINK, from_links=3)
    made = [file.link_to(f"link{i}", directory_fd) for i in range(4)]
    links = [os.stat(tmp_path / "staged" / f"link{i}") for i in range(4)]
    assert [status.st_ino for status in links] == [link.inode for link in made]
    assert len({link.inode for link in made}) == 2
    assert data(file) == (tmp_path / "staged" / "link3").read_bytes() == b"a"
    assert {status.st_mode & 0o777 for status in links} == {0o444}
    assert {status.st_mtime_ns for status in links} == {fetch.FILE_TIME_NS}


async def test_a_file_has_more_links_than_its_file_system_allows(
    tmp_path: Path, store: SlowStore, directory_fd: int
) -> None:
    """With the real limit, which is 65,000 on ext4; file systems without one that is near pass."""
    async with LocalCache(tmp_path, 100) as cache:
        (file,) = await cache.acquire(keys(store, b"a"), store)
        first = file.link_to("first", directory_fd)
        with suppress(OSError):
            for number in range(65_001):
                os.link(file.path, str(number), dst_dir_fd=directory_fd)
        last = file.link_to("last", directory_fd)
    assert (tmp_path / "staged" / "last").stat().st_ino == last.inode == file.inode
    assert (tmp_path / "staged" / "last").read_bytes() == b"a"
    if os.pathconf(tmp_path, "PC_LINK_MAX") <= 65_000:
        assert last.inode != first.inode


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.ENOTSUP])
async def test_where_there_can_be_no_link_there_is_a_copy(
    cache: LocalCache,
    store: SlowStore,
    tmp_path: Path,
    directory_fd: int,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    (file,) = await cache.acquire([FileKey(store.add(b"tool"), True)], store)
    refuse_links(monkeypatch, code, from_links=1)
    link = file.link_to("copy", directory_fd)
    status = (tmp_path / "staged" / "copy").stat()
    assert (tmp_path / "staged" / "copy").read_bytes() == b"tool"
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o555, fetch.FILE_TIME_NS)
    assert status.st_ino == link.inode != file.inode


async def test_a_copy_that_fails_leaves_nothing(
    cache: LocalCache,
    store: SlowStore,
    tmp_path: Path,
    directory_fd: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (file,) = await cache.acquire(keys(store, b"a"), store)
    before = file.inode

    def fill_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", fill_disk)
    for code in (errno.EMLINK, errno.EXDEV):
        with monkeypatch.context() as patch:
            refuse_links(patch, code, from_links=1)
            with pytest.raises(OSError, match="No space"):
                file.link_to("link", directory_fd)
    assert sorted(os.listdir(tmp_path)) == sorted(["staged", os.path.basename(file.path)])
    assert os.listdir(directory_fd) == []
    assert (data(file), file.inode) == (b"a", before)
