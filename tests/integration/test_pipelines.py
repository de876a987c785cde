"""`reapi-cli pipeline` on a real server with several executors."""

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from reapi.clients.operations import list_operations
from reapi.clients.pipeline.rules import Change
from tests.integration.system import Gate, Notes, System
from tests.unit.clients.pipeline.running import Project, states
from tests.unit.clients.test_cli import Cli

ROOT = Path(__file__).parents[2]
WORKERS = ("worker-1", "worker-2")


@pytest.fixture
async def fleet(idle_system: System) -> AsyncIterator[System]:
    """A server with two workers of two slots each."""
    async with AsyncExitStack() as stack:
        for name in WORKERS:
            await stack.enter_async_context(idle_system.worker(name))
        yield idle_system


@pytest.fixture
def project(fleet: System) -> Project:
    root = fleet.folder / "project"
    root.mkdir()
    return Project(fleet.address, root)


@pytest.fixture
def cli(fleet: System) -> Cli:
    directory = fleet.folder / "checkout"
    directory.mkdir()
    return Cli(fleet.address, directory)


async def test_V1_a_stage_fans_out_over_all_slots_of_the_fleet(
    project: Project, gate: Gate
) -> None:
    text = f"""
    stages:
      wait:
        matrix: {{n: [1, 2, 3, 4]}}
        commands: ["{gate.script("echo ${matrix.n}")}"]
    """
    running = asyncio.create_task(project.run(text))
    for _ in range(4):
        await gate.begun()  # all of them before any ends
    for _ in range(4):
        gate.open()
    outcome = await running
    assert outcome.has_succeeded
    assert {worker for job in outcome.jobs for worker in job.workers} == set(WORKERS)


CHAIN = """
stages:
  make:
    matrix: {name: [a, b]}
    inputs: ["${matrix.name}.txt"]
    outputs: [out]
    commands:
      - mkdir -p out/deep && cp ${matrix.name}.txt out/deep/${matrix.name} && ln -s deep out/link
      - |
        mkdir -p out
        echo ${matrix.name} > out/${matrix.name}.sh
        chmod +x out/${matrix.name}.sh
  join:
    from: {make: ["out"]}
    outputs: [all]
    commands: ["ls -R out > all; cat out/link/* >> all; test -x out/a.sh"]
  pick:
    from: {make: ["out/deep/b"], join: [all]}
    outputs: [picked]
    download: [picked]
    commands: ["find . -type f | sort > /tmp/found; cp /tmp/found picked"]
"""


async def test_V8_artifacts_go_from_stage_to_stage_and_only_what_is_wanted_comes_home(
    project: Project,
) -> None:
    project.write(**{"a.txt": "first\n", "b.txt": "second\n"})
    outcome = await project.run(CHAIN)
    assert set(states(outcome).values()) == {"succeeded"}
    assert (project.root / "picked").read_text() == "./all\n./out/deep/b\n"
    assert sorted(path.name for path in project.root.iterdir()) == ["a.txt", "b.txt", "picked"]
    assert outcome.downloaded_blobs == 1


async def test_what_did_not_change_is_answered_from_the_cache_and_counted(
    project: Project,
) -> None:
    project.write(**{"a.txt": "first\n", "b.txt": "second\n"})
    first, second = await project.run(CHAIN), await project.run(CHAIN)
    assert [job.cached for job in first.jobs] == [0, 0, 0, 0]
    assert [job.cached for job in second.jobs] == [2, 2, 1, 1]
    assert (second.uploaded_blobs, second.jobs[0].workers, second.jobs[0].slot_seconds) == (
        0,
        [],
        0,
    )
    assert project.told.last is not None
    assert (project.told.last.done, project.told.last.cached) == (6, 6)
    project.write(**{"b.txt": "other\n"})
    third = await project.run(CHAIN)
    assert {job.job.label: job.cached for job in third.jobs} == {
        "make[name=a]": 2,
        "make[name=b]": 0,
        "join": 0,
        "pick": 0,
    }


FAILING = """
stages:
  bad: {matrix: {n: [0, 1]}, outputs: [x], commands: ["touch x; exit ${matrix.n}"]}
  after: {matrix: {n: [0, 1]}, from: {bad: [x]}, commands: ["true"]}
  later: {needs: [after], commands: ["true"]}
  alone: {commands: ["true"]}
  then: {needs: [alone], commands: ["true"]}
"""


async def test_V2_a_failed_stage_stops_its_dependents_and_nothing_else(project: Project) -> None:
    outcome = await project.run(FAILING)
    assert states(outcome) == {
        "bad[n=0]": "succeeded",
        "bad[n=1]": "failed",
        "after[n=0]": "succeeded",
        "after[n=1]": "stopped",
        "later": "stopped",
        "alone": "succeeded",
        "then": "succeeded",
    }
    assert outcome.has_failed
    assert sorted(project.told.ends) == sorted(
        f"{label} {state}" for label, state in states(outcome).items()
    )


async def test_a_failed_stage_brings_home_what_it_has_made(project: Project) -> None:
    outcome = await project.run(
        "stages: {test: {outputs: [report, more], download: [report, more],"
        " commands: ['echo 1 failed > report; exit 1']}}"
    )
    assert states(outcome) == {"test": "failed"}
    assert (project.root / "report").read_text() == "1 failed\n"


async def test_V7_no_more_actions_are_under_way_than_the_cap_allows(
    project: Project, notes: Notes
) -> None:
    script = f"echo + >{notes.path}; echo - >{notes.path}"
    text = f"""
    max_parallel: 2
    stages:
      many: {{matrix: {{n: [1, 2, 3, 4, 5, 6]}}, commands: ["{script} # ${{matrix.n}}"]}}
    """
    outcome = await project.run(text)
    assert outcome.has_succeeded
    assert project.told.most_under_way == 2
    inside = most = 0
    for line in notes.lines():
        inside += 1 if line == "+" else -1
        most = max(most, inside)
    assert (inside, most <= 2) == (0, True)


async def test_a_command_that_takes_too_long_fails_its_stage(project: Project) -> None:
    outcome = await project.run(
        "stages: {slow: {timeout: 200ms, commands: ['echo begun; sleep 60']}}"
    )
    assert states(outcome) == {"slow": "failed"}
    (action,) = outcome.jobs[0].actions
    assert action is not None
    assert "timeout" in action.error


async def test_a_stage_runs_where_its_platform_says_with_its_environment(
    fleet: System, project: Project
) -> None:
    async with fleet.worker("special", platform={"OSFamily": "linux", "flavor": "large"}):
        outcome = await project.run(
            """
            env: {WHO: nobody, LANG: C}
            platform: {OSFamily: linux}
            stages:
              here:
                platform: {flavor: large}
                env: {WHO: world}
                outputs: [out]
                download: [out]
                commands: ['echo "hello $WHO $LANG" > out']
            """
        )
    assert outcome.jobs[0].workers == ["special"]
    assert (project.root / "out").read_text() == "hello world C\n"


async def test_V5_rules_leave_stages_and_jobs_out_of_a_run(project: Project) -> None:
    outcome = await project.run(
        """
        rules: {branch: main}
        stages:
          test:
            matrix: {mode: [fast, slow]}
            rules: {matrix: {mode: fast}}
            commands: ["true"]
          deploy: {needs: [test], rules: {event: push}, commands: ["true"]}
        """,
        Change(branch="main", event="pull_request"),
    )
    assert states(outcome) == {"test[mode=fast]": "succeeded"}
    assert [one.label for one in outcome.left_out] == ["test[mode=slow]", "deploy"]


async def test_ctrl_c_cancels_what_runs_remotely(fleet: System, cli: Cli, gate: Gate) -> None:
    plan = cli.directory / "plan.yaml"
    plan.write_text(f'stages: {{hold: {{commands: ["{gate.script()}"]}}}}\n')
    process = await cli.start("pipeline", "plan.yaml")
    await gate.begun()
    process.send_signal(signal.SIGINT)
    stdout, stderr = await process.communicate()
    assert (process.returncode, stdout) == (130, b"")
    assert b"Traceback" not in stderr
    operations = [one async for one in list_operations(fleet.channel, "")]
    assert operations
    assert all(one.is_done for one in operations)


async def test_the_example_builds_tests_and_is_cached(cli: Cli) -> None:
    shutil.copytree(ROOT / "examples/hello-cpp", cli.directory, dirs_exist_ok=True)
    plan = str(ROOT / "examples/pipeline/plan.yaml")
    arguments = ("pipeline", plan, "--branch", "main", "--event", "push")
    first = await cli(*arguments, "--json")
    assert first.exit_code == 0, first.stderr
    assert [job["state"] for job in first.json["jobs"]] == ["succeeded"] * 11
    assert (cli.directory / "release/calc").exists()
    assert not (cli.directory / "out/src").exists()
    again = await cli(*arguments)
    assert again.exit_code == 0, again.stderr
    head, *rows = again.stdout.decode().splitlines()
    assert head.split() == [
        *("STAGE", "RESULT", "ACTIONS", "CACHED", "SECONDS", "SLOT-SECONDS", "WHERE")
    ]
    assert rows[0].split()[:4] == ["compile", "succeeded", "6", "6"]
    assert rows[0].split()[-1] == "cache"
    assert rows[-1].endswith("0 actions run, 11 from the cache, 0.0 slot-seconds")


async def test_a_failure_shows_its_command_and_its_own_output(cli: Cli) -> None:
    (cli.directory / "plan.yaml").write_text(
        "stages: {test: {commands: ['echo told; echo why >&2; exit 3']}}\n"
    )
    ended = await cli("pipeline", "plan.yaml")
    assert ended.exit_code == 1
    lines = ended.stderr.splitlines()
    assert lines[0].startswith("uploaded 0 files, 0 B in ")
    assert lines[1].startswith("failed    test (")
    assert lines[2:5] == ["$ echo told; echo why >&2; exit 3", "told", "why"]
    assert lines[5].startswith("reapi-cli: test: exit code 3 on worker-")
    said = json.loads((await cli("pipeline", "plan.yaml", "--json")).stdout)
    assert said["exit_code"] == 1
    (job,) = said["jobs"]
    assert job["actions"][0]["result"]["stderr"] == "why\n"
