"""`reapi-cli scheduler` and `reapi-server scheduler`, as their users type them."""

import json
import sqlite3
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reapi.core.database import Database
from reapi.scheduler.events import Enqueue, WorkerConnected
from reapi.scheduler.journal import Journal
from reapi.scheduler.policy import Policy
from reapi.scheduler.sqlite_journal import MIGRATIONS, SqliteJournal
from reapi.server.__main__ import main as reapi_server
from reapi.server.command_line import cli

ROOT = Path(__file__).parents[3]
SMALL = ("--workers", "10", "--slots", "2", "--hours", "2", "--actions", "300")

ReapiCli = Callable[..., Result]


@pytest.fixture
def reapi_cli() -> ReapiCli:
    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(cli, ["scheduler", *map(str, arguments)])

    return run


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """Of a server that runs an action."""
    async with Database(tmp_path / "scheduler.db", MIGRATIONS) as database:
        journal = Journal(
            SqliteJournal(database), finished_retention=1, max_finished=1, snapshot_interval=1 << 30
        )
        queue = (await journal.recover(Policy())).queue
        events = (
            WorkerConnected("worker-1", "session", 1, (), ()),
            Enqueue("op-1", "", f"blobs/{1:064x}/1", True, (), 0, b""),
        )
        for now, event in enumerate(events, start=1_000_000):
            journal.append(event, now, queue.handle(event, now))
        await journal.commit()
        yield tmp_path


def test_the_installed_command_has_the_tools() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["reapi-cli"] == "reapi.server.command_line:main"


def test_a_replay_says_what_it_has_repeated(reapi_cli: ReapiCli, data_dir: Path) -> None:
    ended = reapi_cli("replay", data_dir / "scheduler.db")
    assert ended.exit_code == 0, ended.output
    assert "2, from 1970-01-01T00:00:01.000000Z to 1970-01-01T00:00:01.000001Z" in ended.output
    assert "decisions  1, each as recorded" in ended.output


def test_an_export_replays_and_is_not_overwritten(reapi_cli: ReapiCli, data_dir: Path) -> None:
    arguments = ["scheduler", "export", str(data_dir / "export"), "--data-dir", str(data_dir)]
    exported = CliRunner().invoke(reapi_server, arguments)
    assert exported.exit_code == 0, exported.output
    assert "2 events" in exported.output
    ended = reapi_cli("replay", data_dir / "export", "--json")
    assert ended.exit_code == 0
    replayed = json.loads(ended.output)
    assert (replayed["events"], replayed["decisions"], replayed["difference"]) == (2, 1, None)
    again = CliRunner().invoke(reapi_server, arguments)
    assert again.exit_code == 1
    assert "cannot write" in again.output


def test_an_export_of_nothing_says_where_it_looked(tmp_path: Path) -> None:
    arguments = ["scheduler", "export", str(tmp_path / "export"), "--data-dir", str(tmp_path)]
    ended = CliRunner().invoke(reapi_server, arguments)
    assert ended.exit_code == 1
    assert "there is no " in ended.output


def test_the_first_difference_is_shown_and_ends_with_1(reapi_cli: ReapiCli, data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / "scheduler.db")) as database, database:
        database.execute(
            "UPDATE events SET record = replace(record, 'worker-1', 'worker-2') WHERE sequence = 2"
        )
    ended = reapi_cli("replay", data_dir / "scheduler.db")
    assert ended.exit_code == 1
    head, event, recorded, decided = ended.output.splitlines()
    assert head == "first difference: event 2 at 1970-01-01T00:00:01.000001Z"
    assert event.startswith("event     Enqueue(operation_name='op-1'")
    assert recorded == "recorded  lease worker-2 op-1 1"
    assert decided == "now       lease worker-1 op-1 1"
    ended = reapi_cli("replay", data_dir / "scheduler.db", "--json")
    assert ended.exit_code == 1
    assert json.loads(ended.output)["difference"]["decided"] == [["lease", "worker-1", "op-1", 1]]


def test_what_cannot_be_replayed_is_said_in_a_line(reapi_cli: ReapiCli, tmp_path: Path) -> None:
    ended = reapi_cli("replay", tmp_path / "absent")
    assert (ended.exit_code, ended.output) == (1, f"Error: there is no {tmp_path / 'absent'}\n")
    (tmp_path / "future").write_text("reapi journal 1\nevent\t1\t[99]\n")
    ended = reapi_cli("replay", tmp_path / "future")
    assert "cannot replay" in ended.output
    assert "version 99" in ended.output


def test_policies_are_simulated_side_by_side(reapi_cli: ReapiCli) -> None:
    arguments = ("simulate", *SMALL, "--policy", "modulo", "--policy", "rendezvous")
    ended = reapi_cli(*arguments, "--weight", "app=3")
    assert ended.exit_code == 0, ended.output
    assert ended.output.split()[:2] == ["modulo", "rendezvous"]
    results = json.loads(reapi_cli(*arguments, "--json").output)
    assert [one["policy"] for one in results] == ["modulo", "rendezvous"]
    assert [one["finished"] for one in results] == [300, 300]


def test_a_trace_file_is_simulated(reapi_cli: ReapiCli, tmp_path: Path) -> None:
    entries = [
        {"queued": "2026-11-21T08:00:00Z", "duration_seconds": 5, "cached": False},
        {"queued": "2026-11-21T08:00:01Z", "duration_seconds": None, "cached": True},
    ]
    (tmp_path / "day.json").write_text(json.dumps(entries))
    ended = reapi_cli("simulate", "--trace", tmp_path / "day.json")
    assert ended.exit_code == 0
    assert "1 entries of the trace never ran" in ended.output
    (tmp_path / "day.json").write_text("{}")
    ended = reapi_cli("simulate", "--trace", tmp_path / "day.json")
    assert "entry 1" in ended.output


@pytest.mark.parametrize("weight", ["app", "app=0", "app=x"])
def test_a_weight_that_is_none_is_refused(reapi_cli: ReapiCli, weight: str) -> None:
    assert reapi_cli("simulate", "--weight", weight).exit_code == 2


def test_a_plot_is_written(reapi_cli: ReapiCli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ended = reapi_cli("simulate", *SMALL, "--plot", tmp_path / "day.png")
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")
    ended = reapi_cli("simulate", *SMALL, "--plot", tmp_path / "absent" / "day.png")
    assert "cannot write" in ended.output


def test_a_plot_without_matplotlib_says_what_to_install(
    reapi_cli: ReapiCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = reapi_cli("simulate", *SMALL, "--plot", tmp_path / "day.png")
    assert ended.exit_code == 1
    assert "pip install 'reapi[plot]'" in ended.output
