"""Plans on a fake server, which says what it was asked and fails as it is told."""

import asyncio
from pathlib import Path
from typing import SupportsIndex

import pytest

from reapi.core.digest import Digest, digest_of, parse_digest
from reapi.core.errors import (
    BlobsMissing,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    ReapiError,
)
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory
from tests.fakes.fake_execution import FakeRun
from tests.fakes.reapi_server import FakeReapiServer
from tests.unit.clients.pipeline.running import Project, states


@pytest.fixture
def project(server: FakeReapiServer, tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    return Project(server.address, root)


def seen(server: FakeReapiServer, number: int) -> dict[str, Digest]:
    """The files of the input root of an action that was executed."""
    _, action, _ = server.execution.executed[number]

    def walk(digest: Digest, prefix: str) -> dict[str, Digest]:
        directory = Directory.FromString(server.blobs.blobs[digest])
        files = {prefix + file.name: parse_digest(file.digest) for file in directory.files}
        for child in directory.directories:
            files |= walk(parse_digest(child.digest), f"{prefix}{child.name}/")
        return files

    return walk(parse_digest(action.input_root_digest), "")


TWO_STAGES = """
stages:
  make:
    inputs: [src]
    outputs: [out/a.o]
    commands: [[make]]
  use:
    from: {make: ["out/*.o"]}
    inputs: [notes.txt]
    commands: [[use]]
"""


async def test_artifacts_are_grafted_into_input_roots_and_never_read(
    server: FakeReapiServer, project: Project
) -> None:
    project.write(src__a="source", **{"notes.txt": "notes"})
    server.execution.runs["make",] = FakeRun(files={"out/a.o": b"object"})
    outcome = await project.run(TWO_STAGES)
    assert states(outcome) == {"make": "succeeded", "use": "succeeded"}
    assert seen(server, 0) == {"src/a": digest_of(b"source")}
    assert seen(server, 1) == {"notes.txt": digest_of(b"notes"), "out/a.o": digest_of(b"object")}
    assert server.calls["BatchReadBlobs"] == server.calls["Read"] == 0
    assert not (project.root / "out").exists()


async def test_only_what_the_plan_says_is_downloaded(
    server: FakeReapiServer, project: Project
) -> None:
    server.execution.runs["make",] = FakeRun(
        files={"out/a": b"a", "out/b": b"b"}, executables=frozenset({"out/a"})
    )
    outcome = await project.run(
        "stages: {make: {outputs: [out/a, out/b], download: [out/a], commands: [[make]]}}"
    )
    assert outcome.downloaded_blobs == 1
    assert (project.root / "out/a").stat().st_mode & 0o100
    assert not (project.root / "out/b").exists()


async def test_inputs_are_those_at_the_start_whatever_comes_later(
    server: FakeReapiServer, project: Project
) -> None:
    project.write(src__a="before", **{"notes.txt": ""})
    server.execution.runs["make",] = FakeRun(hangs=True, files={"out/a.o": b"object"})
    running = asyncio.create_task(project.run(TWO_STAGES))
    await server.execution.execute_arrived.wait()
    project.write(**{"notes.txt": "changed"})
    server.execution.finish("operations/1")
    await running
    assert seen(server, 1)["notes.txt"] == digest_of(b"")


async def test_an_absent_input_is_told_before_anything_runs(
    server: FakeReapiServer, project: Project
) -> None:
    with pytest.raises(NotFound, match="make: input src does not exist in"):
        await project.run(TWO_STAGES)
    project.write(src__a="")
    with pytest.raises(NotFound, match=r"make: input src/\*\.c means nothing in"):
        await project.run(TWO_STAGES.replace("[src]", "['src/*.c']"))
    assert server.calls["Execute"] == 0


async def test_calls_say_whose_action_it_is_and_which(
    server: FakeReapiServer, project: Project
) -> None:
    await project.run("stages: {a: {matrix: {x: ['1']}, commands: [[one]]}}")
    told = {
        (one.correlated_invocations_id, one.target_id)
        for one in server.metadata
        if one.action_mnemonic == "Pipeline"
    }
    assert told == {("team/app", "a[x=1]")}
    assert len({one.tool_invocation_id for one in server.metadata}) == 1


@pytest.mark.parametrize("error", [Internal("the worker broke"), DeadlineExceeded("too late")])
async def test_an_action_that_the_service_failed_is_tried_again_as_often_as_the_plan_says(
    server: FakeReapiServer, project: Project, error: ReapiError
) -> None:
    server.failures["Execute"] = [error, error]
    outcome = await project.run("stages: {a: {retries: 2, commands: [[one]]}}")
    assert states(outcome) == {"a": "succeeded"}
    server.failures["Execute"] = [error, error]
    outcome = await project.run("stages: {a: {retries: 1, commands: [[two]]}}")
    assert states(outcome) == {"a": "broken"}
    assert not outcome.has_failed


async def test_a_command_that_fails_or_takes_too_long_is_never_tried_again(
    server: FakeReapiServer, project: Project
) -> None:
    server.execution.runs["fails",] = FakeRun(exit_code=3, stderr=b"why")
    outcome = await project.run(
        "stages: {a: {retries: 5, timeout: 2s, commands: [[fails], [other]]}}"
    )
    assert states(outcome) == {"a": "failed"}
    assert outcome.has_failed
    failed, other = outcome.jobs[0].actions
    assert failed is not None
    assert failed.result is not None
    assert (failed.result.exit_code, failed.result.stderr) == (3, b"why")
    assert other is not None
    assert other.has_succeeded
    assert len(server.execution.executed) == 2
    assert {action.timeout.seconds for _, action, _ in server.execution.executed} == {2}


async def test_what_the_server_has_lost_meanwhile_is_sent_again_with_files(
    server: FakeReapiServer, project: Project
) -> None:
    project.write(src__a="source")
    source = digest_of(b"source")

    class Losing(list[ReapiError]):
        """Blobs are lost in the moment of the failure."""

        def pop(self, index: SupportsIndex = -1) -> ReapiError:
            server.blobs.blobs.clear()
            return super().pop(index)

    server.execution.runs["make",] = FakeRun(files={"out/a.o": b"object"})
    server.failures["Execute"] = Losing([BlobsMissing([source.subject])])
    outcome = await project.run(TWO_STAGES.partition("  use:")[0])
    assert states(outcome) == {"make": "succeeded"}
    assert seen(server, 0) == {"src/a": source}
    assert source in server.blobs.blobs


async def test_a_stage_whose_commands_make_different_files_at_one_place_is_broken(
    server: FakeReapiServer, project: Project
) -> None:
    server.execution.runs["one",] = FakeRun(files={"out": b"1"})
    server.execution.runs["two",] = FakeRun(files={"out": b"2"})
    outcome = await project.run("stages: {a: {outputs: [out], commands: [[one], [two]]}}")
    assert states(outcome) == {"a": "broken"}
    assert outcome.jobs[0].error == (
        "two commands made different outputs: out is there twice and differs"
    )


async def test_an_output_that_no_command_made_fails_the_stage(
    server: FakeReapiServer, project: Project
) -> None:
    outcome = await project.run("stages: {a: {outputs: [out/x], commands: [[one]]}}")
    assert states(outcome) == {"a": "failed"}
    assert outcome.jobs[0].error == "no command made out/x"


async def test_artifacts_that_a_pattern_does_not_mean_break_who_takes_them(
    server: FakeReapiServer, project: Project
) -> None:
    project.write(src__a="", **{"notes.txt": ""})
    server.execution.runs["make",] = FakeRun(files={"out/a.o": b"object"})
    outcome = await project.run(TWO_STAGES.replace("out/*.o", "out/*.a"))
    assert states(outcome) == {"make": "succeeded", "use": "broken"}
    assert outcome.jobs[1].error == "of what make has made, no artifact is out/*.a"


async def test_failing_fast_does_not_start_what_waits_for_its_turn(
    server: FakeReapiServer, project: Project
) -> None:
    server.execution.runs["bad",] = FakeRun(exit_code=1)
    outcome = await project.run(
        "stages: {a: {commands: [[bad]]}, b: {commands: [[good]]}, c: {commands: [[good]]}}",
        fails_fast=True,
        most_at_once=1,
    )
    assert states(outcome) == {"a": "failed", "b": "stopped", "c": "stopped"}
    assert len(server.execution.executed) == 1


async def test_cancelling_a_plan_cancels_its_actions_at_the_server(
    server: FakeReapiServer, project: Project
) -> None:
    server.execution.runs["one",] = FakeRun(hangs=True)
    running = asyncio.create_task(project.run("stages: {a: {commands: [[one]]}}"))
    await server.execution.execute_arrived.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert server.execution.cancelled_names == ["operations/1"]


async def test_a_local_file_in_the_way_fails_the_download_and_says_so(
    server: FakeReapiServer, project: Project
) -> None:
    (project.root / "out").mkdir()
    server.execution.runs["one",] = FakeRun(files={"out": b"file"})
    outcome = await project.run("stages: {a: {outputs: [out], download: [out], commands: [[one]]}}")
    assert states(outcome) == {"a": "succeeded"}
    assert not outcome.has_succeeded
    assert outcome.error.startswith("cannot download: ")


async def test_logs_of_failures_are_kept_up_to_a_bound_and_others_not_at_all(
    server: FakeReapiServer, project: Project
) -> None:
    server.execution.runs["good",] = FakeRun(stdout=b"fine")
    server.execution.runs["bad",] = FakeRun(exit_code=1, stdout=b"x" * 100_000 + b"end")
    outcome = await project.run("stages: {a: {commands: [[good], [bad]]}}")
    good, bad = outcome.jobs[0].results
    assert (good.stdout, good.stdout_digest.size_bytes) == (b"", 4)
    assert len(bad.stdout) == 64 << 10
    assert bad.stdout.endswith(b"end")


async def test_inputs_and_artifacts_that_differ_at_one_place_break_the_stage(
    server: FakeReapiServer, project: Project
) -> None:
    project.write(out__a="local")
    server.execution.runs["make",] = FakeRun(files={"out/a": b"made"})
    outcome = await project.run(
        """
        stages:
          make: {outputs: [out/a], commands: [[make]]}
          use: {from: {make: [out]}, inputs: [out], commands: [[use]]}
        """
    )
    assert states(outcome) == {"make": "succeeded", "use": "broken"}
    assert outcome.jobs[1].error == "out/a is there twice and differs"


async def test_an_error_about_the_action_itself_is_not_tried_again(
    server: FakeReapiServer, project: Project
) -> None:
    server.execution.runs["one",] = FakeRun(error=InvalidArgument("no worker is like that"))
    outcome = await project.run("stages: {a: {retries: 3, commands: [[one]]}}")
    assert states(outcome) == {"a": "broken"}
    (action,) = outcome.jobs[0].actions
    assert action is not None
    assert action.error == "no worker is like that"
    assert len(server.execution.executed) == 1
