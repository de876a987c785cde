"""What is measured: each scenario prepares the server and gives one operation to repeat."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reapi.core.digest import Digest, digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .load import Operation
from .wire import FreshBlob, Wire

STREAM_BYTES = 64 << 20


@dataclass(frozen=True)
class Scenario:
    """A row of the table.

    `units` is what one operation counts for in `unit`; `limit` names the row of bench/limits.py
    that bounds it, of which one unit takes `limit_share`. A scenario with a `burst` starts that
    many operations at once instead.
    """

    name: str
    prepare: Callable[[Wire], Awaitable[Operation]]
    in_flight: int
    unit: str = "calls/s"
    units: float = 1
    limit: str = ""
    limit_share: float = 1
    burst: int = 0


async def _health_checks(wire: Wire) -> Operation:
    async def check(_: int) -> None:
        await wire.check_health(b"")

    return check


async def stored_results(wire: Wire, count: int) -> list[bytes]:
    """Requests for so many results with two outputs each, which it stores."""
    outputs = await wire.upload([b"an output", b"another output"])
    result = re_pb2.ActionResult()
    for number, output in enumerate(outputs):
        result.output_files.add(path=f"out/{number}.o", digest=output.to_message())
    requests = []
    for _ in range(count):
        action = digest_of(os.urandom(16)).to_message()
        update = re_pb2.UpdateActionResultRequest(action_digest=action, action_result=result)
        await wire.update_result(update.SerializeToString())
        get = re_pb2.GetActionResultRequest(action_digest=action)
        requests.append(get.SerializeToString())
    return requests


async def result_hits(wire: Wire) -> Operation:
    """1,000 results, asked for in turn."""
    requests = await stored_results(wire, 1000)

    async def hit(number: int) -> None:
        await wire.get_result(requests[number % len(requests)])

    return hit


async def find_missing_request(wire: Wire, count: int) -> bytes:
    """For so many digests, half of them absent."""
    present = await wire.upload(os.urandom(64) for _ in range((count + 1) // 2))
    absent = [digest_of(os.urandom(64)) for _ in range(count // 2)]
    return re_pb2.FindMissingBlobsRequest(
        blob_digests=[digest.to_message() for digest in present + absent]
    ).SerializeToString()


def find_missing(count: int) -> Callable[[Wire], Awaitable[Operation]]:
    """The same digests again and again, half of them absent."""

    async def prepare(wire: Wire) -> Operation:
        request = await find_missing_request(wire, count)

        async def find(_: int) -> None:
            await wire.find_missing(request)

        return find

    return prepare


async def _batch_updates(wire: Wire) -> Operation:
    async def update(_: int) -> None:
        request = re_pb2.BatchUpdateBlobsRequest()
        for _ in range(100):
            data = os.urandom(1024)
            request.requests.add(digest=digest_of(data).to_message(), data=data)
        await wire.batch_update(request.SerializeToString())

    return update


async def _batch_reads(wire: Wire) -> Operation:
    requests = []
    for _ in range(16):
        digests = await wire.upload(os.urandom(1024) for _ in range(100))
        request = re_pb2.BatchReadBlobsRequest(digests=[each.to_message() for each in digests])
        requests.append(request.SerializeToString())

    async def read(number: int) -> None:
        await wire.batch_read(requests[number % len(requests)])

    return read


async def _stream_reads(wire: Wire) -> Operation:
    blob = FreshBlob(STREAM_BYTES)
    await wire.write_stream(blob, 0)
    digest = digest_of(blob.data)

    async def read(_: int) -> None:
        await wire.read_stream(digest)

    return read


async def _stream_writes(wire: Wire) -> Operation:
    spare = [FreshBlob(STREAM_BYTES) for _ in range(4)]

    async def write(number: int) -> None:
        blob = spare.pop()
        await wire.write_stream(blob, number)
        spare.append(blob)

    return write


async def no_op_actions(wire: Wire, count: int = 6000) -> Operation:
    """As many different actions that run /bin/true on nothing, each to be run once."""
    actions = await upload_actions(wire, count)

    async def run(number: int) -> None:
        await wire.execute(actions[number], skip_cache_lookup=True)

    return run


async def _cached_actions(wire: Wire) -> Operation:
    actions = await upload_actions(wire, 50)
    for action in actions:
        await wire.execute(action, skip_cache_lookup=False)

    async def run(number: int) -> None:
        await wire.execute(actions[number % len(actions)], skip_cache_lookup=False)

    return run


async def upload_actions(wire: Wire, count: int, *, do_not_cache: bool = False) -> list[Digest]:
    """Actions that run /bin/true on nothing; their salts differ."""
    command = re_pb2.Command(arguments=["/bin/true"])
    command_digest, root_digest = await wire.upload([command.SerializeToString(), b""])
    salt = os.urandom(8)
    actions = (
        re_pb2.Action(
            command_digest=command_digest.to_message(),
            input_root_digest=root_digest.to_message(),
            salt=salt + number.to_bytes(4, "big"),
            do_not_cache=do_not_cache,
        ).SerializeToString()
        for number in range(count)
    )
    return await wire.upload(actions)


async def many_inputs(wire: Wire) -> Operation:
    """500 files of 1 KiB in 10 folders; 5 files are new in every action."""
    files = [[os.urandom(1024) for _ in range(50)] for _ in range(10)]
    command = re_pb2.Command(arguments=["/bin/true"]).SerializeToString()
    await wire.upload([command, *(data for folder in files for data in folder)])

    async def run(_: int) -> None:
        blobs: dict[Digest, bytes] = {}

        def add(data: bytes) -> re_pb2.Digest:
            digest = digest_of(data)
            blobs[digest] = data
            return digest.to_message()

        root = re_pb2.Directory()
        for index, folder in enumerate(files):
            directory = re_pb2.Directory()
            for number, data in enumerate(folder):
                fresh = number == 7 and index < 5
                content = os.urandom(1024) if fresh else data
                directory.files.add(name=f"{number:02}.h", digest=add(content))
            digest = add(directory.SerializeToString())
            root.directories.add(name=f"{index:02}", digest=digest)
        action = re_pb2.Action(
            command_digest=add(command), input_root_digest=add(root.SerializeToString())
        ).SerializeToString()
        add(action)
        request = re_pb2.FindMissingBlobsRequest(blob_digests=[each.to_message() for each in blobs])
        reply = await wire.find_missing(request.SerializeToString())
        missing = re_pb2.FindMissingBlobsResponse.FromString(reply).missing_blob_digests
        await wire.upload(blobs[Digest(each.hash, each.size_bytes)] for each in missing)
        await wire.execute(digest_of(action), skip_cache_lookup=True)

    return run


SCENARIOS = (
    Scenario("health check, the least call", _health_checks, 32),
    Scenario("GetActionResult, hit", result_hits, 32),
    Scenario("FindMissing of 1", find_missing(1), 32),
    Scenario("FindMissing of 1,000", find_missing(1000), 8),
    Scenario(
        "BatchUpdate of 100 x 1 KiB",
        _batch_updates,
        8,
        limit="sha256 of 1 KiB blobs, /s",
        limit_share=100,
    ),
    Scenario("BatchRead of 100 x 1 KiB", _batch_reads, 8),
    Scenario("ByteStream read, 64 MiB", _stream_reads, 4, "MiB/s", 64, "loopback, MiB/s"),
    Scenario("ByteStream write, 64 MiB", _stream_writes, 4, "MiB/s", 64, "disk write, MiB/s"),
    Scenario("cached Execute", _cached_actions, 16),
    Scenario(
        "no-op action, one at a time",
        no_op_actions,
        1,
        "actions/s",
        limit="fork and exec of /bin/true, /s",
    ),
    Scenario(
        "no-op actions",
        no_op_actions,
        16,
        "actions/s",
        limit="fork and exec of /bin/true, /s",
    ),
    Scenario(
        "burst of 2,000 no-op actions",
        no_op_actions,
        2000,
        "actions/s",
        limit="fork and exec of /bin/true, /s",
        burst=2000,
    ),
    Scenario("action with 500 inputs, 5 new", many_inputs, 8, "actions/s"),
)
