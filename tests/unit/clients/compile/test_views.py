from pathlib import Path

import pytest

from reapi.clients.compile.model import CANONICAL_ROOT, Compilation, Family, View, Word
from reapi.clients.compile.views import canonical_view, find_root, may_be_canonical


def test_a_view_moves_what_is_in_the_checkout_and_nothing_else() -> None:
    view = canonical_view("/home/a/project")
    for ours, theirs in (
        ("/home/a/project", CANONICAL_ROOT),
        ("/home/a/project/src/x.c", f"{CANONICAL_ROOT}/src/x.c"),
        ("/home/a/projects/x.c", "/home/a/projects/x.c"),
        ("src/x.c", "src/x.c"),
        ("/usr/include/stdio.h", "/usr/include/stdio.h"),
    ):
        assert view.there(ours) == theirs
        assert view.here(theirs) == ours


@pytest.mark.parametrize("mark", [".git", ".hg", ".svn", "reapi.toml"])
def test_the_checkout_is_the_nearest_directory_with_a_mark_of_one(
    tmp_path: Path, mark: str
) -> None:
    below = tmp_path / "checkout" / "build" / "deep"
    below.mkdir(parents=True)
    (tmp_path / "checkout" / mark).touch()
    assert find_root(str(below)) == str(tmp_path / "checkout")
    assert find_root(str(tmp_path / "checkout")) == str(tmp_path / "checkout")


def _compilation(*words: Word, carries_directory: bool = False) -> Compilation:
    return Compilation(Family.GCC, words, "x.c", "c", "x.o", carries_directory=carries_directory)


def test_a_result_that_cannot_name_its_checkout_is_for_all() -> None:
    root = "/home/a/project"
    plain, debug = _compilation(), _compilation(carries_directory=True)
    absolute = Word("-I", f"{root}/include")
    assert may_be_canonical(plain, root, root)
    assert may_be_canonical(_compilation(absolute), f"{root}/build", root)
    assert not may_be_canonical(debug, root, root)
    assert not may_be_canonical(plain, "/elsewhere", root)
    assert not may_be_canonical(plain, root, None)
    assert not may_be_canonical(_compilation(absolute, Word("-flto")), root, root)


def test_an_exact_view_is_no_move() -> None:
    assert View("/a", "/a").there("/a/b") == "/a/b"
