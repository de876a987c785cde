"""Commands in an imported image, and in an input root of their own, with `reapi-cli` alone."""

import json
import tarfile
from pathlib import Path

import pytest

from tests.e2e.conftest import installed
from tests.e2e.test_reapi_cli import reapi_cli
from tests.server_process import ServerProcess

BUSYBOX = Path("/bin/busybox")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A root file system that consists of busybox, and says what it is."""
    installed(BUSYBOX, "scripts/install_system_packages.sh busybox")
    path = tmp_path / "rootfs.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for applet in ("sh", "cat", "ls"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "/bin/busybox"
            tar.addfile(link)
        null = tarfile.TarInfo("dev/null")
        null.type = tarfile.CHRTYPE
        tar.addfile(null)
    return path


def test_a_command_runs_in_an_imported_image_and_is_cached_with_it(
    server: ServerProcess, archive: Path, tmp_path: Path
) -> None:
    imported = reapi_cli(server, tmp_path, "image", "import", str(archive))
    assert imported.returncode == 0, imported.stderr
    assert "left out: 1 character devices" in imported.stderr
    platform = imported.stdout.strip()

    (tmp_path / "input").write_text("from here\n")
    command = "ls /; cat input; echo made > output; (echo x > /file) 2>/dev/null || echo refused"
    arguments = ("--platform", platform, "--input", "input", "--output", "output")
    for is_cached in (False, True):
        done = reapi_cli(server, tmp_path, "run", "--json", *arguments, "--", "sh", "-c", command)
        assert done.returncode == 0, done.stdout + done.stderr
        said = json.loads(done.stdout)
        expected = ["bin", "build", "dev", "etc", "proc", "tmp", "from", "here", "refused"]
        assert said["stdout"].split() == expected
        assert said["cached"] is is_cached
        assert (tmp_path / "output").read_text() == "made\n"
        (tmp_path / "output").unlink()


def test_an_image_that_the_server_does_not_have_is_named(
    server: ServerProcess, tmp_path: Path
) -> None:
    platform = f"container-image=tree:{'0' * 64}/100"
    done = reapi_cli(server, tmp_path, "run", "--platform", platform, "--", "true")
    assert done.returncode == 125
    assert f"{'0' * 64}/100" in done.stderr


def test_an_input_root_with_a_shell_is_the_file_system_of_its_command(
    server: ServerProcess, tmp_path: Path
) -> None:
    installed(BUSYBOX, "scripts/install_system_packages.sh busybox")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").write_bytes(BUSYBOX.read_bytes())
    (tmp_path / "bin" / "sh").chmod(0o755)
    done = reapi_cli(server, tmp_path, "run", "--input", "bin", "--", "sh", "-c", "echo /*")
    assert done.stdout.split() == ["/bin", "/dev", "/proc", "/tmp"], done.stderr
