"""What a failing disk means to those who write."""

import errno
from pathlib import Path

from reapi.core.errors import ReapiError, ResourceExhausted, Unavailable

_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))


def disk_error(error: OSError, path: Path) -> ReapiError:
    """What to tell callers about a failed write; raise it from `error`."""
    if error.errno in _NO_ROOM:
        return ResourceExhausted(
            "no space (or no inode) left on the disk of the store", retry_after_seconds=30
        )
    return Unavailable(f"the store cannot write {path.name}: {error.strerror}")
