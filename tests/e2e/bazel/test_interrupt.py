"""What Bazel's Ctrl-C does to actions that run for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bazel.invocation import Bazel
from tests.integration.system import gates_of
from tests.server_process import ServerProcess

INTERRUPTED = 8


@pytest.fixture
def begun(open_path: Path) -> Path:
    """A pipe that an action holds open while any process of it lives."""
    path = gates_of(open_path) / "begun"
    os.mkfifo(path)
    path.chmod(0o666)
    return path


@pytest.fixture
def server(open_path: Path, begun: Path) -> Iterator[ServerProcess]:
    """One that gives up at once what nobody waits for."""
    settings = {"REAPI_SCHEDULER__UNWATCHED_SECONDS": "0.001"}
    with ServerProcess(open_path / "server", environment=settings) as running:
        yield running


@pytest.mark.timeout(120)  # far less than the hour for which the action would go on
def test_an_interrupted_build_ends_its_actions(
    bazel: Bazel, server: ServerProcess, begun: Path
) -> None:
    pipes = []

    def action_has_begun() -> None:
        pipes.append(begun.open())
        assert pipes[0].readline() == "begun\n"

    build = bazel.run(
        "build",
        "//failing:endless",
        "--config=remote",
        f"--remote_executor=grpc://{server.grpc}",
        f"--action_env=BEGUN={begun}",
        interrupt_after=action_has_begun,
    )
    assert build.exit_code == INTERRUPTED
    assert "build interrupted" in build.output
    with pipes[0] as pipe:
        assert pipe.read() == ""  # at the end of all that could write to it
