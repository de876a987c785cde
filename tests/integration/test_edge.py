"""An edge frontend: what it answers from its cache, and what only the servers behind it say."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from random import Random

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from reapi.clients.action_cache import RemoteActionCache
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.capabilities import get_capabilities
from reapi.clients.channel import Channel
from reapi.clients.methods import CONNECT, ClientMethod
from reapi.clients.model import ResultQuery
from reapi.clients.results import list_results
from reapi.clients.workers import list_workers
from reapi.core.digest import SHA256, Digest, digest_of
from reapi.core.errors import BlobsMissing, NotFound, Unavailable, Unimplemented
from tests.fakes.results import result_of
from tests.integration.edge import open_edge_of
from tests.integration.system import System, open_system, sh

LARGE = Random(1).randbytes(3_000_000)
OUTPUTS = [f"output {number}".encode() for number in range(30)]
ACTION = digest_of(b"an action")


_HEALTH_WATCH = ClientMethod(
    "/grpc.health.v1.Health/Watch", HealthCheckRequest, HealthCheckResponse
)


async def _missing(system: System, *blobs: bytes) -> list[Digest]:
    return await system.blobs.find_missing([digest_of(blob) for blob in blobs])


async def _writers(system: System) -> list[str]:
    """Who has stored the results that the server lists."""
    return [result.writer async for result in list_results(system.channel, ResultQuery())]


async def test_actions_run_upstream_and_their_results_are_the_same_everywhere(
    open_path: Path,
) -> None:
    async with (
        open_system(open_path / "upstream") as upstream,
        upstream.worker(),
        open_edge_of(open_path / "edge", upstream) as edge,
    ):
        response = await edge.sh("cat in/put; echo more", {"in": {"put": b"some "}})
        assert await edge.stdout(response) == "some more\n"
        result = await edge.run_cached("echo cached")
        assert await upstream.stdout(response) == "some more\n"
        assert await upstream.read(result.stdout_digest) == b"cached\n"


async def test_an_executor_may_join_through_an_edge(open_path: Path) -> None:
    async with (
        open_system(open_path / "upstream") as upstream,
        open_edge_of(open_path / "edge", upstream) as edge,
        edge.worker(),
    ):
        await upstream.check_alive()


async def test_an_edge_serves_what_it_has_while_the_upstream_is_away(open_path: Path) -> None:
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(AsyncExitStack())
        upstream = await behind.enter_async_context(open_system(open_path / "upstream"))
        edge = await stack.enter_async_context(open_edge_of(open_path / "edge", upstream))
        await edge.add_blobs(b"small", LARGE)
        await upstream.add_blobs(b"never asked for")
        await behind.aclose()
        for data in (b"small", LARGE):
            digest = digest_of(data)
            assert await edge.blobs.read_many([digest]) == {digest: data}
        with pytest.raises(Unavailable):
            await edge.blobs.read_many([digest_of(b"never asked for")])
        with pytest.raises(Unavailable):
            await _missing(edge, b"small")
        with pytest.raises(Unavailable):
            await edge.blobs.write_many({ACTION: b"an action"})
        with pytest.raises(Unavailable):
            await edge.cached(ACTION)
        with pytest.raises(Unavailable):
            await get_capabilities(edge.channel, "")


async def test_health_says_whether_the_upstream_is_there(open_path: Path) -> None:
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(AsyncExitStack())
        upstream = await behind.enter_async_context(open_system(open_path / "upstream"))
        edge = await stack.enter_async_context(open_edge_of(open_path / "edge", upstream))
        watching = edge.channel.server_stream(_HEALTH_WATCH, HealthCheckRequest())
        states = await stack.enter_async_context(aclosing(watching))
        async for state in states:
            if state.status == HealthCheckResponse.SERVING:
                break
        await behind.aclose()
        assert (await anext(states)).status == HealthCheckResponse.NOT_SERVING


async def test_the_cache_does_not_say_what_is_there(open_path: Path) -> None:
    async with open_system(open_path / "old") as old, open_edge_of(open_path / "edge", old) as edge:
        await edge.add_blobs(b"small", LARGE)
        assert await _missing(edge, b"small", LARGE) == []
    async with open_system(open_path / "new") as new, open_edge_of(open_path / "edge", new) as edge:
        assert await _missing(edge, b"small", LARGE) == [digest_of(b"small"), digest_of(LARGE)]
        await new.add_blobs(b"small")
        assert await _missing(edge, b"small") == []


async def test_the_upstream_is_asked_in_the_name_of_the_caller(open_path: Path) -> None:
    async with (
        open_system(open_path / "upstream") as upstream,
        open_edge_of(open_path / "edge", upstream) as edge,
        Channel(edge.address, tool_name="a-build-tool") as channel,
    ):
        await RemoteBlobStore(channel).write_many({digest_of(LARGE): LARGE})
        await RemoteActionCache(channel).put("", ACTION, result_of(LARGE))
        assert await _writers(upstream) == ["127.0.0.1 a-build-tool"]
        assert await _writers(edge) == await _writers(upstream)


async def test_a_result_that_names_absent_blobs_is_refused(open_path: Path) -> None:
    async with (
        open_system(open_path / "upstream") as upstream,
        open_edge_of(open_path / "edge", upstream) as edge,
    ):
        with pytest.raises(BlobsMissing):
            await RemoteActionCache(edge.channel).put("", ACTION, result_of(b"absent"))


async def test_a_build_is_cached_on_two_servers_that_share_its_blobs(open_path: Path) -> None:
    result = result_of(LARGE, *OUTPUTS)
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(open_system(open_path / name)) for name in ("a", "b")
        ]
        edge = await stack.enter_async_context(
            open_edge_of(open_path / "edge", *servers, combine="shard")
        )
        results = RemoteActionCache(edge.channel)
        with pytest.raises(NotFound):
            await results.get("", ACTION)
        with pytest.raises(BlobsMissing):
            await results.put("", ACTION, result)
        await edge.add_blobs(LARGE, *OUTPUTS)
        await results.put("", ACTION, result)
        assert (await results.get("", ACTION)).output_files == result.output_files
        shares = [len(await _missing(server, LARGE, *OUTPUTS)) for server in servers]
        assert sum(shares) == 1 + len(OUTPUTS)
        assert all(shares)
        for server in servers:  # no server alone has what the result needs
            with pytest.raises(NotFound):
                await server.cached(ACTION)
        other = await stack.enter_async_context(
            open_edge_of(open_path / "other", *servers, combine="shard")
        )
        got = await RemoteActionCache(other.channel).get("", ACTION)
        assert got.output_files == result.output_files
        digests = [digest_of(output) for output in (LARGE, *OUTPUTS)]
        assert len(await other.blobs.read_many(digests)) == len(digests)


async def test_shards_do_not_run_actions(open_path: Path) -> None:
    async with (
        open_system(open_path / "a") as first,
        open_system(open_path / "b") as second,
        open_edge_of(open_path / "edge", first, second, combine="shard") as edge,
    ):
        assert not (await get_capabilities(edge.channel, "")).HasField("execution_capabilities")
        with pytest.raises(Unimplemented, match="Method not found"):
            await edge.execute(await edge.add(sh("true")))
        with pytest.raises(Unimplemented, match=f"{first.address}, {second.address}"):
            await _writers(edge)


@pytest.mark.parametrize("lost", [0, 1])
async def test_what_was_built_is_still_served_with_one_mirror_lost(
    open_path: Path, lost: int
) -> None:
    async with AsyncExitStack() as stack:
        stacks = [await stack.enter_async_context(AsyncExitStack()) for _ in range(2)]
        servers = [
            await each.enter_async_context(open_system(open_path / str(number)))
            for number, each in enumerate(stacks)
        ]
        edge = await stack.enter_async_context(
            open_edge_of(open_path / "edge", *servers, combine="mirror")
        )
        async with servers[0].worker():
            run = (await edge.sh("echo run")).result
        await edge.add_blobs(LARGE, *OUTPUTS)
        await RemoteActionCache(edge.channel).put("", ACTION, result_of(LARGE, *OUTPUTS))
        stdout = Digest(run.stdout_digest.hash, run.stdout_digest.size_bytes, SHA256)
        assert await edge.blobs.find_missing([stdout]) == []  # copied to the other now
        await stacks[lost].aclose()
        fresh = await stack.enter_async_context(
            open_edge_of(open_path / "fresh", *servers, combine="mirror")
        )
        got = await fresh.cached(ACTION)
        assert got.output_files == result_of(LARGE, *OUTPUTS).output_files
        digests = [stdout, *(digest_of(output) for output in (LARGE, *OUTPUTS))]
        assert len(await fresh.blobs.read_many(digests)) == len(digests)
        with pytest.raises(NotFound):
            await fresh.cached(digest_of(b"never run"))
        failures = await fresh.blobs.write_many({digest_of(b"new"): b"new"})
        assert isinstance(failures[digest_of(b"new")], Unavailable)


async def test_a_result_goes_upstream_after_its_blobs_that_are_still_owed(open_path: Path) -> None:
    async with (
        open_system(open_path / "upstream") as upstream,
        open_edge_of(open_path / "edge", upstream, write_back_max_bytes=1 << 30) as edge,
        upstream.worker(),
    ):
        for number in range(20):
            outputs = [LARGE + bytes([number]), *(each + bytes([number]) for each in OUTPUTS)]
            await edge.add_blobs(*outputs)
            await RemoteActionCache(edge.channel).put("", ACTION, result_of(*outputs))
            assert await _missing(upstream, *outputs) == []
        for number in range(20):
            response = await edge.sh("cat in", {"in": b"%d" % number * 100_000})
            assert await edge.stdout(response) == f"{number}" * 100_000


async def test_blobs_go_upstream_by_themselves_and_count_as_present_before(
    open_path: Path,
) -> None:
    async with (
        open_system(open_path / "upstream") as upstream,
        open_edge_of(open_path / "edge", upstream, write_back_max_bytes=1 << 30) as edge,
    ):
        await edge.add_blobs(LARGE, *OUTPUTS)
        assert await _missing(edge, LARGE, *OUTPUTS) == []
        async with asyncio.timeout(60):
            while await _missing(upstream, LARGE, *OUTPUTS):
                pass  # each question takes its time


async def test_workers_do_not_join_where_their_outputs_may_be_owed(open_path: Path) -> None:
    async with (
        open_system(open_path / "upstream") as upstream,
        open_edge_of(open_path / "edge", upstream, write_back_max_bytes=1 << 30) as edge,
    ):
        assert await list_workers(edge.channel) == []
        async with edge.channel.bidirectional(CONNECT) as call:
            with pytest.raises(Unimplemented, match="Method not found"):
                await anext(aiter(call))
