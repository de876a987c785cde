"""`kill -9` of an edge frontend that has acknowledged what its upstream does not have yet."""

import json
from pathlib import Path
from random import Random

from reapi.clients import Client
from reapi.clients.action_cache import RemoteActionCache
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.methods import BATCH_UPDATE_BLOBS
from reapi.core.digest import digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.results import result_of
from tests.server_process import ServerProcess

SMALL = [f"small {number}".encode() for number in range(200)]
LARGE = [Random(number).randbytes(1_200_000 + number) for number in range(2)]
FRONTEND = ("--role", "frontend")


def _environment(upstream: str, **more: object) -> dict[str, str]:
    section = {"servers": [{"endpoint": upstream}], **more}
    return {f"REAPI_UPSTREAM__{key.upper()}": json.dumps(value) for key, value in section.items()}


async def _write(channel: Channel, blobs: list[bytes]) -> None:
    """One call, which must be acknowledged."""
    request = re_pb2.BatchUpdateBlobsRequest()
    for blob in blobs:
        request.requests.add(digest=digest_of(blob).to_message(), data=blob)
    reply = await channel.unary(BATCH_UPDATE_BLOBS, request)
    assert all(response.status.code == 0 for response in reply.responses)


async def test_what_a_killed_edge_owed_is_paid_by_the_next_one(tmp_path: Path) -> None:
    blobs = [*SMALL, *LARGE]
    with ServerProcess(tmp_path / "upstream", *FRONTEND) as upstream:
        environment = _environment(upstream.grpc, write_back_max_bytes=10_000_000)
        with ServerProcess(tmp_path / "edge", *FRONTEND, environment=environment) as edge:
            async with Channel(edge.grpc) as channel:
                await _write(channel, SMALL[:1])
                upstream.kill()
                await _write(channel, blobs)
            edge.kill()
    with ServerProcess(tmp_path / "upstream", *FRONTEND) as upstream:
        async with Channel(upstream.grpc) as channel:
            straight = RemoteBlobStore(channel)
            digests = [digest_of(blob) for blob in blobs]
            assert len(await straight.find_missing(digests)) >= len(blobs) - 1
            # What is owed is paid, though nothing more may become owed.
            environment = _environment(upstream.grpc)
            with ServerProcess(tmp_path / "edge", *FRONTEND, environment=environment) as edge:
                async with Channel(edge.grpc) as to_edge:
                    assert await RemoteBlobStore(to_edge).find_missing(digests) == []
                    results = RemoteActionCache(to_edge)
                    await results.put("", digest_of(b"an action"), result_of(*blobs))
                edge.kill()
            found = await straight.read_many(digests)
            assert found == {digest_of(blob): blob for blob in blobs}


async def test_several_processes_serve_one_edge(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "upstream", *FRONTEND) as upstream:
        environment = _environment(upstream.grpc) | {"REAPI_SERVER__PROCESSES": "2"}
        with ServerProcess(tmp_path / "edge", *FRONTEND, environment=environment) as edge:
            for number in range(6):  # connections, which the processes share
                async with Client(edge.grpc) as client:
                    digest = await client.upload_bytes(LARGE[0] + bytes([number]))
                    assert await client.read_bytes(digest) == LARGE[0] + bytes([number])
