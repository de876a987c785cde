"""What the processes of one data directory know together, in memory that all of them have mapped.

Each process, a member, writes to its own part, so that no update is lost; all read all parts. Only
the hash filter is written by all: under the write lock of the index.
"""

import mmap
import os
from pathlib import Path
from typing import Self

from .hash_filter import FILTER_BYTES, HashFilter

MOST_MEMBERS = 64

_VERSIONS = 1 << 14
_NUMBER_BYTES = 8
_PART_BYTES = _NUMBER_BYTES * (2 + _VERSIONS)
_COMPLETE_AT = FILTER_BYTES
_PARTS_AT = FILTER_BYTES + mmap.PAGESIZE
_FILE_BYTES = _PARTS_AT + MOST_MEMBERS * _PART_BYTES

_RESERVED, _LOSSES, _FIRST_VERSION = range(3)


class SharedMemory:
    """The mapped memory. Member 0 makes it anew and must be there before the others, who find it by
    the link `path`.

    Counters only rise. It takes as much memory as was written to, and none of the disk: to write to
    the map of a file whose disk is full would kill the process (reliability D1).
    """

    def __init__(self, path: Path, member: int, members: int = MOST_MEMBERS) -> None:
        self._descriptor = _create(path) if member == 0 else os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._descriptor, _FILE_BYTES)
        self._all = memoryview(self._map)
        self._parts = [
            self._all[start : start + _PART_BYTES].cast("Q")
            for start in range(_PARTS_AT, _PARTS_AT + members * _PART_BYTES, _PART_BYTES)
        ]
        self._own = self._parts[member]
        self._own[_RESERVED] = 0  # by a member that was killed
        self.filter = HashFilter(self._all[:_COMPLETE_AT], self._all[_COMPLETE_AT:_PARTS_AT])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.filter.release()
        for part in self._parts:
            part.release()
        self._all.release()
        self._map.close()
        os.close(self._descriptor)

    def reserve(self, size_bytes: int) -> None:
        """Adds to what this process has promised room for; a negative number takes away."""
        self._own[_RESERVED] += size_bytes

    @property
    def reserved_bytes(self) -> int:
        """What all processes have promised room for."""
        return sum([part[_RESERVED] for part in self._parts])

    def lost(self) -> None:
        """A blob went away before its time."""
        self._own[_LOSSES] += 1

    @property
    def losses(self) -> int:
        """How many blobs all processes have lost."""
        return sum([part[_LOSSES] for part in self._parts])

    def changed(self, key: bytes) -> None:
        """The result of `key` is another one now."""
        self._own[_slot(key)] += 1

    def version(self, key: bytes) -> int:
        """Another number after each change of that key; of some other keys as well."""
        slot = _slot(key)
        return sum([part[slot] for part in self._parts])


def _create(path: Path) -> int:
    """A descriptor of new memory, to which `path` leads as long as this process has it open."""
    descriptor = os.memfd_create("reapi", os.MFD_CLOEXEC)
    os.truncate(descriptor, _FILE_BYTES)
    path.unlink(missing_ok=True)  # members of the last run may not have ended yet
    path.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
    return descriptor


def _slot(key: bytes) -> int:
    return _FIRST_VERSION + int.from_bytes(key[1:5], "big") % _VERSIONS
