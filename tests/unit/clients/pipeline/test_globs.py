"""Which paths patterns mean."""

import pytest

from reapi.clients.pipeline.globs import matches, matches_any


@pytest.mark.parametrize(
    ("pattern", "path", "is_meant"),
    [
        ("src/*.c", "src/a.c", True),
        ("src/*.c", "src/deep/a.c", False),
        ("src/**/*.c", "src/a.c", True),
        ("src/**/*.c", "src/very/deep/a.c", True),
        ("src/**/*.c", "other/src/a.c", False),
        ("**", "any/thing", True),
        ("release/*", "release/1.0", True),
        ("release/*", "release/1/0", False),
        ("v[0-9].?", "v1.x", True),
        ("v[0-9].?", "v1.10", False),
        ("main", "main", True),
        ("main", "maint", False),
        ("a.c", "abc", False),
    ],
)
def test_a_star_stays_within_a_segment_and_two_do_not(
    pattern: str, path: str, is_meant: bool
) -> None:
    assert matches(pattern, path) is is_meant


def test_a_directory_means_all_below_it_where_files_are_asked_for() -> None:
    assert matches_any(["docs"], "docs/guide/index.md")
    assert matches_any(["."], "any/thing")
    assert not matches_any(["docs"], "docs.md")


def test_a_hostile_pattern_takes_no_longer_than_others() -> None:
    assert not matches("/".join(["**", "a*a*a*a*b"] * 500), "/".join(["a" * 200] * 100))
