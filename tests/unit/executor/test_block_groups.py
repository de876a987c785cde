"""The directory of input files lies apart from others where the file system can do that."""

import errno
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reapi.executor.block_groups import make_directory_apart


def test_each_directory_is_new_and_its_owners_alone(tmp_path: Path) -> None:
    one, two = make_directory_apart(tmp_path), make_directory_apart(tmp_path)
    assert one != two
    for directory in (one, two):
        assert (directory.parent, directory.stat().st_mode & 0o777) == (tmp_path, 0o700)


@pytest.mark.skipif(not shutil.which("lsattr"), reason="lsattr is not installed")
def test_the_parent_is_marked_where_the_file_system_knows_the_mark(tmp_path: Path) -> None:
    if subprocess.run(["chattr", "+T", tmp_path], capture_output=True).returncode:
        pytest.skip("the file system of the temporary directory knows no such mark")
    subprocess.run(["chattr", "-T", tmp_path], check=True)
    make_directory_apart(tmp_path)
    listed = subprocess.run(["lsattr", "-d", tmp_path], capture_output=True, text=True, check=True)
    assert "T" in listed.stdout.split()[0]


def test_a_file_system_that_refuses_the_mark_is_as_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert make_directory_apart(tmp_path).is_dir()
