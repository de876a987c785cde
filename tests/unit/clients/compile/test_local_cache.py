import os
from pathlib import Path

import pytest

from reapi.clients.compile.local_cache import LocalCache
from reapi.core.digest import SHA256, digest_of

KEY = "ab" * 32


@pytest.fixture
def cache(tmp_path: Path) -> LocalCache:
    return _open(tmp_path / "cache")


def _open(directory: Path, max_size_bytes: int = 1 << 20) -> LocalCache:
    cache = LocalCache(directory, max_size_bytes, SHA256)
    cache.load()
    return cache


def _content(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_what_is_put_is_found_by_the_next_process_too(cache: LocalCache) -> None:
    digest = digest_of(b"object")
    cache.put_blob(digest, b"object")
    await cache.put_manifest_beside(KEY, b"manifest")
    for each in (cache, _open(cache.directory)):
        path = each.blob(digest)
        assert path is not None
        assert _content(path) == b"object"
        assert each.manifest(KEY) == b"manifest"
        assert each.size_bytes == len(b"object" + b"manifest")


def test_what_was_never_put_is_absent(cache: LocalCache) -> None:
    assert cache.blob(digest_of(b"object")) is None
    assert cache.manifest(KEY) is None


@pytest.mark.parametrize("damage", [b"objec", b"0bject"])
def test_a_damaged_blob_is_absent_and_gone(cache: LocalCache, damage: bytes) -> None:
    digest = digest_of(b"object")
    cache.put_blob(digest, b"object")
    path = cache.blob(digest)
    assert path is not None
    Path(path).write_bytes(damage)
    later = _open(cache.directory)
    assert later.blob(digest) is None
    assert not os.path.exists(path)
    assert later.size_bytes == 0


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = _open(tmp_path, max_size_bytes=1000)
    blobs = [bytes([number]) * 300 for number in range(3)]
    for data in blobs:
        cache.put_blob(digest_of(data), data)
    assert cache.blob(digest_of(blobs[0])) is not None
    cache.put_blob(digest_of(b"x" * 300), b"x" * 300)
    assert cache.blob(digest_of(blobs[1])) is None
    assert cache.blob(digest_of(blobs[0])) is not None
    assert cache.size_bytes == 900


def test_the_order_of_use_outlives_the_process(tmp_path: Path) -> None:
    cache = _open(tmp_path)
    old, new = b"old" * 100, b"new" * 100
    for number, data in enumerate((old, new)):
        cache.put_blob(digest_of(data), data)
        path = cache.blob(digest_of(data))
        assert path is not None
        os.utime(path, (number, number))
    later = _open(tmp_path, max_size_bytes=700)
    later.put_blob(digest_of(b"x" * 300), b"x" * 300)
    assert later.blob(digest_of(old)) is None
    assert later.blob(digest_of(new)) is not None


def test_a_blob_that_another_process_took_away_is_absent(cache: LocalCache) -> None:
    digest = digest_of(b"object")
    cache.put_blob(digest, b"object")
    path = cache.blob(digest)
    assert path is not None
    os.unlink(path)
    assert cache.blob(digest) is None


def test_a_cache_that_cannot_be_written_to_keeps_nothing(tmp_path: Path) -> None:
    cache = _open(tmp_path / "cache")
    os.rename(tmp_path / "cache", tmp_path / "gone")
    cache.put_blob(digest_of(b"object"), b"object")
    assert cache.blob(digest_of(b"object")) is None


def test_what_a_killed_writer_left_is_removed_when_it_is_old(cache: LocalCache) -> None:
    young, old = cache.directory / "young.tmp", cache.directory / "old.tmp"
    for path in (young, old):
        path.touch()
    os.utime(old, (0, 0))
    _open(cache.directory)
    assert young.exists()
    assert not old.exists()
