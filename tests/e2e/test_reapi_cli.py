"""`reapi-cli run` against a real server: outputs of every kind, exit codes, and what is cached."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server_process import ServerProcess

REAPI_CLI = Path(sys.executable).parent / "reapi-cli"
DEADLINE_SECONDS = 60


def reapi_cli(
    server: ServerProcess, directory: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Runs to the end in `directory`, whatever the exit code."""
    return subprocess.run(
        [REAPI_CLI, *arguments],
        cwd=directory,
        env={**os.environ, "REAPI_SERVER": server.grpc},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


def run(server: ServerProcess, directory: Path, *arguments: str) -> dict[str, Any]:
    """What `run --json` says of a command, which has to succeed."""
    done = reapi_cli(server, directory, "run", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_outputs_of_every_kind_come_back_as_they_were_made(
    server: ServerProcess, tmp_path: Path
) -> None:
    script = """
        mkdir -p out/empty out/deep/er
        printf content > out/deep/er/file.txt
        printf '#!/bin/sh\\necho hello\\n' > out/program.sh
        chmod +x out/program.sh
        ln -s deep/er/file.txt out/link.txt
        : > nothing.txt
    """
    (tmp_path / "script.sh").write_text(script)
    arguments = ("--input", "script.sh", "--output", "out", "--output", "nothing.txt")
    said = run(server, tmp_path, *arguments, "--", "sh", "script.sh")
    assert sorted(output["name"] for output in said["outputs"]) == ["nothing.txt", "out"]

    out = tmp_path / "out"
    assert list((out / "empty").iterdir()) == []
    assert (out / "deep" / "er" / "file.txt").read_text() == "content"
    assert not os.access(out / "deep" / "er" / "file.txt", os.X_OK)
    assert os.access(out / "program.sh", os.X_OK)
    assert (out / "link.txt").readlink() == Path("deep/er/file.txt")
    assert (tmp_path / "nothing.txt").read_bytes() == b""


def test_a_failure_keeps_its_exit_code_and_runs_again(
    server: ServerProcess, tmp_path: Path
) -> None:
    for _ in range(2):
        failed = reapi_cli(
            server, tmp_path, "run", "--json", "--", "sh", "-c", "echo no >&2; exit 7"
        )
        assert failed.returncode == 7
        said = json.loads(failed.stdout)
        assert (said["exit_code"], said["cached"], said["stderr"]) == (7, False, "no\n")


def test_a_changed_input_runs_again_and_an_unchanged_one_does_not(
    server: ServerProcess, tmp_path: Path
) -> None:
    arguments = ("--input", "in.txt", "--output", "out.txt", "--", "cp", "in.txt", "out.txt")
    cached = []
    for content in ("one", "one", "two", "one"):
        (tmp_path / "in.txt").write_text(content)
        cached.append(run(server, tmp_path, *arguments)["cached"])
        assert (tmp_path / "out.txt").read_text() == content
    assert cached == [False, True, False, True]


@pytest.mark.parametrize("function", ["BLAKE3", "SHA512"])
def test_everything_works_under_another_digest_function(
    server: ServerProcess, tmp_path: Path, function: str
) -> None:
    """Set once in reapi.toml: run, cached, and each digest that is printed can be asked for."""
    (tmp_path / "reapi.toml").write_text(f'digest_function = "{function}"\n')
    (tmp_path / "in").mkdir()
    (tmp_path / "in/text").write_text("content")
    arguments = ("--input", "in", "--output", "out", "--", "cp", "-r", "in", "out")
    said = [run(server, tmp_path, *arguments) for _ in range(2)]
    assert [each["cached"] for each in said] == [False, True]
    assert (tmp_path / "out/text").read_text() == "content"

    action = reapi_cli(server, tmp_path, "action", said[0]["action_digest"])
    assert "arguments" in action.stdout
    assert "result        cached" in action.stdout
    uploaded = reapi_cli(server, tmp_path, "upload", "in").stdout.strip()
    assert len(uploaded.partition("/")[0]) == {"BLAKE3": 64, "SHA512": 128}[function]
    listed = reapi_cli(server, tmp_path, "ls", "--json", uploaded)
    (entry,) = json.loads(listed.stdout)
    assert reapi_cli(server, tmp_path, "cat", entry["digest"]).stdout == "content"
    assert reapi_cli(server, tmp_path, "download", entry["digest"], "copy").returncode == 0
    assert (tmp_path / "copy").read_text() == "content"


def test_64_digits_are_of_the_function_that_is_set(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    flag = ("--digest-function", "BLAKE3")
    digest = reapi_cli(server, tmp_path, *flag, "upload", "file").stdout.strip()
    assert reapi_cli(server, tmp_path, *flag, "cat", digest).stdout == "content"
    without = reapi_cli(server, tmp_path, "cat", digest)
    assert without.returncode == 125
    assert "not here" in without.stderr
