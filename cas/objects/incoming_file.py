"""The file of an object that is being written."""

import os
from pathlib import Path

from .page_cache import forget_far_behind

_STEP_BYTES = 64 << 20


class IncomingFile:
    """A new file, written from its beginning to its end. Blocks; raises OSError.

    One that `leaves_cache` does so from its beginning on, when it is long (page_cache.py).
    """

    def __init__(self, path: Path, *, leaves_cache: bool) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        self._leaves_cache = leaves_cache
        self._written = 0
        self._next_step = _STEP_BYTES

    def write(self, data: bytes | memoryview) -> None:
        """Writes all of it."""
        view = memoryview(data)
        while view:
            count = os.write(self.descriptor, view)
            self._written += count
            view = view[count:]
        if self._leaves_cache and self._written >= self._next_step:
            self._next_step = self._written + _STEP_BYTES
            forget_far_behind(self.descriptor, self._written)

    def close(self) -> None:
        """To be called in any case."""
        os.close(self.descriptor)
