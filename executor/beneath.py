"""Finds what a path means below a directory, and nothing that lies outside of it (S6).

That holds even if somebody changes the directory meanwhile: each step starts at an open directory
and follows no link. The openat2 system call does this at once, but not everywhere may it be used:
gVisor and older container runtimes refuse it.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from reapi.core.errors import FailedPrecondition

_MOST_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Location(NamedTuple):
    """The last segment of a path, not resolved, in the directory that `parent_fd` is.

    `parent` are the segments of that directory; none of them is a symlink.
    """

    parent_fd: int
    parent: tuple[str, ...]
    name: str


def open_regular_file(name: str, directory_fd: int) -> int:
    """Opens a regular file to be read; raises OSError when it is none, or not one any more."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO would be waited for
    fd = os.open(name, flags, dir_fd=directory_fd)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "not a regular file any more", name)


@contextmanager
def opened_parent(root: str, path: str) -> Iterator[int]:
    """The open directory of the last segment of `path`, in which nothing is a symlink."""
    root_fd = os.open(root, _DIRECTORY)
    try:
        fd = _enter(root_fd, path.split("/")[:-1])
    finally:
        os.close(root_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def open_beneath(root: str, path: str) -> int:
    """Opens the regular file at `path` below `root`, in which nothing is a symlink."""
    with opened_parent(root, path) as fd:
        return open_regular_file(path.rpartition("/")[2], fd)


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
                below = _enter_if_there(root_fd, done)
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
                below = _enter_if_there(fd, [segment])
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


def _enter_if_there(directory_fd: int, segments: Sequence[str]) -> int | None:
    try:
        return _enter(directory_fd, segments)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def _enter(directory_fd: int, segments: Sequence[str]) -> int:
    """Opens a directory below, on the way to which nothing is a symlink."""
    fd = os.dup(directory_fd)
    for segment in segments:
        above = fd
        try:
            fd = os.open(segment, _DIRECTORY, dir_fd=above)
        finally:
            os.close(above)
    return fd
