"""Results are kept while the build goes on."""

from pathlib import Path

import pytest

from reapi.clients.compile import keeping as keeping_module
from reapi.clients.compile.keeping import Keeping
from reapi.clients.compile.local_cache import LocalCache
from reapi.core.digest import SHA256, Digest, digest_of


@pytest.fixture
def cache(tmp_path: Path) -> LocalCache:
    cache = LocalCache(tmp_path / "cache", 1 << 20, SHA256)
    cache.load()
    return cache


def blobs(*contents: bytes) -> dict[Digest, bytes]:
    return {digest_of(content): content for content in contents}


def _content(cache: LocalCache, digest: Digest) -> bytes | None:
    path = cache.blob(digest)
    return None if path is None else Path(path).read_bytes()


async def test_a_blob_is_waiting_until_it_is_in_the_cache(cache: LocalCache) -> None:
    keeping = Keeping(cache)
    keeping.put_blobs(blobs(b"one"))
    keeping.put_blobs(blobs(b"one", b"other"))
    assert keeping.blobs == blobs(b"one", b"other")
    await keeping.finish()
    assert keeping.blobs == {}
    for digest, content in blobs(b"one", b"other").items():
        assert _content(cache, digest) == content
    assert cache.size_bytes == len(b"one") + len(b"other")


async def test_the_last_of_several_manifests_under_a_key_is_kept(cache: LocalCache) -> None:
    keeping = Keeping(cache)
    for data in (b"one", b"other", b"last"):
        keeping.put_manifest("0" * 64, data)
        assert keeping.manifest("0" * 64) == data
    await keeping.finish()
    assert cache.manifest("0" * 64) == b"last"


async def test_what_is_more_than_may_wait_is_not_kept(
    cache: LocalCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping_module, "_MOST_BYTES", 8)
    keeping = Keeping(cache)
    keeping.put_blobs(blobs(b"sixsix", b"four", b"2b"))
    await keeping.finish()
    kept = {_content(cache, digest) for digest in blobs(b"sixsix", b"four", b"2b")}
    assert kept == {b"sixsix", None, b"2b"}
    keeping.put_blobs(blobs(b"four"))
    await keeping.finish()
    assert cache.blob(digest_of(b"four")) is not None


async def test_a_cache_that_cannot_be_written_to_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    keeping = Keeping(LocalCache(tmp_path / "cache", 1 << 20, SHA256))
    keeping.put_blobs(blobs(b"one"))
    await keeping.finish()
    assert keeping.blobs == {}
    await keeping.finish()
