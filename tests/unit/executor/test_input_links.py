"""Paths through the symlinks of an input root that is not on a disk yet."""

import pytest

from reapi.core.digest import digest_of
from reapi.executor.input_links import follow_links
from reapi.executor.input_tree import InputDirectory

ANY = digest_of(b"whatever")


def _directory(symlinks: dict[str, str], **directories: InputDirectory) -> InputDirectory:
    return InputDirectory(ANY, {}, directories, symlinks)


ROOT = _directory(
    {
        "link": "real/./deep",
        "out": "../x",
        "absolute": "/tmp",
        "loop": "loop",
        "new": "absent",
        "deep": "d/" * 300,
        "turns": "real/../" * 300,
        "name": "x" * 300,
        "long": f"{'x' * 200}/" * 20,
    },
    real=_directory({"up": "../link", "escape": "../../x"}, deep=_directory({})),
)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("real/deep", "real/deep"),
        ("absent/a/b", "absent/a/b"),
        ("link", "real/deep"),
        ("link/a", "real/deep/a"),
        ("real/up/a", "real/deep/a"),
        ("new/a", "absent/a"),
    ],
)
def test_IN6_links_that_stay_inside_are_followed(path: str, leads_to: str) -> None:
    assert follow_links(ROOT, path.split("/")) == leads_to.split("/")


@pytest.mark.parametrize(
    "path",
    [
        *("out/a", "absolute/a", "loop", "real/escape/a"),
        *("deep", "deep/a", "turns/a", "name/a", "long/a", "/".join(["deep"] * 200)),
    ],
)
def test_S6_a_way_out_in_circles_or_to_an_impossible_place_leads_nowhere(path: str) -> None:
    assert follow_links(ROOT, path.split("/")) == []
