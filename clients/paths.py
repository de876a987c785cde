"""Paths between the local file system and the protocol: what leads out is refused, both ways."""

import os
from pathlib import Path

from reapi.core.directory import is_safe_name, is_usable_target
from reapi.core.errors import InvalidArgument

DEEPEST = 256
"""Directories below one another; more is a mistake or an attack."""


def relative_to_root(root: Path, path: str) -> str:
    """`path`, absolute or relative to `root`, as the protocol writes it; "" is the root itself.

    Raises InvalidArgument for one outside of the root.
    """
    relative = os.path.relpath(os.path.join(root, path), root)
    if relative == os.pardir or relative.startswith(os.pardir + os.sep):
        raise InvalidArgument(
            f"{path} is outside of {root}: inputs and outputs must be below the working directory"
        )
    return "" if relative == os.curdir else relative


def check_path(path: str) -> None:
    """Raises InvalidArgument unless a path that a server named stays below where it is put."""
    segments = path.split("/")
    if not all(is_safe_name(segment) for segment in segments):
        raise InvalidArgument(f"refused to write to the unsafe path {path[:255]!r}")
    if len(segments) > DEEPEST:
        raise InvalidArgument(f"refused to write {len(segments)} directories deep: {path[:80]}…")


def check_symlink(path: str, target: str) -> None:
    """Raises InvalidArgument unless a symlink at `path` stays below the root of the path.

    Going up is allowed only at the start of the target, where the way is one of real directories:
    behind the name of another symlink nobody could tell where `..` leads.
    """
    segments = target.split("/")
    ups = 0
    while ups < len(segments) and segments[ups] == os.pardir:
        ups += 1
    if not is_usable_target(target) or target.startswith("/"):
        raise InvalidArgument(f"refused symlink {path} to {target!r}: only relative ones are safe")
    if ups > path.count("/") or os.pardir in segments[ups:]:
        raise InvalidArgument(f"refused symlink {path} to {target!r}: it could lead outside")
