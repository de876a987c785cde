"""Programs in Go that tests build from their sources, where there is Go."""

import shutil
import subprocess
from pathlib import Path

import pytest

BUILD_DEADLINE_SECONDS = 280


def skip_without_go() -> None:
    """As the tests of MinIO, which is built with it too."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")


def build_go(sources: Path, program: Path) -> Path:
    """The program of this folder, which is made at `program`."""
    skip_without_go()
    built = subprocess.run(
        ["go", "build", "-o", program, "."],
        cwd=sources,
        capture_output=True,
        text=True,
        timeout=BUILD_DEADLINE_SECONDS,
    )
    assert built.returncode == 0, built.stderr
    return program
