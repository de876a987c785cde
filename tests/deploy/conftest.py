"""The chart, rendered by the real Helm, and the program that knows Kubernetes' types."""

from pathlib import Path

import pytest

from tests.deploy.chart import Chart
from tests.e2e.conftest import TOOLS, installed
from tests.go_programs import build_go, skip_without_go

HERE = Path(__file__).parent
HELM = "helm-3.21.4"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts processes and takes seconds."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def chart() -> Chart:
    skip_without_go()
    return Chart(installed(TOOLS / HELM, f"scripts/install_tools.sh {HELM}"))


@pytest.fixture(scope="session")
def manifest_check(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program in manifests/."""
    return build_go(HERE / "manifests", tmp_path_factory.mktemp("go") / "manifests")
