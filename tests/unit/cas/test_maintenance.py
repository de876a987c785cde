"""Verification, rebuilding and counting of a whole storage (reliability D4 to D6, F11)."""

import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from reapi.cas.maintenance.findings import Findings
from reapi.cas.maintenance.orphans import find_orphans
from reapi.cas.maintenance.rebuild import Rebuilder
from reapi.cas.maintenance.stats import count
from reapi.cas.maintenance.verify import Verifier
from reapi.cas.objects.names import new_suffix, object_name
from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import NotFound
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.local_storage import INLINE_MAX_BYTES, local_storage

ACTION = digest_of(b"an action")


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with local_storage(tmp_path) as opened:
        yield opened


def contents(number: int, size: int) -> Iterator[bytes]:
    generator = random.Random(size)
    for _ in range(number):
        yield generator.randbytes(size)


async def write(storage: Storage, *blobs: bytes) -> list[Digest]:
    digests = {digest_of(data): data for data in blobs}
    assert await storage.blobs.write_many(digests) == {}
    return list(digests)


def files(path: Path) -> list[Path]:
    return sorted(file for file in (path / "blobs").rglob("*") if file.is_file())


async def verify(storage: Storage, *, repair: bool = True) -> Findings:
    parts = storage.parts
    verifier = Verifier(parts.index, parts.objects, parts.results, parts.quarantine, repair=repair)
    done: list[int] = []
    await verifier.verify_blobs(done.append)
    await verifier.verify_results(lambda _: None)
    assert sum(done) == sum(
        kind.size_bytes
        for kind in (
            verifier.findings.verified,
            verifier.findings.damaged,
            verifier.findings.missing,
        )
    )
    return verifier.findings


async def test_a_sound_storage_is_found_to_be_so(storage: Storage) -> None:
    await write(storage, *contents(5, 100), *contents(5, 5000))
    findings = await verify(storage)
    assert findings.is_sound
    assert (findings.verified.count, findings.verified.size_bytes) == (10, 25_500)


async def test_reliability_D4_every_flipped_bit_of_a_thousand_blobs_is_found(
    storage: Storage, tmp_path: Path
) -> None:
    digests = await write(storage, *contents(1000, INLINE_MAX_BYTES + 1))
    chosen = random.Random(4)
    for file in files(tmp_path):
        data = bytearray(file.read_bytes())
        bit = chosen.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
    findings = await verify(storage)
    assert findings.damaged.count == 1000
    assert set(findings.damaged.names) == {str(digest) for digest in digests}
    assert await storage.blobs.find_missing(digests) == digests
    assert files(tmp_path) == []
    assert len(list((tmp_path / "quarantine").iterdir())) == 1000


@pytest.mark.parametrize("length", [0, INLINE_MAX_BYTES])
async def test_reliability_D5_truncated_and_empty_objects_are_found(
    storage: Storage, tmp_path: Path, length: int
) -> None:
    digests = await write(storage, *contents(3, INLINE_MAX_BYTES + 1))
    os.truncate(files(tmp_path)[1], length)
    findings = await verify(storage)
    assert (findings.verified.count, findings.damaged.count) == (2, 1)
    assert [str(missing) for missing in await storage.blobs.find_missing(digests)] == (
        findings.damaged.names
    )


async def test_reliability_D6_deleted_objects_and_inline_bytes_are_found(
    storage: Storage, tmp_path: Path
) -> None:
    large = await write(storage, *contents(3, INLINE_MAX_BYTES + 1))
    small = await write(storage, *contents(3, 10))
    files(tmp_path)[0].unlink()
    (entry,) = (await storage.parts.index.find([small[0].key])).values()
    await storage.parts.index._inline.delete([entry.inline_id])  # type: ignore[attr-defined]
    findings = await verify(storage)
    assert (findings.verified.count, findings.missing.count) == (4, 2)
    assert len(await storage.blobs.find_missing([*large, *small])) == 2


async def test_a_dry_run_changes_nothing(storage: Storage, tmp_path: Path) -> None:
    digests = await write(storage, *contents(3, INLINE_MAX_BYTES + 1))
    files(tmp_path)[0].unlink()
    for _ in range(2):
        assert (await verify(storage, repair=False)).missing.count == 1
    assert await storage.blobs.find_missing(digests) == []


async def test_results_that_lost_a_blob_are_removed(storage: Storage, tmp_path: Path) -> None:
    (output,) = await write(storage, bytes(INLINE_MAX_BYTES + 1))
    result = re_pb2.ActionResult()
    result.output_files.add(path="out", digest=output.to_message())
    await storage.action_cache.put("main", ACTION, result)
    await storage.action_cache.put("other", ACTION, re_pb2.ActionResult(exit_code=1))
    files(tmp_path)[0].unlink()
    findings = await verify(storage)
    assert findings.incomplete_results.names == [f"main:{ACTION.hash}"]
    assert await storage.parts.results.total_bytes() < 20
    with pytest.raises(NotFound):
        await storage.action_cache.get("main", ACTION)


async def test_objects_without_a_row_are_orphans_once_they_are_old(
    storage: Storage, tmp_path: Path
) -> None:
    (digest,) = await write(storage, bytes(INLINE_MAX_BYTES + 1))
    twin = tmp_path / "blobs" / object_name(digest, new_suffix())
    twin.write_bytes(bytes(INLINE_MAX_BYTES + 1))
    (tmp_path / "blobs" / "note").write_text("not ours")
    for written, expected in ((1_000, [twin]), (2_000, [])):
        os.utime(twin, (written, written))
        found = [
            tmp_path / "blobs" / info.name
            async for infos in find_orphans(
                storage.parts.index, storage.parts.objects, written_before=1_500
            )
            for info in infos
        ]
        assert found == expected


async def test_reliability_F11_the_index_is_made_anew_from_the_bytes_alone(tmp_path: Path) -> None:
    async with local_storage(tmp_path) as storage:
        good = await write(storage, *contents(3, 100), *contents(3, 5000))
        bad = await write(storage, b"?" * 5000)
    (damaged,) = (file for file in files(tmp_path) if file.name.startswith(bad[0].hash))
    damaged.write_bytes(b"!" * 5000)
    twin = next(file for file in files(tmp_path) if file != damaged)
    twin.with_name(twin.name.partition(".")[0] + new_suffix()).write_bytes(twin.read_bytes())
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    async with local_storage(tmp_path) as storage:
        assert set(await storage.blobs.find_missing(good)) == set(good)
        rebuilder = Rebuilder(storage.parts.index, storage.parts.objects, storage.parts.presence)
        await rebuilder.run(lambda _: None)
        assert await storage.blobs.find_missing([*good, *bad]) == bad
        assert len(await storage.blobs.read_many(good)) == 6
        assert len(files(tmp_path)) == 3
        assert rebuilder.findings.damaged.names == [str(bad[0])]
        assert sum((await storage.parts.index.total_bytes()).values()) == 15_300


async def test_blobs_are_counted_by_place_function_and_age(storage: Storage) -> None:
    await write(storage, *contents(3, 100), *contents(2, 5000))
    await storage.action_cache.put("", ACTION, re_pb2.ActionResult(exit_code=1))
    parts = storage.parts
    statistics = await count(parts.index, parts.results, parts.presence, lambda _: None)
    assert statistics.blobs == {
        "inline": 3,
        "objects": 2,
        "SHA256": 5,
        "promised": 5,
        "used within 1 hour": 5,
    }
    assert statistics.bytes["objects"] == 10_000
    assert statistics.results == 1
