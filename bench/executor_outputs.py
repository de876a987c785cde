"""Outputs: read, hashed, sent over loopback and stored durably, against writing such files."""

import os
import time
from pathlib import Path

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.unit.executor.harness import Harness, add_lease, add_tree, open_harness

from .comparison import Comparison, compare
from .servers import ALL_CORES, FRONTEND, running_server
from .small_files import write_files

_ROUNDS = 7
_FILES = 1_000
_FILE_BYTES = 10 << 10


async def measure_outputs(folder: Path) -> list[Comparison]:
    """From the end of a command that wrote them to the moment that all are stored."""
    collecting, writing = [], []
    with running_server(folder / "server", ALL_CORES[:1], roles=FRONTEND) as server:
        async with (
            open_harness(folder / "executor", separate_uid=False) as bed,
            Channel(server.target) as channel,
        ):
            store = RemoteBlobStore(channel)
            for number in range(_ROUNDS):
                blobs = [os.urandom(_FILE_BYTES) for _ in range(_FILES)]
                writing.append(write_files(folder / f"written-{number}", blobs))
                collecting.append(await _collecting(bed, store))
    return [
        compare(
            f"executor: collecting {_FILES:,} outputs of 10 KiB to durable",
            "ms",
            collecting,
            writing,
            "writing such files",
            aim=1.5,
            is_ceiling=True,
        )
    ]


async def _collecting(bed: Harness, store: RemoteBlobStore) -> float:
    """The command cuts one input into the outputs; when it ends is in the result's metadata."""
    command = re_pb2.Command(
        arguments=["split", "-a", "4", "-b", str(_FILE_BYTES), "in", "out/"],
        output_paths=["out"],
    )
    root = add_tree(bed.store, {"in": os.urandom(_FILES * _FILE_BYTES), "out": {}})
    lease = add_lease(bed.store, command, root)
    await store.write_many(bed.store.blobs)
    bed.store.blobs.clear()
    action = bed.action(lease, store)
    response = await action.run(bed.slot, lambda: None)
    ended = time.time_ns()
    metadata = response.result.execution_metadata
    await bed.slot.restore(action.started_ns)
    if response.status.code or len(response.result.output_directories) != 1:
        raise SystemExit(f"the outputs were not collected: {response}")
    return (ended - metadata.execution_completed_timestamp.ToNanoseconds()) / 1e6
