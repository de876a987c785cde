"""Finds what a path means below a directory, and nothing that lies outside of it (S6).

No process may change the directory meanwhile.
"""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from reapi.core.errors import FailedPrecondition

_MOST_LINKS = 40


class Location(NamedTuple):
    """The last segment of a path, not resolved, in the directory that `parent_fd` is.

    `parent` are the segments of that directory; none of them is a symlink.
    """

    parent_fd: int
    parent: tuple[str, ...]
    name: str


def locate(root_fd: int, segments: Sequence[str]) -> Location | None:
    """Where `segments` lead below `root_fd`; None when a directory on the way is not there.

    Symlinks on the way are followed as far as they stay below the root, the last segment never.
    An empty path is "." in the root. The caller closes `parent_fd`. Raises FailedPrecondition for
    a way that leads out of the root, or in circles.
    """
    if not segments:
        return Location(os.dup(root_fd), (), ".")
    todo = list(reversed(segments[:-1]))
    done: list[str] = []
    links = 0
    fd = os.dup(root_fd)
    try:
        while todo:
            segment = todo.pop()
            if segment == "..":
                if not done:
                    raise FailedPrecondition(
                        f"output path {'/'.join(segments)!r} leads out of the input root "
                        "by a symbolic link"
                    )
                done.pop()
                below = _open(root_fd, done)
            else:
                target = _link_target(fd, segment)
                if target is not None:
                    links += 1
                    if target.startswith("/") or links > _MOST_LINKS:
                        raise FailedPrecondition(
                            f"output path {'/'.join(segments)!r} goes through the symbolic link "
                            f"{segment!r}, which leads out of the input root or in circles"
                        )
                    todo += [s for s in reversed(target.split("/")) if s not in ("", ".")]
                    continue
                done.append(segment)
                below = _open(fd, [segment])
            os.close(fd)
            fd = -1
            if below is None:
                return None
            fd = below
    except BaseException:
        if fd >= 0:
            os.close(fd)
        raise
    return Location(fd, tuple(done), segments[-1])


def _link_target(directory_fd: int, name: str) -> str | None:
    with suppress(OSError):
        return os.readlink(name, dir_fd=directory_fd)
    return None


def _open(directory_fd: int, segments: Sequence[str]) -> int | None:
    """A directory whose segments are known not to be symlinks, or None when it is not there."""
    try:
        return os.open(
            "/".join(segments) or ".",
            os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
            dir_fd=directory_fd,
        )
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
