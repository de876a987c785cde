"""`reapi-cli action results` and `revoke` against a real server."""

import asyncio
import os
import pty
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reapi.cas.storage import Storage
from reapi.core.digest import digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.local_storage import ManualClock, local_storage, serving
from tests.unit.clients.test_cli import Cli

ACTIONS = [digest_of(b"action %d" % number) for number in range(3)]


@dataclass
class Served:
    storage: Storage
    cli: Cli

    async def count(self) -> int:
        return len((await self.cli("action", "results", "--json")).json)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    directory = tmp_path / "project"
    directory.mkdir()
    clock = ManualClock()  # early in 2027
    async with local_storage(tmp_path / "data", clock=clock) as storage, serving(storage) as server:
        for number, action in enumerate(ACTIONS):
            result = re_pb2.ActionResult()
            result.execution_metadata.worker = f"worker-{number}"
            await storage.action_cache.put("main", action, result, writer="scheduler")
        yield Served(storage, Cli(server, directory))


async def test_results_are_shown_with_worker_and_writer(served: Served) -> None:
    ended = await served.cli("action", "results", "--worker", "worker-1", "--instance", "main")
    head, line = ended.stdout.decode().splitlines()
    assert head.split() == ["ACTION", "INSTANCE", "STORED", "WORKER", "WRITER"]
    assert line.split() == [
        str(ACTIONS[1]),
        "main",
        "2027-01-15T08:00:00Z",
        "worker-1",
        "scheduler",
    ]
    (told,) = (await served.cli("action", "results", "--worker", "worker-1", "--json")).json
    assert told == {
        "action_digest": str(ACTIONS[1]),
        "instance_name": "main",
        "stored": "2027-01-15T08:00:00Z",
        "worker": "worker-1",
        "writer": "scheduler",
    }


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--since", "2027-01-15T08:00:00Z"], 3),
        (["--since", "2027-01-15T10:00:01+02:00"], 0),
        (["--until", "2027-01-15"], 0),
        (["--until", "2027-01-16"], 3),
        (["--writer", "someone"], 0),
    ],
)
async def test_times_are_understood(served: Served, arguments: list[str], count: int) -> None:
    assert len((await served.cli("action", "results", "--json", *arguments)).json) == count


async def test_revoke_says_what_would_go_and_then_takes_it(served: Served) -> None:
    ended = await served.cli("action", "revoke", "--worker", "worker-1", "--dry-run")
    assert ended.exit_code == 0
    assert str(ACTIONS[1]) in ended.stdout.decode()
    assert ended.stderr == "1 result would be revoked\n"
    assert await served.count() == 3
    ended = await served.cli("action", "revoke", "--worker", "worker-1", "--yes", "--json")
    assert [one["action_digest"] for one in ended.json] == [str(ACTIONS[1])]
    assert ended.stderr == "1 result revoked\n"
    assert await served.count() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--yes"], "needs a condition"),
        (["--worker", "worker-1"], "needs --yes where nobody can be asked"),
        (["--since", "yesterday", "--yes"], "is not a time such as"),
        (["--since", "999999999d", "--yes"], "is not a time such as"),
    ],
)
async def test_revoke_refuses_what_may_be_a_mistake(
    served: Served, arguments: list[str], message: str
) -> None:
    ended = await served.cli("action", "revoke", *arguments)
    assert ended.exit_code == 125
    assert message in ended.stderr
    assert await served.count() == 3


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 3), (b"y\n", 0)])
async def test_revoke_asks_on_a_terminal(served: Served, answer: bytes, left: int) -> None:
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reapi.clients.cli", "action", "revoke", "--instance", "main"),
            env=dict(os.environ) | {"REAPI_SERVER": served.cli.server},
            cwd=served.cli.directory,
            stdin=theirs,
            stdout=PIPE,
            stderr=PIPE,
        )
        os.write(ours, answer)
        _, stderr = await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"Revoke 3 results? [y/N]" in stderr
    assert await served.count() == left


async def test_action_help_names_its_commands(served: Served) -> None:
    shown = (await served.cli("action", "--help")).stdout.decode()
    for word in ("results", "revoke", "show"):
        assert word in shown
