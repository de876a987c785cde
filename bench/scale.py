"""FindMissing over an index with many rows against one with few.

Each index has a process of its own, so that its memory can be told.
"""

import asyncio
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry

from reapi.cas.config import StorageConfig
from reapi.cas.factory import Storage, open_storage
from reapi.cas.find_missing import MissingBlobsFinder
from reapi.cas.state.interface import NewObject
from reapi.core.digest import SHA256, Digest, digest_of_key
from reapi.core.instances import Instance, Instances
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .comparison import ROUNDS, Comparison, compare
from .servers import memory_mib

FEW_ROWS = 10_000
_KNOWN = FEW_ROWS
_DIGESTS = 1000
_REQUESTS = 200
_ROWS_PER_COMMIT = 10_000
_BLOB_BYTES = 50_000
_HOUR = 3600
_FUNCTION = bytes((SHA256.number,))


async def measure_scale(folder: Path, rows: int) -> list[Comparison]:
    """Latencies, and the memory of the process with `rows` rows."""
    runs: dict[int, list[dict[str, float]]] = {FEW_ROWS: [], rows: []}
    for count in runs:
        await asyncio.to_thread(_run_child, "fill", count, folder / str(count))
    for _ in range(ROUNDS):
        for count, taken in runs.items():
            output = await asyncio.to_thread(_run_child, "ask", count, folder / str(count))
            taken.append(json.loads(output))
    table = []
    for name in runs[rows][0]:
        many = [run[name] for run in runs[rows]]
        few = [run[name] for run in runs[FEW_ROWS]]
        is_latency = name.endswith("p50")
        table.append(
            compare(
                f"{rows:,} rows: {name}",
                "MiB" if name.startswith("memory") else "s" if name.startswith("open") else "ms",
                many,
                few,
                f"{FEW_ROWS:,} rows",
                aim=1.5 if is_latency else 0,
                is_ceiling=True,
            )
        )
    return table


def _run_child(what: str, rows: int, data_dir: Path) -> str:
    command = [sys.executable, "-m", "bench.scale", what, str(rows), str(data_dir)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _key(number: int, rows: int) -> bytes:
    """Spread evenly and in order: so an index is filled fast, and is the same as any other."""
    head = (number << 32) // rows
    tail = hashlib.sha256(number.to_bytes(8, "big")).digest()[4:]
    return _FUNCTION + head.to_bytes(4, "big") + tail


async def _fill(config: StorageConfig, rows: int) -> None:
    async with open_storage(config, CollectorRegistry()) as storage:
        now = int(time.time())
        for start in range(0, rows, _ROWS_PER_COMMIT):
            new = [
                NewObject(_key(number, rows), _BLOB_BYTES, ".0123456789abcdef")
                for number in range(start, min(rows, start + _ROWS_PER_COMMIT))
            ]
            await storage.parts.index.add_objects(new, now + 2 * _HOUR, now, "")


async def _ask(config: StorageConfig, rows: int) -> dict[str, float]:
    chooser = random.Random(rows)
    known = [_key(number, rows) for number in chooser.sample(range(rows), _KNOWN)]
    requests = [_request(chooser, known) for _ in range(_REQUESTS)]
    started = time.perf_counter()
    async with open_storage(config, CollectorRegistry()) as storage:
        opened = time.perf_counter() - started
        assert storage.recovery is not None
        await storage.recovery
        recovered = time.perf_counter() - started
        for request in requests:
            await _finder(storage).find(request)  # the kernel has the pages from now on
        unknown = [await _timed(_finder(storage), request) for request in requests]
        finder = _finder(storage)
        for request in requests:
            await finder.find(request)
        remembered = [await _timed(finder, request) for request in requests]
        memory = memory_mib(os.getpid())
    return {
        **_quantiles("FindMissing of 1,000, nothing remembered", unknown),
        **_quantiles("FindMissing of 1,000, remembered", remembered),
        "open, and all is served": opened,
        "open, and the filter is complete": recovered,
        "memory of the process": memory["RssAnon"],
        "memory mapped from files": memory["RssFile"],
    }


def _finder(storage: Storage) -> MissingBlobsFinder:
    instances = Instances({"": Instance()})
    return MissingBlobsFinder(storage.blobs, storage.presence, storage.filter, instances)


def _request(chooser: random.Random, known: Sequence[bytes]) -> bytes:
    digests = [digest_of_key(key, _BLOB_BYTES) for key in chooser.sample(known, _DIGESTS // 2)]
    digests += [Digest(os.urandom(32).hex(), _BLOB_BYTES) for _ in range(_DIGESTS // 2)]
    chooser.shuffle(digests)
    messages = [digest.to_message() for digest in digests]
    return re_pb2.FindMissingBlobsRequest(blob_digests=messages).SerializeToString()


async def _timed(finder: MissingBlobsFinder, request: bytes) -> float:
    started = time.perf_counter()
    await finder.find(request)
    return 1000 * (time.perf_counter() - started)


def _quantiles(name: str, latencies: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(latencies, n=20)
    return {f"{name}, p50": cuts[9], f"{name}, p95": cuts[18]}


async def _main(what: str, rows: int, data_dir: Path) -> None:
    config = StorageConfig(data_dir, max_size_bytes=1 << 50)
    if what == "fill":
        await _fill(config, rows)
    else:
        print(json.dumps(await _ask(config, rows)))


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
