"""How long large files stay in the page cache after they were written.

The last 256 MiB stay for who reads them soon. What lies further back is named to the kernel several
times, until 512 MiB were written after it: the kernel starts to write what is new, without waiting,
and forgets what is on the disk by then. A disk that is slower than that is not waited for.
"""

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from threading import Lock

LARGE_BYTES = 16 << 20
"""Files of that size leave the page cache to smaller ones (decision 18)."""
STAYING_BYTES = 256 << 20
LEAVING_BYTES = 512 << 20


def forget_far_behind(descriptor: int, position: int) -> None:
    """Of a file that is written up to `position`. Blocks for as long as the kernel takes."""
    start = max(0, position - LEAVING_BYTES)
    length = position - STAYING_BYTES - start
    if length > 0:
        os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)


class RecentFiles:
    """The large files that were written last. To be used from any thread."""

    def __init__(self) -> None:
        self._files: deque[tuple[Path, int]] = deque()
        self._bytes = 0
        self._lock = Lock()

    def add(self, path: Path, size_bytes: int) -> None:
        """A file is whole, and those far behind may leave. Blocks as `forget_far_behind` does.

        One that is not large, as it was compressed, stays: so few files are looked at each time.
        """
        if size_bytes < LARGE_BYTES:
            return
        for each in self._pushed_back(path, size_bytes):
            # Evicted, or not to be opened now: then it stays, and this one has not failed.
            with suppress(OSError):
                _forget(each)

    def _pushed_back(self, path: Path, size_bytes: int) -> list[Path]:
        far, behind = [], 0
        with self._lock:
            self._files.append((path, size_bytes))
            self._bytes += size_bytes
            for each, each_bytes in reversed(self._files):
                if behind >= STAYING_BYTES:
                    far.append(each)
                behind += each_bytes
            while self._bytes - self._files[0][1] >= LEAVING_BYTES:
                self._bytes -= self._files.popleft()[1]
        return far


def _forget(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
