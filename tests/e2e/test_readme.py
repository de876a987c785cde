"""What the README tells a new user to type works as it stands, but for the server's address."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.bazel.invocation import Bazel
from tests.server_process import ServerProcess

README = Path(__file__).parent.parent.parent / "README.md"
DEFAULT_SERVER = "127.0.0.1:8980"
DEADLINE_SECONDS = 60


def blocks(language: str, heading: str, server: ServerProcess) -> list[str]:
    """The code blocks of a section, with the test's server in place of the default one."""
    section = README.read_text().split(heading)[1].split("\n## ")[0].split("\n### ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [block.replace(DEFAULT_SERVER, server.grpc) for block in found]


def run(command: list[str], directory: Path) -> str:
    """The standard output of a command that has to succeed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("REAPI_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_lines_for_a_reapi_cli_user_work(server: ServerProcess, tmp_path: Path) -> None:
    (script,) = blocks("sh", "of a `reapi-cli` user", server)
    assert run(["bash", "-e", "-c", script.replace("./answer;", "./answer ||")], tmp_path) == "42\n"


def test_the_programs_for_a_python_user_work(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "answer.c").write_text("int main() { return 42; }\n")
    sync_program, async_program = blocks("python", "of a Python user", server)
    assert run([sys.executable, "-c", sync_program], tmp_path).startswith("0 run by ")
    assert run([sys.executable, "-c", sync_program], tmp_path) == "0 from the cache\n"
    assert subprocess.run([tmp_path / "answer"]).returncode == 42

    said = run([sys.executable, "-c", async_program], tmp_path).splitlines()
    assert sorted(line.strip() for line in said) == [f"answer{number}.o 0" for number in range(8)]
    assert len(list(tmp_path.glob("answer*.o"))) == 8


@pytest.mark.parametrize("configuration", ["remote", "cache"])
def test_the_bazelrc_for_a_bazel_user_works(
    bazel: Bazel, server: ServerProcess, configuration: str
) -> None:
    (bazelrc,) = blocks("bazelrc", "of a Bazel user", server)
    with (bazel.workspace / ".bazelrc").open("a") as file:
        file.write(bazelrc)
    first = bazel.succeed("test", "//text/...", f"--config={configuration}")
    bazel.succeed("clean")
    again = bazel.succeed("test", "//text/...", f"--config={configuration}")
    assert again.processes == {"remote cache hit": sum(first.processes.values())}
