"""Fixtures of all tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import postgresql_dsn, postgresql_server

__all__ = ["open_path", "postgresql_dsn", "postgresql_server"]


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that every user may enter, which `tmp_path` is not.

    A server of root's runs actions under other users, who have to get at their inputs.
    """
    with tempfile.TemporaryDirectory(prefix="reapi-test-") as folder:
        path = Path(folder)
        path.chmod(0o711)
        yield path
