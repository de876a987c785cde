"""Simulated power cuts: what was written since the last sync is lost, cut or zeroed (F3).

Without `survives_power_loss` blobs of that time may be absent afterwards. None may be wrong, and
what is written after the cut keeps all promises.
"""

import os
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import DataLoss, NotFound
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.local_storage import ManualClock, local_storage

SIZES = [1, 300, 900, 2000, 30_000]


async def add(storage: Storage, chosen: random.Random, count: int) -> dict[Digest, bytes]:
    """Blobs, each in a commit of its own, and a result that names each."""
    stored = {}
    for number in range(count):
        data = chosen.randbytes(SIZES[number % len(SIZES)])
        digest = digest_of(data)
        assert await storage.blobs.write_many({digest: data}) == {}
        result = re_pb2.ActionResult(
            output_files=[re_pb2.OutputFile(path="out", digest=digest.to_message())]
        )
        await storage.action_cache.put("", digest, result)
        stored[digest] = data
    return stored


def cut_power(data_dir: Path, image: Path, synced: set[Path], chosen: random.Random) -> None:
    """What the disk may hold of `data_dir`: of files that were not `synced`, anything."""
    for path in sorted(data_dir.rglob("*")):
        name = path.relative_to(data_dir)
        if path.is_dir():
            (image / name).mkdir(parents=True)
        elif not path.is_symlink():
            content = path.read_bytes()
            if name not in synced and (name.suffix == ".db-wal" or name.parts[0] == "blobs"):
                damaged = _lose(content, name.suffix == ".db-wal", chosen)
                if damaged is None:
                    continue
                content = damaged
            (image / name).write_bytes(content)


def _lose(content: bytes, is_log: bool, chosen: random.Random) -> bytes | None:
    end = chosen.randint(0, len(content))
    kind = chosen.choice(("whole", "cut", "zeroed") if is_log else ("whole", "cut", "zeroed", "no"))
    if kind == "cut":
        return content[:end]
    if kind == "zeroed":
        return content[:end] + bytes(len(content) - end)
    return content if kind == "whole" else None


async def readable(storage: Storage, blobs: dict[Digest, bytes]) -> set[Digest]:
    """Those that are here; what is read is right, in whatever way it is read."""
    present = set()
    for digest, data in blobs.items():
        chunks: AsyncIterator[bytes] = storage.blobs.read(digest)
        try:
            assert b"".join([chunk async for chunk in chunks]) == data
            present.add(digest)
        except (NotFound, DataLoss):
            assert await storage.blobs.read_many([digest]) == {}
    return present


@pytest.mark.parametrize("seed", range(12))
async def test_reliability_F3_a_power_cut_may_lose_the_last_blobs_and_serves_none_in_part(
    tmp_path: Path, seed: int
) -> None:
    chosen = random.Random(seed)
    clock = ManualClock()
    data_dir, image = tmp_path / "data", tmp_path / "image"
    async with local_storage(data_dir, clock=clock) as storage:
        old = await add(storage, chosen, 10)
    os.sync()
    synced = {path.relative_to(data_dir) for path in (data_dir / "blobs").rglob("*")}
    async with local_storage(data_dir, clock=clock) as storage:
        new = await add(storage, chosen, 40)
        cut_power(data_dir, image, synced, chosen)
    async with local_storage(image, clock=clock, memory_bytes=0) as storage:
        assert storage.recovery is not None
        if seed % 2:
            await storage.recovery
        # Numbers and names that were lost are not given again: these are written, and stay.
        later = await add(storage, chosen, 40)
        assert await readable(storage, old) == set(old)
        present = await readable(storage, new)
        assert await storage.blobs.find_missing(new) == [key for key in new if key not in present]
        for digest in new:
            try:
                await storage.action_cache.get("", digest)
            except NotFound:
                continue
            assert digest in present
        assert await readable(storage, later) == set(later)
    async with local_storage(image, clock=clock, memory_bytes=0) as storage:
        assert await readable(storage, later) == set(later)
        assert await readable(storage, new) == present
    shutil.rmtree(image)
