"""What a failing disk means to those who write."""

import errno
import os
from pathlib import Path

from reapi.core.errors import ReapiError, ResourceExhausted, Unavailable

_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
_INODES_OF_AN_OBJECT = 2
"""Its file, and the directory of the file when it is the first one there."""


def disk_error(error: OSError, path: Path) -> ReapiError:
    """What to tell callers about a failed write; raise it from `error`.

    A disk without an inode takes no object of any size: it has failed (D7), it is not full (D1).
    """
    if error.errno == errno.ENOSPC and not has_inodes(path):
        return no_inodes()
    if error.errno in _NO_ROOM:
        return ResourceExhausted("no space left on the disk of the store", retry_after_seconds=30)
    return Unavailable(f"the store cannot write {path.name}: {error.strerror}")


def has_inodes(path: Path) -> bool:
    """Whether the file system of `path`, which need not exist, can hold one more object."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    status = os.statvfs(existing)
    is_counted = status.f_files > 0
    return not is_counted or status.f_favail >= _INODES_OF_AN_OBJECT


def no_inodes() -> ReapiError:
    """What to tell callers about a disk that is out of them."""
    return Unavailable("no inode left on the disk of the store", retry_after_seconds=30)
