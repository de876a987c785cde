"""BuildStream with remote execution: input roots that are the file system of their commands."""

import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.buildstream.invocation import BUSYBOX, BuildStream
from tests.e2e.conftest import TOOLS, installed
from tests.server_process import ServerProcess
from tests.unit.executor.harness import needs_root

CONFIGURATION = """
[executor]
sandbox = "{sandbox}"
[executor.platform]
OSFamily = "linux"
ISA = "x86-64"
"""


@pytest.fixture(params=["bubblewrap", pytest.param("none", marks=needs_root)])
def server(request: pytest.FixtureRequest, open_path: Path) -> Iterator[ServerProcess]:
    """A server whose executor offers what BuildStream asks for."""
    config = open_path / "reapi.toml"
    config.write_text(CONFIGURATION.format(sandbox=request.param))
    with ServerProcess(open_path / "server", "--config", str(config)) as running:
        yield running


@pytest.fixture
def buildstream(server: ServerProcess, tmp_path: Path) -> BuildStream:
    remedy = "scripts/install_tools.sh buildstream-2.8.1"
    installed(TOOLS / "buildstream-2.8.1" / "bin" / "bst", remedy)
    installed(BUSYBOX, "scripts/install_system_packages.sh busybox")
    return BuildStream(TOOLS / "buildstream-2.8.1", tmp_path / "machine", server.grpc)


def executes(server: ServerProcess) -> int:
    """Execute calls that the server has had."""
    with urllib.request.urlopen(f"http://{server.http}/metrics") as response:
        lines = response.read().decode().splitlines()
    calls = [line for line in lines if line.startswith("reapi_rpc_handled_total{")]
    assert calls, "the server counts no calls"
    return sum(int(float(line.rpartition(" ")[2])) for line in calls if '/Execute"' in line)


def test_elements_are_built_remotely_and_found_again_without_the_local_cache(
    buildstream: BuildStream, server: ServerProcess
) -> None:
    first = buildstream.succeed("build", "all.bst")
    assert first.built == (4, 0, 0)
    assert first.remote_builds == executes(server) == 2

    words = buildstream.checkout("words.bst")
    assert (words / "share/upper.txt").read_text() == "ONE TWO THREE\n"
    assert os.access(words / "share/upper.txt", os.X_OK)
    assert os.readlink(words / "link") == "share/upper.txt"
    assert (words / "empty").is_dir()
    assert sorted(os.listdir(words)) == ["empty", "link", "share"]

    count = buildstream.checkout("count.bst")
    assert (count / "share/count.txt").read_text().strip() == "3"
    root = (count / "share/root.txt").read_text().split()
    assert {"bin", "share", "buildstream", "dev", "tmp"} <= set(root)
    assert "usr" not in root, "the host's file system was seen"

    buildstream.forget()
    again = buildstream.succeed("build", "all.bst")
    assert again.built == (4, 0, 0)
    assert (again.remote_builds, again.cached_builds) == (0, 2)
    assert executes(server) == 2, "what is in the action cache was executed again"


def test_a_failing_element_shows_its_exit_code_and_its_words(
    buildstream: BuildStream, server: ServerProcess
) -> None:
    failed = buildstream.run("build", "failing.bst")
    assert failed.exit_code != 0
    assert failed.built == (1, 0, 1)
    assert "the kitchen is closed" in failed.output
    assert "failed with exitcode 7" in failed.output
    assert executes(server) == 1
