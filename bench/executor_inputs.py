"""Input roots: hard links from the local cache, and fetching what is not there yet."""

import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.core.interfaces import BlobStore
from reapi.executor.cached_file import FileKey
from reapi.executor.input_tree import EMPTY_DIRECTORY, InputDirectory
from reapi.executor.local_cache import LocalCache
from tests.unit.executor.harness import Harness, Tree, add_tree, open_harness

from .comparison import Comparison, compare
from .servers import ALL_CORES, FRONTEND, running_server
from .small_files import write_files
from .wire import Wire

_ROUNDS = 7
_FOLDERS = 100
_FILES_PER_FOLDER = 50
_FETCHED_FILES = 2_000
_FETCHED_BYTES = 4 << 10


async def measure_inputs(folder: Path) -> list[Comparison]:
    """Staging by link(2) against bare calls of it, and fetching against writing."""
    rows = []
    for name, separate_uid in (("own uid", True), ("shared uid", False)):
        if separate_uid and os.geteuid() != 0:
            continue
        async with open_harness(folder / name.replace(" ", "-"), separate_uid=separate_uid) as bed:
            rows += await _measure_staging(bed, name, folder / "links")
    return [*rows, *await _measure_fetching(folder)]


async def _measure_staging(bed: Harness, name: str, links: Path) -> list[Comparison]:
    tree: Tree = {
        f"{outer:02}": {f"{inner:02}.h": os.urandom(64) for inner in range(_FILES_PER_FOLDER)}
        for outer in range(_FOLDERS)
    }
    root = await bed.trees.load(add_tree(bed.store, tree), {}, bed.store, bed.cache)
    keys = [key for each in root.directories.values() for key in each.files.values()]
    cached = [file.path for file in await bed.cache.acquire(keys, bed.store)]
    linking, staging, again, cleaning = [], [], [], []
    for _ in range(_ROUNDS):
        linking.append(_link(cached, links))
        await bed.slot.tree.stage(EMPTY_DIRECTORY, {}, bed.store)
        await bed.slot.restore(time.time_ns())  # what was there is deleted now
        staging.append(await _staging(bed, root))
        cleaning.append(await _cleaning(bed))
        again.append(await _staging(bed, root))
    count = f"{_FOLDERS * _FILES_PER_FOLDER:,} files"
    return [
        compare(
            f"executor: staging {count} from the local cache, {name}",
            "ms",
            staging,
            linking,
            f"as many bare link(2), {name}",
            aim=1.3,
            is_ceiling=True,
        ),
        compare(
            f"executor: staging the same {count} again, {name}",
            "ms",
            again,
            staging,
            "staging at first",
            aim=0.2,
            is_ceiling=True,
        ),
        compare(
            f"executor: looking after an action at its {count}, {name}",
            "ms",
            cleaning,
            staging,
            "staging at first",
        ),
    ]


def _link(files: list[str], folder: Path) -> float:
    """The time that the calls take; the directories are there before."""
    for number in range(_FOLDERS):
        (folder / str(number)).mkdir(parents=True)
    paths = [f"{folder}/{number // _FILES_PER_FOLDER}/{number}" for number in range(len(files))]
    started = time.perf_counter()
    for file, path in zip(files, paths, strict=True):
        os.link(file, path)
    milliseconds = 1000 * (time.perf_counter() - started)
    shutil.rmtree(folder)
    return milliseconds


async def _staging(bed: Harness, root: InputDirectory) -> float:
    started = time.perf_counter()
    await bed.slot.tree.stage(root, {}, bed.store)
    return 1000 * (time.perf_counter() - started)


async def _cleaning(bed: Harness) -> float:
    """After an action that has left the tree alone, and began a step of the clock later."""
    time.sleep(0.05)  # noqa: ASYNC251 -- nothing else is to run
    started_ns = time.time_ns()
    started = time.perf_counter()
    await bed.slot.restore(started_ns)
    return 1000 * (time.perf_counter() - started)


async def _measure_fetching(folder: Path) -> list[Comparison]:
    fetching, writing = [], []
    async with _remote_store(folder) as (wire, store):
        for number in range(_ROUNDS):
            blobs = [os.urandom(_FETCHED_BYTES) for _ in range(_FETCHED_FILES)]
            keys = [FileKey(digest, False) for digest in await wire.upload(blobs)]
            writing.append(write_files(folder / f"written-{number}", blobs))
            files = folder / f"fetched-{number}"
            os.mkdir(files)
            async with LocalCache(files, 1 << 30) as cache:
                started = time.perf_counter()
                await cache.acquire(keys, store)
                fetching.append(1000 * (time.perf_counter() - started))
    return [
        compare(
            f"executor: fetching {_FETCHED_FILES:,} x 4 KiB inputs over loopback",
            "ms",
            fetching,
            writing,
            "writing such files",
            aim=1.5,
            is_ceiling=True,
        )
    ]


@asynccontextmanager
async def _remote_store(folder: Path) -> AsyncIterator[tuple[Wire, BlobStore]]:
    with running_server(folder / "server", ALL_CORES[:1], roles=FRONTEND) as server:
        async with Wire(server.target) as wire, Channel(server.target) as channel:
            yield wire, RemoteBlobStore(channel)
