"""The real server as a process, for tests of what only whole processes can show."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole processes take seconds; the in-process tests of this folder are not marked."""
    for item in items:
        if "processes" in item.path.name:
            item.add_marker(pytest.mark.slow)
