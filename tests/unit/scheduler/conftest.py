"""One scheduler with an empty journal per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.scheduler.harness import Scheduler


@pytest.fixture
async def scheduler(tmp_path: Path) -> AsyncIterator[Scheduler]:
    async with Scheduler(tmp_path / "scheduler.db") as one:
        yield one
