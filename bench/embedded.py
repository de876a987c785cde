"""Embedded storage: reads that hash all they read, and both common digest functions.

Files are in the page cache, so hashing is the limit, not the disk.
"""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from reapi.cas.config import StorageConfig
from reapi.cas.factory import open_storage
from reapi.core.digest import BLAKE3, SHA256, Digest, DigestFunction, digest_of

from .comparison import ROUNDS, Comparison, compare, rate_of
from .servers import ALL_CORES, FRONTEND, running_server
from .wire import FreshBlob, Wire

_LARGE_BYTES = 64 << 20
_MIB = _LARGE_BYTES >> 20
_BLOBS = 8
_IN_FLIGHT = 2
_CHUNK_BYTES = 1 << 20


async def measure_embedded(folder: Path) -> list[Comparison]:
    """The store alone against hashing alone, then streams through a server."""
    return [*await _measure_store(folder / "store"), *await _measure_streams(folder)]


async def _measure_store(data_dir: Path) -> list[Comparison]:
    config = StorageConfig(data_dir)
    data = os.urandom(_LARGE_BYTES)
    rows = []
    for function in (SHA256, BLAKE3):
        digest = digest_of(data, function)
        async with open_storage(config, CollectorRegistry()) as storage:
            await storage.blobs.write(digest, _chunks(data))
        hashing, reading = [], []
        for _ in range(2 * ROUNDS):
            hashing.append(_hashing_rate(data, function))
            reading.append(await _first_read_rate(config, digest))
        rows.append(
            compare(
                f"store: verified read of 64 MiB, {function.name}",
                "MiB/s",
                reading,
                hashing,
                f"{function.name} alone",
                aim=0.75 if function is SHA256 else 0,
            )
        )
    return rows


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for offset in range(0, len(data), _CHUNK_BYTES):
        yield data[offset : offset + _CHUNK_BYTES]


def _hashing_rate(data: bytes, function: DigestFunction) -> float:
    hasher = function.new()
    view = memoryview(data)
    started = time.perf_counter()
    for offset in range(0, len(data), _CHUNK_BYTES):
        hasher.update(view[offset : offset + _CHUNK_BYTES])
    hasher.digest()
    return _MIB / (time.perf_counter() - started)


async def _first_read_rate(config: StorageConfig, digest: Digest) -> float:
    """A storage that was just opened trusts no object."""
    async with open_storage(config, CollectorRegistry()) as storage:
        assert storage.recovery is not None
        await storage.recovery
        started = time.perf_counter()
        async for _ in storage.blobs.read(digest):
            continue
        return _MIB / (time.perf_counter() - started)


async def _measure_streams(folder: Path) -> list[Comparison]:
    taken: dict[tuple[str, DigestFunction], list[float]] = {}
    for number in range(ROUNDS):
        for name, figure in (await _stream_round(folder / f"streams-{number}")).items():
            taken.setdefault(name, []).append(figure)
    return [
        compare(
            f"ByteStream: {what}, 64 MiB, BLAKE3",
            "MiB/s",
            taken[what, BLAKE3],
            taken[what, SHA256],
            "SHA256 in its place",
            aim=1.5 if what != "read again" else 0,
        )
        for what in ("write", "verified read", "read again")
    ]


async def _stream_round(data_dir: Path) -> dict[tuple[str, DigestFunction], float]:
    """Writes, then reads with a server that was started anew and has to verify, then once more."""
    figures: dict[tuple[str, DigestFunction], float] = {}
    written: dict[DigestFunction, list[Digest]] = {}
    core = ALL_CORES[:1]
    with running_server(data_dir, core, roles=FRONTEND) as server:
        for function in (SHA256, BLAKE3):
            async with Wire(server.target) as wire:
                figures["write", function], written[function] = await _write(wire, function)
    with running_server(data_dir, core, roles=FRONTEND) as server:
        for function in (SHA256, BLAKE3):
            async with Wire(server.target) as wire:
                for what in ("verified read", "read again"):
                    figures[what, function] = await _read(wire, written[function])
    return figures


async def _write(wire: Wire, function: DigestFunction) -> tuple[float, list[Digest]]:
    spare = [FreshBlob(_LARGE_BYTES, function) for _ in range(_IN_FLIGHT)]
    written = []

    async def write(number: int) -> None:
        blob = spare.pop()
        written.append(await wire.write_stream(blob, number))
        spare.append(blob)

    return await rate_of(_BLOBS, write, _IN_FLIGHT, _MIB)(), written


async def _read(wire: Wire, digests: list[Digest]) -> float:
    async def read(number: int) -> None:
        await wire.read_stream(digests[number])

    return await rate_of(len(digests), read, _IN_FLIGHT, _MIB)()
