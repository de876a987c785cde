"""One server for all tests of compiles, and two clients of it that share nothing else."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from reapi.clients.compile import local_compile
from tests.integration.compile.checkout import Checkout, Client, open_client
from tests.server_process import ServerProcess


@pytest.fixture(scope="session")
def compile_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="reapi-test-") as folder:
        path = Path(folder)
        path.chmod(0o711)
        yield path


@pytest.fixture(scope="session")
def server(compile_folder: Path) -> Iterator[ServerProcess]:
    with ServerProcess(compile_folder / "data") as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def here(compile_folder: Path) -> AsyncIterator[Client]:
    """The client that makes things."""
    async with open_client(compile_folder / "here") as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def elsewhere(compile_folder: Path) -> AsyncIterator[Client]:
    """The client that has nothing but what the server has."""
    async with open_client(compile_folder / "elsewhere") as client:
        yield client


@pytest.fixture
def checkout(server: ServerProcess, open_path: Path) -> Checkout:
    root = open_path / "checkout"
    root.mkdir()
    return Checkout(root, server.grpc)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources were written a moment ago, and nobody writes them while they are compiled."""
    monkeypatch.setattr(local_compile, "_YOUNGEST_NS", 0)
