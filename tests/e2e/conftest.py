"""A real server and real clients for the end-to-end tests: processes, not fakes."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bazel.invocation import Bazel
from tests.server_process import ServerProcess

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".cache" / "tools"
PROGRAMS = Path(sys.executable).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts processes and takes seconds."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(300))


def installed(program: Path, remedy: str) -> Path:
    """The program; a test must not pass for want of what it tests with."""
    if not os.access(program, os.X_OK):
        pytest.fail(
            f"{program.name} is missing; run `{remedy}` in the project's root", pytrace=False
        )
    return program


@pytest.fixture
def server(open_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, empty; what it logged is shown when the test fails."""
    with ServerProcess(open_path / "server") as running:
        yield running


@pytest.fixture(params=["4.2.3", pytest.param("2.1.0", marks=pytest.mark.soak)])
def bazel(request: pytest.FixtureRequest, tmp_path: Path) -> Bazel:
    """Debian's Bazel and the oldest we promise, each with a copy of the workspace and no state."""
    if request.param == "4.2.3":
        program = installed(Path("/usr/bin/bazel"), "scripts/install_system_packages.sh bazel")
        return Bazel(program, tmp_path / "here")
    return _oldest(tmp_path)


@pytest.fixture
def oldest_bazel(tmp_path: Path) -> Bazel:
    """The oldest Bazel alone: Debian's has been built without TLS."""
    return _oldest(tmp_path)


def _oldest(folder: Path) -> Bazel:
    program = installed(TOOLS / "bazel-2.1.0", "scripts/install_tools.sh bazel-2.1.0")
    return Bazel(program, folder / "here")


@pytest.fixture
def buf() -> Path:
    """The program of `buf curl`."""
    return installed(TOOLS / "buf-1.75.0", "scripts/install_tools.sh buf-1.75.0")
