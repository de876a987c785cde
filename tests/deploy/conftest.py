"""The chart, rendered by the real Helm, and the program that knows Kubernetes' types."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.chart import ROOT, Chart

HERE = Path(__file__).parent
HELM = "helm-3.21.4"
BUILD_DEADLINE_SECONDS = 280


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts processes and takes seconds."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(300))


def _skip_without_go() -> None:
    if shutil.which("go") is None:
        pytest.skip("needs Go")


@pytest.fixture(scope="session")
def chart() -> Chart:
    helm = ROOT / ".cache" / "tools" / HELM
    if not os.access(helm, os.X_OK):
        _skip_without_go()
        subprocess.run([ROOT / "scripts" / "install_tools.sh", HELM], check=True)
    return Chart(helm)


@pytest.fixture(scope="session")
def manifest_check(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program in manifests/."""
    _skip_without_go()
    program = tmp_path_factory.mktemp("go") / "manifests"
    built = subprocess.run(
        ["go", "build", "-o", program, "."],
        cwd=HERE / "manifests",
        capture_output=True,
        text=True,
        timeout=BUILD_DEADLINE_SECONDS,
    )
    assert built.returncode == 0, built.stderr
    return program
