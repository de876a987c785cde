"""The repository's layout keeps the promises that the tools cannot check."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPONENTS = ("cas", "clients", "core", "executor", "protos", "scheduler", "server")


def _tracked(pattern: str) -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_file_imports_a_component_under_its_folder_name() -> None:
    # With the root on sys.path, `import cas` would make a second module with second classes.
    top_level = re.compile(rf"^\s*(from|import) ({'|'.join(COMPONENTS)})\b", re.MULTILINE)
    guilty = [path for path in _tracked("*.py") if top_level.search(path.read_text())]
    assert guilty == []


def test_every_component_is_linked_typed_and_shipped() -> None:
    wheel = (ROOT / "pyproject.toml").read_text()
    for component in COMPONENTS:
        link = ROOT / "src" / "reapi" / component
        assert link.is_symlink()
        assert (link / "py.typed").is_file()
        assert f'= "reapi/{component}"' in wheel


def test_no_source_file_is_longer_than_can_be_read() -> None:
    sources = [path for path in _tracked("*.py") if "gen" not in path.parts]
    assert [path for path in sources if len(path.read_text().splitlines()) > 500] == []
