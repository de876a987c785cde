import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.unit.executor.harness import Harness, needs_bubblewrap, needs_root, open_harness


@pytest.fixture
def reachable_path() -> Iterator[Path]:
    """A directory that other users can reach, which those of `tmp_path` are not."""
    path = Path(tempfile.mkdtemp(prefix="reapi-executor-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(
    params=[
        pytest.param(
            (True, "bubblewrap"), marks=[needs_root, needs_bubblewrap], id="separate-uid-bubblewrap"
        ),
        pytest.param((True, "none"), marks=needs_root, id="separate-uid"),
        pytest.param((False, "none"), id="same-uid"),
    ]
)
async def harness(request: pytest.FixtureRequest, reachable_path: Path) -> AsyncIterator[Harness]:
    """A slot in each of the ways to protect input files, and in a sandbox."""
    separate_uid, sandbox = request.param
    async with open_harness(reachable_path, separate_uid=separate_uid, sandbox=sandbox) as opened:
        yield opened


@pytest.fixture
async def isolated(reachable_path: Path) -> AsyncIterator[Harness]:
    """A slot whose actions run under a uid of their own."""
    if os.geteuid() != 0:
        pytest.skip("only root can change uids")
    async with open_harness(reachable_path, separate_uid=True) as opened:
        yield opened
