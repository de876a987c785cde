"""Patterns of paths and names: `*`, `?` and `[...]` within a segment, `**` for any number."""

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache
from glob import has_magic

__all__ = ["has_magic", "matches", "matches_any"]


def matches(pattern: str, path: str) -> bool:
    """Whether the pattern means the path itself.

    The time is that of the product of both lengths, whatever a stranger writes.
    """
    segments = path.split("/")
    reached = [True] + [False] * len(segments)
    """Whether the parts of the pattern so far can be the first n segments."""
    for part in pattern.split("/"):
        if part == "**":
            first = reached.index(True) if True in reached else len(reached)
            reached = [number >= first for number in range(len(reached))]
        else:
            found = _segment(part)
            reached = [False] + [
                before and found.match(segment) is not None
                for before, segment in zip(reached, segments, strict=False)
            ]
    return reached[-1]


def matches_any(patterns: Iterable[str], path: str) -> bool:
    """Whether one of the patterns means the path, or a directory above it."""
    return any(
        matches(pattern, path) or pattern == "." or matches(f"{pattern}/**", path)
        for pattern in patterns
    )


@lru_cache(maxsize=4096)
def _segment(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
