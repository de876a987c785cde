"""What changes when somebody writes to a file, or puts another in its place."""

import os
from typing import NamedTuple


class Stamp(NamedTuple):
    """Of a file at one moment. The kernel sets the last of these, and nobody can set it back."""

    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp as of a stat call."""
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
