"""What actions leave is removed, and its directories are used again where that is safe."""

import os
from pathlib import Path

import pytest

from reapi.executor.trash import Trash
from tests.unit.executor.harness import Harness

MOST_SPARES = 3


@pytest.fixture
def trash(tmp_path: Path) -> Trash:
    (tmp_path / "trash").mkdir()
    return Trash(tmp_path / "trash", MOST_SPARES)


def throw_away(trash: Trash, directory: Path) -> None:
    trash.take(str(directory))
    trash.empty()


def test_an_emptied_directory_is_used_again(trash: Trash, tmp_path: Path) -> None:
    old = tmp_path / "old"
    (old / "below").mkdir(parents=True)
    (old / "below" / "file").touch()
    inodes = {old.stat().st_ino, (old / "below").stat().st_ino}
    throw_away(trash, old)
    for name in ("one", "two"):
        trash.make_directory(str(tmp_path / name))
        assert list((tmp_path / name).iterdir()) == []
    assert {(tmp_path / name).stat().st_ino for name in ("one", "two")} == inodes


def test_only_so_many_are_kept(trash: Trash, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / "old" / str(number)).mkdir(parents=True)
    throw_away(trash, tmp_path / "old")
    assert len(list((tmp_path / "trash").iterdir())) == MOST_SPARES
    for number in range(5):
        trash.make_directory(str(tmp_path / f"new-{number}"))
    assert len(list(tmp_path.glob("new-*"))) == 5
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_directory_with_attributes_is_not_used_again(trash: Trash, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    try:
        os.setxattr(old, "user.note", b"of an action")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    throw_away(trash, old)
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_directory_that_has_grown_is_not_used_again(trash: Trash, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for number in range(600):
        (old / f"{number:0200}").touch()
    if old.stat().st_size <= 16 << 10:
        pytest.skip("directories do not grow on this file system")
    throw_away(trash, old)
    assert list((tmp_path / "trash").iterdir()) == []


async def test_IN15_a_directory_that_was_used_before_is_like_any_other(harness: Harness) -> None:
    await harness.sh("mkdir -m 2777 odd; touch odd/x")
    show = "stat -c '%a %u' new; ls -A new; touch new/file && ls new"
    response = await harness.sh(f"id -u; {show}", {"new": {}})
    uid, status, *names = harness.stdout(response).split("\n")[:-1]
    assert (status, names) == (f"755 {uid}", ["file"])
