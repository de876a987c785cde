"""`reapi-cli explain` and `history` against a real server: why actions ran, and where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.longrunning.operations_pb2 import Operation

from reapi.clients.methods import EXECUTE, EXPLAIN, LIST_HISTORY, REVOKE_RESULTS
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import InvalidArgument, NotFound
from reapi.core.request_metadata import REQUEST_METADATA_KEY
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.admin.v1 import admin_pb2
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2
from tests.integration.system import Gate, System, sh
from tests.unit.clients.test_cli import Cli

UNKNOWN = "operations/00000000-0000-4000-8000-000000000000"


@dataclass
class Explained:
    """A system and a command line."""

    system: System
    cli: Cli

    async def lines(self, subject: object, *options: str) -> list[str]:
        ended = await self.cli(*options, "explain", str(subject))
        assert ended.exit_code == 0, ended.stderr
        return ended.stdout.decode().splitlines()

    async def told(self, subject: object) -> Any:
        ended = await self.cli("explain", str(subject), "--json")
        assert ended.exit_code == 0, ended.stderr
        return ended.json

    async def history(self, *options: str) -> Any:
        return (await self.cli("history", "--json", *options)).json


@pytest.fixture
async def explained(system: System, tmp_path: Path) -> Explained:
    (tmp_path / "project").mkdir()
    return Explained(system, Cli(system.address, tmp_path / "project"))


def line(lines: list[str], name: str) -> str:
    """What the one line of that name says."""
    (found,) = [each for each in lines if each.startswith(name)]
    return found[12:].strip()


async def run_for(system: System, target: str, action: Digest, **request: Any) -> str:
    """Executes as Bazel does for a target; the name of the operation."""
    said = re_pb2.RequestMetadata(
        target_id=target, action_mnemonic="Genrule", tool_invocation_id="build-1"
    )
    message = re_pb2.ExecuteRequest(action_digest=action.to_message(), **request)
    replies = system.channel.relay(
        EXECUTE.path,
        message.SerializeToString(),
        metadata=[(REQUEST_METADATA_KEY, said.SerializeToString())],
        timeout=None,
    )
    return [Operation.FromString(reply).name async for reply in replies][-1]


async def revoke(system: System) -> None:
    query = admin_pb2.ResultQuery(writer="scheduler")
    request = admin_pb2.RevokeResultsRequest(query=query)
    assert [each async for each in system.channel.server_stream(REVOKE_RESULTS, request)]


class TestWhyItRan:
    async def test_an_action_that_never_ran_before_is_compared_with_the_like_one_before_it(
        self, explained: Explained
    ) -> None:
        system = explained.system
        command = sh("cat in/a >o", output_paths=["o"])
        command.environment_variables.add(name="MODE", value="fast")
        one = await system.add(command, {"in": {"a": b"1", "b": b"same"}})
        first = await run_for(system, "//app:o", one)
        command.environment_variables[0].value = "slow"
        command.arguments.append("more")
        properties = {"properties": [{"name": "ISA", "value": "x86-64"}]}
        other = await system.add(
            command, {"in": {"a": b"22", "b": b"same"}}, {"platform": properties}
        )
        second = await run_for(system, "//app:o", other)

        lines = await explained.lines(second)
        reason = "there is no entry, and the history has no earlier run of this action"
        assert line(lines, "ran because") == reason
        assert f"{one}, which ran on" in line(lines, "differs from")
        assert first in line(lines, "differs from")
        before, after = digest_of(b"1"), digest_of(b"22")
        assert [each.strip() for each in lines if each.startswith(" ")] == [
            "platform ISA: added: x86-64",
            "argument 4: added: more",
            "environment MODE: fast -> slow",
            f"input in/a: file {before} -> file {after}",
        ]
        assert line(lines, "target") == "//app:o Genrule"
        assert line(lines, "invocation") == "build-1"
        assert line(lines, "command") == "/bin/sh -c 'cat in/a >o' more"
        assert line(lines, "cached").startswith("yes: there is a result, stored on ")
        assert "worker-1 was chosen: " in line(lines, "attempt 1")
        assert "completed after" in line(lines, "attempt 1")
        assert "exit code 0" in line(lines, "ended")

        told = await explained.told(other)
        assert [one["kind"] for one in told["differences"]] == [
            "platform",
            "argument",
            "environment",
            "input",
        ]
        assert told["compared_with"]["operation"] == first
        assert told["history"][0]["operation"] == second
        assert told["cache_state"] == "present"

    async def test_without_a_target_the_same_program_and_outputs_are_like(
        self, explained: Explained
    ) -> None:
        system = explained.system
        one = await system.add(sh("echo 1 >o", output_paths=["o"]))
        unlike = await system.add(sh("echo 1 >p", output_paths=["p"]))
        other = await system.add(sh("echo 2 >o", output_paths=["o"]))
        for action in (one, unlike, other):
            await system.run_action(action)
        told = await explained.told(other)
        assert told["compared_with"]["action_digest"] == str(one)
        (difference,) = told["differences"]
        assert (difference["kind"], difference["subject"]) == ("argument", "3")
        assert (await explained.told(unlike))["compared_with"] is None

    async def test_an_action_that_never_ran_is_compared_too(self, explained: Explained) -> None:
        system = explained.system
        one = await system.add(sh("cat a >o", output_paths=["o"]), {"a": b"1"})
        await system.run_action(one)
        new = await system.add(sh("cat a >o", output_paths=["o"]), {"a": b"2"})
        told = await explained.told(new)
        assert told["cache_state"] == "absent"
        assert told["history"] == []
        assert [each["subject"] for each in told["differences"]] == ["a"]

    async def test_a_changed_action_whose_blobs_are_not_stored_is_explained_as_far_as_it_goes(
        self, explained: Explained
    ) -> None:
        lines = await explained.lines(digest_of(b"nobody has it"))
        assert line(lines, "command").startswith("not known")
        assert line(lines, "cached").startswith("no: there is no entry")
        assert "cannot be said without the action" in lines[-1]

    async def test_a_hit_is_told_with_the_run_that_it_is_from(self, explained: Explained) -> None:
        action = await explained.system.add(sh("echo hello"))
        run = (await explained.system.execute(action))[-1].name
        hit = (await explained.system.execute(action))[-1].name
        lines = await explained.lines(hit)
        assert not [each for each in lines if each.startswith("ran because")]
        assert line(lines, "ended").endswith("answered from the cache")
        assert run in line(lines, "earlier")
        assert line(await explained.lines(action), "operation") == run

    async def test_a_revoked_result_is_the_reason_before_and_after_the_next_run(
        self, explained: Explained
    ) -> None:
        system = explained.system
        action = await system.add(sh("echo hello"))
        await system.run_action(action)
        await revoke(system)
        told = await explained.told(action)
        assert told["cache_state"] == "absent"
        assert told["cache_reason"].startswith("the result was revoked by an operator, on ")
        assert told["differences"] == []
        await system.run_action(action)
        told = await explained.told(action)
        assert told["cache_state"] == "present"
        assert told["run_reason"].startswith("the result was revoked by an operator, on ")

    async def test_a_missing_output_is_named(self, explained: Explained) -> None:
        system = explained.system
        action = await system.add(sh("head -c 100000 /dev/zero >o", output_paths=["o"]))
        output = (await system.run_action(action)).result.output_files[0].digest
        (blob,) = [
            path
            for path in (system.config.data_dir / "blobs").rglob("*")
            if path.is_file() and output.hash in path.name
        ]
        blob.unlink()
        assert await system.blobs.read_many([digest_of(bytes(100000))]) == {}
        with pytest.raises(NotFound, match=f"not stored any more.*blobs/{output.hash}"):
            await system.cached(action)
        told = await explained.told(action)
        assert f"blobs/{output.hash}/100000" in told["cache_reason"]
        await system.run_action(action)
        assert f"blobs/{output.hash}/100000" in (await explained.told(action))["run_reason"]

    async def test_failures_and_what_the_cache_was_not_asked_for_are_reasons(
        self, explained: Explained
    ) -> None:
        system = explained.system
        failing = await system.add(sh("exit 3"))
        for _ in range(2):
            await system.run_action(failing)
        told = await explained.told(failing)
        for reason in (told["cache_reason"], told["run_reason"]):
            assert reason.startswith("the last run was no success (operations/")
            assert "exit code 3" in reason
        uncacheable = await system.add(sh("true"), action={"do_not_cache": True})
        await system.run_action(uncacheable)
        told = await explained.told(uncacheable)
        assert told["run_reason"] == "the action forbids it (do_not_cache)"
        assert told["cache_reason"] == told["run_reason"]
        plain = await system.add(sh("echo plain"))
        await system.run_action(plain)
        await system.run_action(plain, skip_cache_lookup=True)
        told = await explained.told(plain)
        assert told["run_reason"].endswith("(skip_cache_lookup)")


async def test_what_waits_and_what_runs_is_told(
    idle_system: System, gate: Gate, tmp_path: Path
) -> None:
    (tmp_path / "project").mkdir()
    explained = Explained(idle_system, Cli(idle_system.address, tmp_path / "project"))
    action = await idle_system.add(sh(gate.script("echo done")))
    stream = idle_system.stream(action)
    name = (await anext(stream)).name
    lines = await explained.lines(name)
    assert line(lines, "waits")
    assert not [each for each in lines if each.startswith(("attempt", "ended"))]
    async with idle_system.worker():
        await gate.begun()
        for subject in (name, action):
            lines = await explained.lines(subject)
            assert line(lines, "attempt 1").endswith("; it runs")
        gate.open()
        assert [each async for each in stream][-1].done
    assert "completed" in line(await explained.lines(name), "attempt 1")


class TestHistory:
    async def test_finished_actions_are_listed_latest_first(self, explained: Explained) -> None:
        system = explained.system
        good = await system.add(sh("echo good"))
        bad = await system.add(sh("exit 7"))
        names = [
            await run_for(system, target, action)
            for target, action in (("//a", good), ("//b", bad), ("//a", good))
        ]
        entries = await explained.history()
        assert [entry["operation"] for entry in entries] == names[::-1]
        assert [entry["cached"] for entry in entries] == [True, False, False]
        assert [entry["exit_code"] for entry in entries] == [0, 7, 0]
        assert entries[2]["attempts"][0]["worker"] == "worker-1"
        assert entries[2]["duration_seconds"] > 0

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--failed"], ["//b"]),
            (["--target", "//a"], ["//a", "//a"]),
            (["--worker", "worker-1"], ["//b", "//a"]),
            (["--worker", "worker"], []),
            (["--since", "1h", "--limit", "1"], ["//a"]),
            (["--since", "2100-01-01"], []),
            (["--instance", "main"], []),
        ],
    )
    async def test_conditions_are_obeyed(
        self, explained: Explained, options: list[str], expected: list[str]
    ) -> None:
        system = explained.system
        good = await system.add(sh("echo good"))
        bad = await system.add(sh("exit 7"))
        for target, action in (("//a", good), ("//b", bad), ("//a", good)):
            await run_for(system, target, action)
        entries = await explained.history(*options)
        assert [entry["target"] for entry in entries] == expected

    async def test_the_table_is_for_people(self, explained: Explained) -> None:
        name = await run_for(explained.system, "//a", await explained.system.add(sh("exit 7")))
        head, row = (await explained.cli("history")).stdout.decode().splitlines()
        columns = "FINISHED ENDED SECONDS CPU MIB WORKER TARGET OPERATION"
        assert head.split() == columns.split()
        assert row.split()[1:3] == ["exit", "7"]
        assert row.split()[-4:] == ["worker-1", "//a", "Genrule", name]


async def test_what_cannot_be_explained_says_why(explained: Explained) -> None:
    for subject, message in (
        (UNKNOWN, "is not known"),
        ("nonsense", "is not a digest"),
    ):
        ended = await explained.cli("explain", subject)
        assert ended.exit_code == 125
        assert message in ended.stderr
    ended = await explained.cli("--instance", "other", "explain", str(digest_of(b"a")))
    assert "no instance 'other'" in ended.stderr
    channel = explained.system.channel
    for request in (
        scheduler_pb2.ExplainRequest(),
        scheduler_pb2.ExplainRequest(operation_name="o" * 2000),
        scheduler_pb2.ExplainRequest(action_digest=re_pb2.Digest(hash="x", size_bytes=1)),
    ):
        with pytest.raises(InvalidArgument):
            await channel.unary(EXPLAIN, request)
    with pytest.raises(NotFound):
        await channel.unary(EXPLAIN, scheduler_pb2.ExplainRequest(operation_name="\0"))


async def test_hostile_conditions_find_nothing(explained: Explained) -> None:
    for seconds in (-(1 << 62), 1 << 62):
        request = scheduler_pb2.ListHistoryRequest(
            instance_name="\0\"'", worker_id='["', finished_since={"seconds": seconds}
        )
        assert not (await explained.system.channel.unary(LIST_HISTORY, request)).entries
