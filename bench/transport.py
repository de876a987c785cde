"""The figures of each transport: the server on one core, the load of load/ on the other.

Both transports are measured in turns on servers of their own.
"""

import asyncio
import importlib.util
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reapi.cas.wire import length_delimited
from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream import bytestream_pb2

from .comparison import ROUNDS, Comparison, compare
from .generator import Figures, Generator, Job, Message
from .scenarios import STREAM_BYTES, find_missing_request, stored_results, upload_actions
from .servers import ALL_CORES, FRONTEND, RunningServer, running_server
from .waiters import idle_stream_kib
from .wire import FreshBlob, Wire

_GRPC_AIO, _NATIVE = "grpc.aio", "native"
_REAPI = "/build.bazel.remote.execution.v2."
_GET_RESULT = _REAPI + "ActionCache/GetActionResult"
_UPDATE_RESULT = _REAPI + "ActionCache/UpdateActionResult"
_EXECUTE = _REAPI + "Execution/Execute"
_SECONDS = 2.0
_RESULTS = 1000
_UPDATES = 50_000
_NO_OP_ACTIONS = 1_000
_LEASED_ACTIONS = 12_000
_WORKERS, _SLOTS = 8, 8
_STREAM_WRITES = 48
_CHUNK_BYTES = 1 << 20
_MOST_IDLE_KIB = 10.0
_LEAST_SAVED_MS = 0.5


def _per_second(figures: Figures) -> float:
    return figures.per_second


def _median_ms(figures: Figures) -> float:
    return figures.p50_ms


def _mib_per_second(figures: Figures) -> float:
    return figures.per_second * STREAM_BYTES / (1 << 20)


@dataclass(frozen=True)
class _Row:
    """`prepare` makes the calls of one round; `aim` is what the native transport has to reach."""

    name: str
    prepare: Callable[[Wire], Awaitable[Job]]
    aim: float
    unit: str = "calls/s"
    figure: Callable[[Figures], float] = _per_second
    workers: int = 0

    @property
    def is_ceiling(self) -> bool:
        return self.unit == "ms"


async def measure_transport(folder: Path) -> list[Comparison]:
    """The rows of the table; none without the native transport or without Go."""
    missing = _what_is_missing()
    if missing:
        print(f"  left out: {missing}")
        return []
    generator = Generator(folder, ALL_CORES[-1])
    rows = []
    with _both(folder / "frontends", FRONTEND) as servers:
        for row in _FRONTEND_ROWS:
            rows.append(_compared(row, await _taken(row, servers, generator)))
    with _both(folder / "executors", ()) as servers:
        taken = await _taken(_NO_OP, servers, generator)
        rows += [_compared(_NO_OP, taken), _saved(taken)]
    with _both(folder / "streams", FRONTEND) as servers:
        idle = {name: [await idle_stream_kib(server)] for name, server in servers.items()}
        rows.append(
            compare(
                "transport: idle WaitExecution stream, of 5,000",
                "KiB",
                idle[_NATIVE],
                idle[_GRPC_AIO],
                "grpc.aio",
                aim=_MOST_IDLE_KIB,
                is_ratio=False,
                is_ceiling=True,
            )
        )
    return rows


def _what_is_missing() -> str | None:
    if importlib.util.find_spec("reapi_transport") is None:
        return "the native transport is not installed"
    if shutil.which("go") is None:
        return "Go is missing, which builds the load generator"
    return None


@contextmanager
def _both(folder: Path, roles: Sequence[str]) -> Iterator[dict[str, RunningServer]]:
    """A server on each transport, on the same core: only one of them has work at a time."""
    folder.mkdir(mode=0o711)
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                running_server(
                    folder / name,
                    ALL_CORES[:1],
                    roles=roles,
                    settings={"SERVER__TRANSPORT": name},
                )
            )
            for name in (_GRPC_AIO, _NATIVE)
        }


async def _taken(
    row: _Row, servers: dict[str, RunningServer], generator: Generator
) -> dict[str, list[float]]:
    """The figures of all rounds, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, server in servers.items():
            async with Wire(server.target) as wire:
                job = await row.prepare(wire)
            with ExitStack() as stack:
                if row.workers:
                    stack.enter_context(generator.workers(server.target, row.workers, _SLOTS))
                figures = await asyncio.to_thread(
                    generator.run, server.target, job, seconds=_SECONDS
                )
            taken[name].append(row.figure(figures))
    return taken


def _compared(row: _Row, taken: dict[str, list[float]]) -> Comparison:
    return compare(
        f"transport: {row.name}",
        row.unit,
        taken[_NATIVE],
        taken[_GRPC_AIO],
        "grpc.aio",
        aim=row.aim,
        is_ratio=False,
        is_ceiling=row.is_ceiling,
    )


def _saved(taken: dict[str, list[float]]) -> Comparison:
    both = zip(taken[_GRPC_AIO], taken[_NATIVE], strict=True)
    return compare(
        "transport: no-op action, median: less than on grpc.aio by",
        "ms",
        [slow - quick for slow, quick in both],
        aim=_LEAST_SAVED_MS,
        is_ratio=False,
    )


def _unary(path: str, requests: Sequence[bytes], in_flight: int, *, once: bool = False) -> Job:
    return Job(path, [[(request,)] for request in requests], in_flight, once=once)


def _hits(in_flight: int) -> Callable[[Wire], Awaitable[Job]]:
    async def prepare(wire: Wire) -> Job:
        return _unary(_GET_RESULT, await stored_results(wire, _RESULTS), in_flight)

    return prepare


def _find_missing(count: int, in_flight: int) -> Callable[[Wire], Awaitable[Job]]:
    async def prepare(wire: Wire) -> Job:
        path = _REAPI + "ContentAddressableStorage/FindMissingBlobs"
        return _unary(path, [await find_missing_request(wire, count)], in_flight)

    return prepare


async def _updates(wire: Wire) -> Job:
    """New results, each with one output that is there."""
    (output,) = await wire.upload([b"an output"])
    result = re_pb2.ActionResult()
    result.output_files.add(path="out.o", digest=output.to_message())
    requests = [
        re_pb2.UpdateActionResultRequest(
            action_digest=digest_of(os.urandom(16)).to_message(), action_result=result
        ).SerializeToString()
        for _ in range(_UPDATES)
    ]
    return _unary(_UPDATE_RESULT, requests, 32, once=True)


def _executions(
    actions: Sequence[Digest], in_flight: int, *, skip_cache_lookup: bool, once: bool
) -> Job:
    requests = [
        re_pb2.ExecuteRequest(
            action_digest=action.to_message(), skip_cache_lookup=skip_cache_lookup
        ).SerializeToString()
        for action in actions
    ]
    calls = [[(request,)] for request in requests]
    return Job(_EXECUTE, calls, in_flight, streams_replies=True, once=once)


async def _cached_actions(wire: Wire) -> Job:
    actions = await upload_actions(wire, 50)
    for action in actions:
        update = re_pb2.UpdateActionResultRequest(
            action_digest=action.to_message(), action_result=re_pb2.ActionResult(stdout_raw=b".")
        )
        await wire.update_result(update.SerializeToString())
        await wire.execute(action, skip_cache_lookup=False)
    return _executions(actions, 16, skip_cache_lookup=False, once=False)


async def _leased_actions(wire: Wire) -> Job:
    actions = await upload_actions(wire, _LEASED_ACTIONS, do_not_cache=True)
    return _executions(actions, _WORKERS * _SLOTS, skip_cache_lookup=True, once=True)


async def _no_op_actions(wire: Wire) -> Job:
    actions = await upload_actions(wire, _NO_OP_ACTIONS + 1)
    await wire.execute(actions[0], skip_cache_lookup=True)  # all processes are up
    return _executions(actions[1:], 1, skip_cache_lookup=True, once=True)


async def _stream_reads(wire: Wire) -> Job:
    digest = await wire.write_stream(FreshBlob(STREAM_BYTES), 0)
    name = read_name("", digest)
    request = bytestream_pb2.ReadRequest(resource_name=name).SerializeToString()
    path = "/google.bytestream.ByteStream/Read"
    return Job(path, [[(request,)]], 4, streams_replies=True)


async def _stream_writes(wire: Wire) -> Job:
    """Blobs that differ in their last bytes; the generator has all others once."""
    blob = FreshBlob(STREAM_BYTES)
    chunks = [
        bytes(blob.data[at : at + _CHUNK_BYTES]) for at in range(0, STREAM_BYTES, _CHUNK_BYTES)
    ]
    calls: list[list[Message]] = []
    for number in range(_STREAM_WRITES):
        digest = blob.renew(number)
        last = bytes(blob.data[-_CHUNK_BYTES:])
        name = write_name("", f"bench-{os.urandom(8).hex()}", digest)
        calls.append(
            [
                _write_request(name if at == 0 else "", at * _CHUNK_BYTES, chunk)
                for at, chunk in enumerate([*chunks[:-1], last])
            ]
        )
    return Job("/google.bytestream.ByteStream/Write", calls, 4, streams_requests=True, once=True)


def _write_request(name: str, offset: int, chunk: bytes) -> Message:
    """In parts, so that those who share a chunk share its bytes."""
    request = bytestream_pb2.WriteRequest(
        resource_name=name,
        write_offset=offset,
        finish_write=offset + len(chunk) == STREAM_BYTES,
    )
    data = length_delimited(bytestream_pb2.WriteRequest.DATA_FIELD_NUMBER, chunk)
    prefix = data[: len(data) - len(chunk)]
    return (request.SerializeToString() + prefix, chunk)


_FRONTEND_ROWS = (
    _Row("GetActionResult, hit, 32 in flight", _hits(32), 30_000),
    _Row("GetActionResult, hit, one at a time: median", _hits(1), 0.16, "ms", _median_ms),
    _Row("FindMissing of 1, 32 in flight", _find_missing(1, 32), 35_000),
    _Row("FindMissing of 1,000, 8 in flight", _find_missing(1000, 8), 1_500),
    _Row("UpdateActionResult, 32 in flight", _updates, 8_000),
    _Row("cached Execute, 16 in flight", _cached_actions, 8_000),
    _Row("actions of workers that run nothing", _leased_actions, 2_000, workers=_WORKERS),
    _Row("ByteStream read of 64 MiB, 4 in flight", _stream_reads, 2_000, "MiB/s", _mib_per_second),
    _Row("ByteStream write of 64 MiB, 4 in flight", _stream_writes, 500, "MiB/s", _mib_per_second),
)
_NO_OP = _Row("no-op action, one at a time: median", _no_op_actions, 0, "ms", _median_ms)
