"""A bucket through us beside obstore alone with the same bucket, without and with a cache on the
local disk, and memory of open streams.

The S3 server, ours and the load share all cores.
"""

import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path

from grpc.aio import Call
from obstore.store import S3Store

from reapi.cas.objects.s3_config import S3Config
from reapi.core.digest import Digest, digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.minio import S3Server, build_minio, has_minio, new_bucket

from .comparison import Comparison, Figure, compare, in_turns, rate, rate_of
from .load import Operation
from .obstore_alone import PART_BYTES, ObstoreAlone
from .servers import ALL_CORES, FRONTEND, RunningServer, running_server
from .wire import FreshBlob, Wire

_LARGE_BYTES = 64 << 20
_MIB = _LARGE_BYTES >> 20
_LARGE_COUNT = 8
_CACHE_BYTES = 4 << 30
_SMALL_IN_FLIGHT = 32
_OPEN_STREAMS = 64
_OPEN_BYTES = 32 << 20
"""Of each: at their middle the streams have filled every buffer on their way."""


async def measure_bucket(folder: Path) -> list[Comparison]:
    """Large and small blobs through a server that keeps them in a bucket."""
    with _bucket_server(folder) as (server, config):
        if server is None or config is None:
            return []
        alone = ObstoreAlone(_obstore(config), _LARGE_BYTES)
        async with Wire(server.target) as wire:
            return [
                *await _measure_large(wire, alone, in_flight=1),
                *await _measure_large(wire, alone, in_flight=4),
                *await _measure_small(wire, alone),
            ]


async def measure_cached_bucket(folder: Path) -> list[Comparison]:
    """Large blobs through a server that has a cache on its disk in front of the bucket."""
    with _bucket_server(folder, cache_max_size_bytes=_CACHE_BYTES) as (server, config):
        if server is None or config is None:
            return []
        alone = ObstoreAlone(_obstore(config), _LARGE_BYTES)
        await alone.put_large()(0)
        await alone.put_large()(1)
        async with Wire(server.target) as wire:
            return [
                *await _measure_cached(wire, alone, in_flight=1),
                *await _measure_cached(wire, alone, in_flight=4),
            ]


async def measure_open_streams(folder: Path) -> list[Comparison]:
    """How much more memory a server has for each stream that stays open, each of another blob.

    A server for each figure: memory that earlier streams have left behind would be used first.
    """
    with _bucket(folder) as config:
        if config is None:
            return []
        with _server(folder, config) as server:
            half_written = await _half_written(server)
            blob = FreshBlob(_OPEN_BYTES)
            async with Wire(server.target) as wire:
                digests = [await wire.write_stream(blob, number) for number in range(_OPEN_STREAMS)]
        with _server(folder, config) as server:
            half_read = await _half_read(server, digests)
        return [_memory_row("half-written", half_written), _memory_row("half-read", half_read)]


@contextmanager
def _bucket_server(
    folder: Path, *, cache_max_size_bytes: int = 0
) -> Iterator[tuple[RunningServer, S3Config] | tuple[None, None]]:
    with _bucket(folder) as config:
        if config is None:
            yield None, None
            return
        with _server(folder, config, cache_max_size_bytes=cache_max_size_bytes) as server:
            yield server, config


@contextmanager
def _bucket(folder: Path) -> Iterator[S3Config | None]:
    if not has_minio():
        print("  left out: there is no MinIO, and no Go to build it with")
        yield None
        return
    build_minio()
    with S3Server(folder / "minio", is_minio=True) as minio:
        yield new_bucket(minio, folder)


@contextmanager
def _server(
    folder: Path, config: S3Config, *, cache_max_size_bytes: int = 0
) -> Iterator[RunningServer]:
    settings: dict[str, str | Path] = {
        "STORAGE__CACHE_MAX_SIZE_BYTES": str(cache_max_size_bytes),
        "STORAGE__BLOBS__KIND": "s3",
        "STORAGE__BLOBS__BUCKET": config.bucket,
        "STORAGE__BLOBS__ENDPOINT": config.endpoint,
        "STORAGE__BLOBS__USE_SSL": "false",
        "STORAGE__BLOBS__ACCESS_KEY_ID_FILE": folder / "access-key-id",
        "STORAGE__BLOBS__SECRET_ACCESS_KEY_FILE": folder / "secret-access-key",
    }
    with running_server(folder / "data", ALL_CORES, roles=FRONTEND, settings=settings) as server:
        yield server


def _obstore(config: S3Config) -> S3Store:
    return S3Store(
        config.bucket,
        endpoint=config.url,
        region=config.region,
        access_key_id=S3Server.access_key,
        secret_access_key=S3Server.secret_key,
        client_options={"allow_http": True},
    )


async def _measure_large(wire: Wire, alone: ObstoreAlone, *, in_flight: int) -> list[Comparison]:
    write, read = await _stream_operations(wire, in_flight)

    streams = partial(_streams, in_flight=in_flight)
    taken = await in_turns(
        {
            "put": streams(alone.put_large()),
            "put in parts": streams(alone.put_large(PART_BYTES)),
            "write": streams(write),
            "get": streams(alone.get_large),
            "read": streams(read),
            "read again": streams(read),
        }
    )
    name = f"bucket: {{}} of 64 MiB, {in_flight} in flight"
    write_name, read_name = name.format("write"), name.format("first read")
    again_name = name.format("read, hashed before,")
    return [
        compare(write_name, "MiB/s", taken["write"], taken["put"], "obstore", aim=0.7),
        compare(
            write_name,
            "MiB/s",
            taken["write"],
            taken["put in parts"],
            "obstore, parts of 8 MiB",
            aim=0.7,
        ),
        compare(read_name, "MiB/s", taken["read"], taken["get"], "obstore", aim=0.7),
        compare(again_name, "MiB/s", taken["read again"], taken["get"], "obstore"),
    ]


async def _measure_cached(wire: Wire, alone: ObstoreAlone, *, in_flight: int) -> list[Comparison]:
    write, read = await _stream_operations(wire, in_flight)
    streams = partial(_streams, in_flight=in_flight)
    taken = await in_turns(
        {
            "write": streams(write),
            "get": streams(alone.get_large),
            "first": streams(read),
            "again": streams(read),
        }
    )
    name = f"cached bucket: {{}} of 64 MiB, {in_flight} in flight"
    first_name = name.format("first read, from the bucket,")
    again_name = name.format("repeated read, from the cache,")
    return [
        compare(first_name, "MiB/s", taken["first"], taken["get"], "obstore"),
        compare(again_name, "MiB/s", taken["again"], taken["get"], "obstore", aim=0.7),
    ]


def _streams(operation: Operation, *, in_flight: int) -> Figure:
    return rate_of(_LARGE_COUNT, operation, in_flight, _MIB)


async def _stream_operations(wire: Wire, in_flight: int) -> tuple[Operation, Operation]:
    spare = [FreshBlob(_LARGE_BYTES) for _ in range(in_flight)]
    written: list[Digest] = []

    async def write(number: int) -> None:
        blob = spare.pop()
        written.append(await wire.write_stream(blob, number))
        spare.append(blob)

    async def read(number: int) -> None:
        await wire.read_stream(written[number - _LARGE_COUNT])

    return write, read


async def _measure_small(wire: Wire, alone: ObstoreAlone) -> list[Comparison]:
    written = await wire.upload(os.urandom(1024) for _ in range(1000))
    reads = [
        re_pb2.BatchReadBlobsRequest(digests=[digest.to_message()]).SerializeToString()
        for digest in written
    ]

    async def write(_: int) -> None:
        data = os.urandom(1024)
        request = re_pb2.BatchUpdateBlobsRequest()
        request.requests.add(digest=digest_of(data).to_message(), data=data)
        await wire.batch_update(request.SerializeToString())

    async def read(number: int) -> None:
        await wire.batch_read(reads[number % len(reads)])

    taken = await in_turns(
        {
            "put": rate(alone.put_small, _SMALL_IN_FLIGHT),
            "write": rate(write, _SMALL_IN_FLIGHT),
            "get": rate(alone.get_small, _SMALL_IN_FLIGHT),
            "read": rate(read, _SMALL_IN_FLIGHT),
        }
    )
    name = f"bucket: {{}} of 1 KiB, {_SMALL_IN_FLIGHT} in flight, inline"
    return [
        compare(name.format("write"), "calls/s", taken["write"], taken["put"], "obstore", aim=0.9),
        compare(name.format("read"), "calls/s", taken["read"], taken["get"], "obstore", aim=0.9),
    ]


async def _half_written(server: RunningServer) -> float:
    blob = FreshBlob(_OPEN_BYTES)
    async with AsyncExitStack() as stack:
        before = server.unshared_mib()
        calls = []
        for number in range(_OPEN_STREAMS):
            wire = await stack.enter_async_context(Wire(server.target))
            calls.append(await wire.write_half(blob, number))
        return await _growth(server, before, calls)


async def _half_read(server: RunningServer, digests: list[Digest]) -> float:
    async with AsyncExitStack() as stack:
        before = server.unshared_mib()
        calls = []
        for digest in digests:
            wire = await stack.enter_async_context(Wire(server.target))
            calls.append(await wire.read_half(digest))
        return await _growth(server, before, calls)


async def _growth(server: RunningServer, before: float, calls: list[Call]) -> float:
    """MiB for each of the calls, which are all at their middle."""
    async with Wire(server.target) as wire:
        await wire.check_health(b"")  # behind what they have sent
    growth = (server.unshared_mib() - before) / len(calls)
    for call in calls:
        call.cancel()
    return growth


def _memory_row(what: str, mib: float) -> Comparison:
    name = f"bucket: memory of one of {_OPEN_STREAMS} {what} streams"
    return compare(name, "MiB", [mib], aim=4, is_ratio=False, is_ceiling=True)
