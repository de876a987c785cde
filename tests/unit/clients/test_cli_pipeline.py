"""`reapi-cli pipeline`: what needs no server, by click's runner; exit codes, by processes."""

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reapi.clients.cli.__main__ import cli as reapi_cli
from reapi.clients.cli.pipeline_report import PipelineReporter
from reapi.clients.cli.progress_line import ProgressLine
from reapi.clients.pipeline.run import PlanProgress
from reapi.core.errors import Internal
from tests.fakes.fake_execution import FakeRun
from tests.fakes.reapi_server import FakeReapiServer
from tests.unit.clients.test_cli import Cli, cli

__all__ = ["cli"]

PLAN = """\
metadata: {name: app}
rules: {branch: main}
stages:
  build: {outputs: [out], commands: [[make]]}
  test: {from: {build: [out]}, rules: {path: src}, commands: [[test]]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a plan."""
    for name in os.environ:
        if name.startswith(("GITHUB_", "GITLAB_", "CI_", "REAPI_")):
            monkeypatch.delenv(name)
    (tmp_path / "plan.yaml").write_text(PLAN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(reapi_cli, ["pipeline", *arguments])


def test_a_dry_run_draws_the_graph_for_a_change_and_asks_no_server(folder: Path) -> None:
    ended = invoke("plan.yaml", "--dry-run", "--branch", "main", "--changed-path", "src/a.c")
    assert (ended.exit_code, ended.stdout) == (
        0,
        "2 stages, 2 jobs, 2 actions\n"
        "level 1\n  build\n    -> out\n"
        "level 2\n  test\n    <- build: out\n",
    )
    ended = invoke("plan.yaml", "--dry-run", "--branch", "main", "--changed-path", "doc/a.md")
    assert "left out: test (nothing changed in src)" in ended.stdout
    ended = invoke("plan.yaml", "--dry-run", "--branch", "dev")
    assert ended.stdout == "0 stages, 0 jobs, 0 actions\nleft out: app (branch 'dev', not main)\n"


def test_validate_says_that_a_plan_has_no_mistakes(folder: Path) -> None:
    ended = invoke("validate", "plan.yaml")
    assert (ended.exit_code, ended.stdout) == (
        0,
        "plan.yaml: no mistakes (pipelines: 1, stages: 2)\n",
    )


@pytest.mark.parametrize("command", [("validate",), (), ("run", "--dry-run")])
def test_mistakes_are_lines_that_editors_understand(folder: Path, command: tuple[str, ...]) -> None:
    (folder / "plan.yaml").write_text(PLAN.replace("[out]}", "[our]}") + "  x: {comands: [y]}\n")
    ended = invoke(*command, "plan.yaml")
    assert (ended.exit_code, ended.stdout) == (125, "")
    assert ended.stderr == (
        "plan.yaml:6:6: stages.x: 'commands' is missing: add it\n"
        "plan.yaml:6:7: stages.x.comands: there is no key 'comands' here; "
        "did you mean 'commands'?\n"
    )
    (folder / "plan.yaml").write_text(PLAN.replace("[out]}", "[our]}"))
    ended = invoke(*command, "plan.yaml")
    assert ended.stderr == (
        "plan.yaml:5:25: stages.test.from.build[0]: stage 'build' does not make our; it makes out\n"
    )


def test_the_schema_is_printed_as_json(folder: Path) -> None:
    ended = invoke("schema")
    assert json.loads(ended.stdout)["title"] == "Plan of reapi-cli pipeline"


def test_help_names_the_commands_beside_the_default(folder: Path) -> None:
    for arguments in (("--help",), ()):
        ended = invoke(*arguments)
        assert "validate" in ended.output
    assert "--changed-path" in invoke("run", "--help").stdout


async def test_exit_codes_tell_a_failed_command_from_a_failed_service(
    server: FakeReapiServer, cli: Cli
) -> None:
    (cli.directory / "plan.yaml").write_text(
        "stages: {a: {commands: [[bad]]}, b: {commands: [[x]]}}"
    )
    server.execution.runs["bad",] = FakeRun(exit_code=7)
    assert (await cli("pipeline", "plan.yaml")).exit_code == 1
    server.execution.runs["bad",] = FakeRun(error=Internal("the disk is gone"))
    ended = await cli("pipeline", "plan.yaml")
    assert ended.exit_code == 125
    assert "reapi-cli: a: the disk is gone" in ended.stderr
    server.execution.runs["bad",] = FakeRun()
    assert (await cli("pipeline", "plan.yaml")).exit_code == 0
    absent = await cli("pipeline", "none.yaml")
    assert (absent.exit_code, absent.stderr) == (125, "reapi-cli: there is no plan none.yaml\n")


async def test_a_plan_whose_rules_leave_out_everything_succeeds(
    server: FakeReapiServer, cli: Cli
) -> None:
    (cli.directory / "plan.yaml").write_text(PLAN)
    ended = await cli("pipeline", "plan.yaml", "--branch", "dev")
    assert ended.exit_code == 0
    assert b"left out: app (branch 'dev', not main)" in ended.stdout
    assert server.calls["Execute"] == 0


def test_a_terminal_shows_one_line_that_is_gone_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressLine() as line:
        PipelineReporter(line).progress(PlanProgress(1, 2, 3, 4, cached=1))
    shown = capsys.readouterr().err
    assert shown == "\r\x1b[K1 queued, 2 running, 3 done (1 cached), 4 remaining\r\x1b[K"
