"""The real server: as a process for what only whole processes can show, else in this process."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.system import Gate, Notes, System, open_system


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole processes take seconds; the in-process tests of this folder are not marked."""
    for item in items:
        if "processes" in item.path.name or "production" in item.path.name:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
async def idle_system(open_path: Path) -> AsyncIterator[System]:
    """A server without a worker, which a test may add."""
    async with open_system(open_path) as made:
        yield made


@pytest.fixture
async def system(idle_system: System) -> AsyncIterator[System]:
    """A server with one worker of two slots, which both work on after whatever the test sent."""
    async with idle_system.worker():
        yield idle_system
        await idle_system.check_alive()


@pytest.fixture
def notes(open_path: Path) -> Iterator[Notes]:
    made = Notes(open_path)
    yield made
    made.close()


@pytest.fixture
def gate(open_path: Path) -> Iterator[Gate]:
    made = Gate(open_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def rustc() -> str:
    """The compiler itself: what is on the PATH may be rustup."""
    if shutil.which("rustc") is None:
        pytest.fail("run `scripts/install_system_packages.sh rustc`", pytrace=False)
    command = ["rustc", "--print=sysroot"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"{done.stdout.strip()}/bin/rustc"
