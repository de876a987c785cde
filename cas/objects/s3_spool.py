"""Received bytes that wait for their upload: on disk, for a thousand slow streams at once."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reapi.core.digest import Hasher

from .disk_errors import disk_error


class Spool:
    """A file without a name, whose space is used again and again: a ring of `capacity_bytes`.

    Positions count all bytes ever written. Blocks: for threads, one reader and one writer. The
    caller knows how much is in it and writes no more than fits.
    """

    def __init__(self, directory: Path, capacity_bytes: int) -> None:
        self._directory = directory
        self._capacity = capacity_bytes
        self._descriptor = -1
        try:
            self._descriptor, path = tempfile.mkstemp(dir=directory)
            os.unlink(path)
        except OSError as error:
            raise disk_error(error, directory) from error

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def write(
        self, position: int, chunks: Sequence[bytes | memoryview], hasher: Hasher | None
    ) -> None:
        """Hashes the chunks and writes them; raises ResourceExhausted when the disk is full."""
        for chunk in chunks:
            if hasher is not None:
                hasher.update(chunk)
            view = memoryview(chunk)
            while view:
                offset = position % self._capacity
                fits = view[: self._capacity - offset]
                try:
                    written = os.pwrite(self._descriptor, fits, offset)
                except OSError as error:
                    raise disk_error(error, self._directory) from error
                view = view[written:]
                position += written

    def read(self, position: int, target: memoryview) -> None:
        """Fills `target` with what was written from `position` on."""
        while target:
            offset = position % self._capacity
            try:
                count = os.preadv(self._descriptor, [target[: self._capacity - offset]], offset)
            except OSError as error:
                raise disk_error(error, self._directory) from error
            if count == 0:
                raise EOFError(f"the spool in {self._directory} has lost bytes")
            target = target[count:]
            position += count

    def clear(self) -> None:
        """Gives the space back. The file is closed when the last user lets go of it, which may be
        a thread that still reads.
        """
        os.ftruncate(self._descriptor, 0)
