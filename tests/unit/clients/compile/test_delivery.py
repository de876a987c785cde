import os
import tempfile
from pathlib import Path

import pytest

from reapi.clients.compile.delivery import deliver_bytes, deliver_file


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_an_output_has_the_rights_that_the_caller_s_umask_leaves(
    tmp_path: Path, umask: int, mode: int
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"object")
    deliver_file(str(source), str(target), umask=umask)
    assert target.read_bytes() == b"object"
    assert target.stat().st_mode & 0o777 == mode
    deliver_bytes(b"other", str(target), umask=umask)
    assert target.read_bytes() == b"other"
    assert target.stat().st_mode & 0o777 == mode


def test_what_was_open_under_that_name_stays_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with target.open("rb") as old:
        deliver_bytes(b"new", str(target), umask=0o022)
        assert old.read() == b"old"
    assert target.read_bytes() == b"new"


def test_an_output_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="directory"):
        deliver_bytes(b"object", str(tmp_path / "target"), umask=0o022)
    assert os.listdir(tmp_path) == ["target"]
    with pytest.raises(FileNotFoundError):
        deliver_bytes(b"object", str(tmp_path / "absent" / "target"), umask=0o022)


def test_bytes_cross_from_one_file_system_to_another(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as source:
        source.write(b"object")
        source.flush()
        deliver_file(source.name, str(target), umask=0o022)
    assert target.read_bytes() == b"object"
