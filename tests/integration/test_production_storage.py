"""Frontends, a scheduler and executors of several machines share a database and a bucket."""

import asyncio
import itertools
import random
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reapi.clients.action_cache import RemoteActionCache
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.methods import EXECUTE
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import NotFound, ResourceExhausted
from reapi.core.postgresql.dsn import Dsn
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.memory_store import MemoryBlobStore
from tests.integration.production import Production
from tests.integration.system import sh
from tests.minio import S3Server, minio_client, new_bucket
from tests.postgresql import PostgresqlServer
from tests.server_process import ServerProcess
from tests.unit.executor.harness import Tree, add_tree
from tests.unit.scheduler.harness import response_of

RETENTION_SECONDS = 3
HEARD_SECONDS = 20
"""Within which one frontend has heard what another one lost, at the very latest."""

_seeds = itertools.count()


@dataclass(frozen=True)
class Servers:
    """All of them, running."""

    production: Production
    scheduler: str
    frontends: tuple[ServerProcess, ServerProcess]


@pytest.fixture(scope="module")
def servers(postgresql_server: PostgresqlServer, s3_server: S3Server) -> Iterator[Servers]:
    """Two frontends, a scheduler, and an executor on the storage itself, named `direct`."""
    with tempfile.TemporaryDirectory(prefix="reapi-test-") as folder, ExitStack() as stack:
        path = Path(folder)
        path.chmod(0o711)
        dsn = asyncio.run(postgresql_server.create_database())
        production = Production(path, dsn, new_bucket(s3_server, path))
        scheduler = stack.enter_context(production.scheduler()).grpc
        one, other = (
            stack.enter_context(production.frontend(name, scheduler)) for name in ("one", "other")
        )
        stack.enter_context(production.executor("direct", scheduler, storage="direct"))
        yield Servers(production, scheduler, (one, other))


class Client:
    """A client of one frontend."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.blobs = RemoteBlobStore(channel, "")
        self.results = RemoteActionCache(channel)

    async def run(self, command: re_pb2.Command, tree: Tree) -> tuple[Digest, re_pb2.ActionResult]:
        """An action, which must be run now and succeed, and its result."""
        store = MemoryBlobStore()
        root = add_tree(store, tree)
        action = store.add(
            re_pb2.Action(
                command_digest=store.add(command.SerializeToString()).to_message(),
                input_root_digest=root.to_message(),
            ).SerializeToString()
        )
        assert not await self.blobs.write_many(store.blobs)
        request = re_pb2.ExecuteRequest(action_digest=action.to_message())
        operations = [one async for one in self.channel.server_stream(EXECUTE, request)]
        response = response_of(operations[-1])
        assert response.status.code == 0, response.status
        assert response.result.exit_code == 0
        assert not response.cached_result
        return action, response.result

    async def read(self, digest: Digest) -> bytes:
        return b"".join([chunk async for chunk in self.blobs.read(digest)])


@pytest.fixture
async def clients(servers: Servers) -> AsyncIterator[tuple[Client, Client]]:
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(Channel(frontend.grpc))
            for frontend in servers.frontends
        ]
        yield Client(channels[0]), Client(channels[1])


def new_blob(size: int) -> tuple[Digest, bytes]:
    """Bytes that no other test has."""
    data = random.Random(next(_seeds)).randbytes(size)
    return digest_of(data), data


def result_of(output: Digest) -> re_pb2.ActionResult:
    return re_pb2.ActionResult(
        output_files=[re_pb2.OutputFile(path="out", digest=output.to_message())]
    )


@pytest.mark.parametrize("size", [100, 100_000, 20_000_000])
async def test_what_one_frontend_was_given_the_other_has_at_once(
    clients: tuple[Client, Client], size: int
) -> None:
    for one, other in (clients, clients[::-1]):
        digest, data = new_blob(size)
        assert await other.blobs.find_missing([digest]) == [digest]
        assert await one.blobs.write_many({digest: data}) == {}
        assert await other.blobs.find_missing([digest]) == []
        assert await other.read(digest) == data


async def test_no_frontend_answers_with_a_result_that_another_has_replaced(
    clients: tuple[Client, Client],
) -> None:
    action, _ = new_blob(100)
    for turn in range(20):
        writer, reader = clients[turn % 2], clients[1 - turn % 2]
        digest, data = new_blob(100)
        await writer.blobs.write_many({digest: data})
        await writer.results.put("", action, result_of(digest))
        for client in (reader, writer, reader):
            (file,) = (await client.results.get("", action)).output_files
            assert file.digest == digest.to_message()


async def test_an_action_runs_for_one_frontend_and_is_cached_for_the_other(
    servers: Servers, clients: tuple[Client, Client]
) -> None:
    one, other = clients
    before = [_handled(frontend, "Write", "BatchUpdateBlobs") for frontend in servers.frontends]
    _, large = new_blob(6_000_000)
    command = sh("cat in/large in/small > out; echo done", output_paths=["out"])
    command.platform.properties.add(name="executor", value="direct")
    action, result = await one.run(command, {"in": {"large": large, "small": b"and more"}})
    assert await other.results.get("", action) == result
    (file,) = result.output_files
    output = large + b"and more"
    assert file.digest == digest_of(output).to_message()
    assert await other.read(digest_of(output)) == output
    assert await other.read(digest_of(b"done\n")) == b"done\n"
    # The inputs came through `one`: small ones in a batch, the large one alone. No output did.
    after = [_handled(frontend, "Write", "BatchUpdateBlobs") for frontend in servers.frontends]
    assert (after[0] - before[0], after[1] - before[1]) == (2, 0)


async def test_an_executor_may_have_its_blobs_through_a_frontend(
    servers: Servers, clients: tuple[Client, Client]
) -> None:
    one, other = clients
    endpoint = servers.frontends[1].grpc
    with servers.production.executor("by-grpc", servers.scheduler, frontend_endpoint=endpoint):
        command = sh("cat in > out", output_paths=["out"])
        command.platform.properties.add(name="executor", value="by-grpc")
        digest, data = new_blob(2_000_000)
        _, result = await one.run(command, {"in": data})
        assert result.output_files[0].digest == digest.to_message()
        assert result.execution_metadata.worker == "by-grpc"
        assert await other.read(digest) == data


def _handled(frontend: ServerProcess, *methods: str) -> float:
    """How many calls of these methods a frontend has had."""
    with urlopen(f"http://{frontend.http}/metrics") as response:
        text = response.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "reapi_rpc_handled_total"
        and sample.labels["method"].rpartition("/")[2] in methods
    )


async def test_D4_what_one_frontend_finds_damaged_is_missing_for_the_other(
    servers: Servers, s3_server: S3Server, clients: tuple[Client, Client]
) -> None:
    one, other = clients
    digest, data = new_blob(300_000)
    await one.blobs.write_many({digest: data})
    action, _ = new_blob(100)
    await one.results.put("", action, result_of(digest))
    assert await other.blobs.find_missing([digest]) == []  # and is remembered
    await other.results.get("", action)
    s3 = servers.production.s3
    client = minio_client(s3_server)
    (stored,) = client.list_objects(s3.bucket, s3.key("cas", digest.hash[:2]) + "/", recursive=True)
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    client.put_object(s3.bucket, stored.object_name, BytesIO(damaged), len(damaged))
    with pytest.raises(NotFound):
        await one.read(digest)
    assert await one.blobs.find_missing([digest]) == [digest]
    async with asyncio.timeout(HEARD_SECONDS):  # and mostly at once
        while not await other.blobs.find_missing([digest]):
            pass
    with pytest.raises(NotFound):
        await other.read(digest)
    with pytest.raises(NotFound):
        await other.results.get("", action)
    await other.blobs.write_many({digest: data})
    assert await one.read(digest) == data


@pytest.mark.soak
@pytest.mark.timeout(180)
async def test_what_one_frontend_evicts_the_other_does_not_promise(
    open_path: Path, postgresql_dsn: Dsn, s3_server: S3Server
) -> None:
    s3 = new_bucket(s3_server, open_path)
    storage = {
        "max_size_bytes": 3_000_000,
        "retention_seconds": RETENTION_SECONDS,
        "inline_max_bytes": 20_000,
    }
    production = Production(open_path, postgresql_dsn, s3, storage)
    async with AsyncExitStack() as stack:
        frontends = [stack.enter_context(production.frontend(name)) for name in ("one", "other")]
        one, other = [
            Client(await stack.enter_async_context(Channel(frontend.grpc)))
            for frontend in frontends
        ]
        blobs = dict(new_blob(size) for size in [10_000, 100_000, 200_000] * 18)
        written: list[Digest] = []
        evicted: set[Digest] = set()
        loop = asyncio.get_running_loop()
        for number, (digest, data) in enumerate(blobs.items()):
            await _write_when_there_is_room((one, other)[number % 2], digest, data)
            written.append(digest)
            client = (other, one)[number % 2]
            # Of all that was ever written: each answer is a promise, or says that it is gone.
            chosen = random.Random(number).sample(written, min(4, len(written)))
            asked = loop.time()
            missing = await client.blobs.find_missing(chosen)
            evicted.update(missing)
            for promised in set(chosen) - set(missing):
                read = await client.blobs.read_many([promised])
                if read.get(promised) != blobs[promised]:
                    assert loop.time() - asked > RETENTION_SECONDS, "a promise was broken"
        assert len(evicted) > 10
        for client in (one, other):
            missing = await client.blobs.find_missing(blobs)
            present = set(blobs) - set(missing)
            assert present
            assert await client.blobs.read_many(list(present)) == {
                digest: blobs[digest] for digest in present
            }
        assert sum(digest.size_bytes for digest in present) <= storage["max_size_bytes"]


async def _write_when_there_is_room(client: Client, digest: Digest, data: bytes) -> None:
    """A store that is full of promised blobs says when to try again."""
    while failures := await client.blobs.write_many({digest: data}):
        (failure,) = failures.values()
        assert isinstance(failure, ResourceExhausted)
        assert failure.retry_after_seconds
        await asyncio.sleep(failure.retry_after_seconds)
