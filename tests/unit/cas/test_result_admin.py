"""Where results are from, and how bad ones are taken out."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reapi.cas.closure import pack_closure
from reapi.cas.provenance import writer_of
from reapi.cas.result_key import parse_result_key, result_key
from reapi.cas.state.interface import ResultRow
from reapi.cas.storage import Storage
from reapi.clients import Client, ResultQuery
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import InvalidArgument, NotFound
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.call import FakeCall, call_of
from tests.fakes.local_storage import ManualClock, local_storage, serving

ACTIONS = [digest_of(b"action %d" % number) for number in range(4)]
NO_RESULT = b"\xff" + result_key("", ACTIONS[0])
"""As rows of another kind have it."""


@dataclass
class Served:
    """Four results of two workers, and a client."""

    storage: Storage
    clock: ManualClock
    start: int
    client: Client

    async def found(self, **conditions: object) -> set[Digest]:
        query = ResultQuery(**conditions)  # type: ignore[arg-type]  # what each test says
        return {result.action_digest for result in await self.client.list_results(query)}

    async def hits(self) -> set[Digest]:
        hits = set()
        for number, action in enumerate(ACTIONS):
            try:
                await self.storage.action_cache.get(("", "main")[number % 2], action)
            except NotFound:
                continue
            hits.add(action)
        return hits

    def time(self, seconds: int) -> datetime:
        return datetime.fromtimestamp(self.start + seconds, UTC)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    clock = ManualClock()
    start = clock.seconds
    async with (
        local_storage(tmp_path, clock=clock) as storage,
        serving(storage) as address,
        Client(address) as client,
    ):
        for number, action in enumerate(ACTIONS):
            result = re_pb2.ActionResult(exit_code=number)
            result.execution_metadata.worker = f"worker-{number // 2}"
            await storage.action_cache.put(
                ("", "main")[number % 2], action, result, writer=("scheduler", "ci")[number // 2]
            )
            clock.seconds += 100
        other = ResultRow(b"", pack_closure([]), clock.seconds, start, "", "", "")
        await storage.parts.results.put(NO_RESULT, other)
        yield Served(storage, clock, start, client)


async def test_results_are_listed_with_their_origin(served: Served) -> None:
    found = await served.client.list_results(ResultQuery())
    assert {result.action_digest for result in found} == set(ACTIONS)
    (one,) = [result for result in found if result.action_digest == ACTIONS[1]]
    assert one.instance_name == "main"
    assert (one.worker, one.writer) == ("worker-0", "scheduler")
    assert one.stored == served.time(100)


async def test_conditions_are_met_all_at_once(served: Served) -> None:
    assert await served.found(instance_name="main") == {ACTIONS[1], ACTIONS[3]}
    assert await served.found(instance_name="") == {ACTIONS[0], ACTIONS[2]}
    assert await served.found(worker="worker-1") == {ACTIONS[2], ACTIONS[3]}
    assert await served.found(writer="ci", instance_name="") == {ACTIONS[2]}
    assert await served.found(since=served.time(100), until=served.time(200)) == set(ACTIONS[1:3])
    assert await served.found(worker="worker-2") == set()


async def test_a_dry_run_says_what_would_go_and_takes_nothing(served: Served) -> None:
    query = ResultQuery(worker="worker-1")
    would_go = await served.client.revoke_results(query, dry_run=True)
    assert {result.action_digest for result in would_go} == set(ACTIONS[2:])
    assert await served.hits() == set(ACTIONS)


async def test_revoked_results_are_misses_at_once(served: Served) -> None:
    assert await served.hits() == set(ACTIONS)  # they are in memory
    gone = await served.client.revoke_results(ResultQuery(since=served.time(200)))
    assert {result.action_digest for result in gone} == set(ACTIONS[2:])
    assert await served.hits() == set(ACTIONS[:2])


async def test_revocation_is_seen_by_other_processes_at_once(tmp_path: Path) -> None:
    async with (
        local_storage(tmp_path, processes=2) as first,
        local_storage(tmp_path, processes=2, member=1) as second,
        serving(first) as address,
        Client(address) as client,
    ):
        await second.action_cache.put("", ACTIONS[0], re_pb2.ActionResult(), writer="ci")
        await second.action_cache.get("", ACTIONS[0])
        assert len(await client.revoke_results(ResultQuery(writer="ci"))) == 1
        with pytest.raises(NotFound):
            await second.action_cache.get("", ACTIONS[0])


async def test_rows_of_other_kinds_stay(served: Served) -> None:
    await served.client.revoke_results(ResultQuery(instance_name=""))
    await served.client.revoke_results(ResultQuery(since=served.time(0)))
    assert await served.hits() == set()
    assert await served.storage.parts.results.find(NO_RESULT) is not None


async def test_everything_is_not_revoked_by_a_query_without_a_condition(served: Served) -> None:
    with pytest.raises(InvalidArgument, match="every result"):
        await served.client.revoke_results(ResultQuery())
    assert await served.hits() == set(ACTIONS)


async def test_many_results_come_in_several_messages(tmp_path: Path) -> None:
    async with (
        local_storage(tmp_path) as storage,
        serving(storage) as address,
        Client(address) as client,
    ):
        for number in range(1201):
            action = digest_of(b"%d" % number)
            await storage.action_cache.put("", action, re_pb2.ActionResult(), writer="ci")
        assert len(await client.revoke_results(ResultQuery(writer="ci"))) == 1201
        assert await client.list_results(ResultQuery()) == []


def test_a_key_says_what_it_was_made_of() -> None:
    for name in ("", "main", "ü/x"):
        assert parse_result_key(result_key(name, ACTIONS[0])) == (name, ACTIONS[0])
    assert parse_result_key(NO_RESULT) is None


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (call_of(peer="ipv4:10.1.2.3:4567", tool="bazel", version="7.1.0"), "10.1.2.3 bazel 7.1.0"),
        (call_of(peer="ipv6:%5B::1%5D:4567"), "[::1]"),
        (call_of(peer="ipv6:[fe80::1]:4567", tool="buck2"), "[fe80::1] buck2"),
        (FakeCall("unix:/run/socket"), "unix:/run/socket"),
        (call_of(peer="ipv4:1.1.1.1:1", tool="a\n\x1b[31m b"), "1.1.1.1 a ?[31m b"),
        (call_of(peer="ipv4:1.1.1.1:1", tool="x" * 9999), "1.1.1.1 " + "x" * 192),
    ],
)
def test_a_writer_is_an_address_and_a_tool(call: FakeCall, expected: str) -> None:
    assert writer_of(call) == expected
