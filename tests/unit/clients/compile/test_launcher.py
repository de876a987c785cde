"""The console script takes itself out of the way where it may, and only there."""

import subprocess
import sys
from pathlib import Path

import pytest

from reapi.clients.compile.stub_build import (
    build_stub,
    is_native,
    place_stub,
    this_installation,
)

SCRIPT = """#!{python}
import sys
sys.path[:0] = {path!r}
from reapi.clients.compile.launcher import main
main()
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An installation as pip leaves it: a script, and metadata that name it."""
    metadata = tmp_path / "site/reapi-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: reapi\nVersion: 1\n")
    (metadata / "INSTALLER").write_text("pip\n")
    (metadata / "RECORD").write_text("../bin/reapi-cc,sha256=x,1\n")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/reapi-cc"
    path = [str(tmp_path / "site"), *sys.path]
    script.write_text(SCRIPT.format(python=sys.executable, path=path))
    script.chmod(0o755)
    return tmp_path


def call(site: Path, program: Path | None = None, **variables: str) -> tuple[int, str]:
    """Calls `true` by way of the script, and asks no daemon."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(site), "REAPI_CC_LOCAL": "1"} | variables
    done = subprocess.run(
        [program or site / "bin/reapi-cc", "true"], env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stderr


def stubs(site: Path) -> list[Path]:
    return list((site / ".cache/reapi/cc").glob("stub-*"))


def test_the_first_call_puts_the_stub_in_the_place_of_the_script(site: Path) -> None:
    assert call(site) == (0, "")
    assert is_native(site / "bin/reapi-cc")
    assert (site / "bin/reapi-cc").read_bytes() == stubs(site)[0].read_bytes()
    assert call(site) == (0, "")


@pytest.mark.parametrize(
    ("file", "content"), [("INSTALLER", "debian\n"), ("RECORD", "../bin/other,sha256=x,1\n")]
)
def test_a_script_that_pip_did_not_install_stays(site: Path, file: str, content: str) -> None:
    (site / "site/reapi-1.dist-info" / file).write_text(content)
    assert call(site) == (0, "")
    assert not is_native(site / "bin/reapi-cc")
    assert len(stubs(site)) == 1
    assert call(site) == (0, "")


def test_a_script_that_stays_finds_the_compiler_behind_its_own_links(site: Path) -> None:
    (site / "site/reapi-1.dist-info/INSTALLER").unlink()
    (site / "links").mkdir()
    (site / "links/true").symlink_to(site / "bin/reapi-cc")
    path = f"{site / 'links'}:/usr/bin:/bin"
    assert call(site, site / "links/true", PATH=path) == (0, "")


def test_without_a_compiler_the_stub_is_a_script_and_works(site: Path) -> None:
    (site / "tools").mkdir()
    (site / "tools/true").symlink_to("/bin/true")
    assert call(site, PATH=str(site / "tools")) == (0, "")
    assert (site / "bin/reapi-cc").read_bytes().startswith(b"#!")
    assert "arguments_of_this_process())" in (site / "bin/reapi-cc").read_text()
    assert call(site, PATH=str(site / "tools")) == (0, "")


def test_a_cache_that_cannot_be_written_is_told_and_the_compiler_runs(site: Path) -> None:
    (site / "file").write_text("")
    ended, stderr = call(site, XDG_CACHE_HOME=str(site / "file"))
    assert ended == 0
    assert "warning: no quick start" in stderr


def test_another_version_in_its_place_removes_the_former_stub(tmp_path: Path) -> None:
    installation = this_installation()
    other = tmp_path / "stub-00000000-1"
    other.write_text("")
    former = tmp_path / (installation.stub_in(tmp_path).name.rpartition("-")[0] + "-1")
    former.write_text("")
    stub = build_stub(installation, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([other, stub])
    place_stub(stub, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o755
