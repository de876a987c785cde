"""The file of an object that is being written."""

import errno
import fcntl
import mmap
import os
from pathlib import Path

BUFFER_BYTES = 1 << 20


class IncomingFile:
    """A new file, written from its beginning to its end. Blocks; raises OSError.

    One that is `direct` goes past the page cache in full buffers (O_DIRECT), where its file system
    can do that: it costs a buffer of 1 MiB, and next to nothing is left to be synced at the end.
    """

    def __init__(self, path: Path, *, direct: bool) -> None:
        # At the beginning of a page, as it has to be; made before there is a file to be left open.
        buffer = mmap.mmap(-1, BUFFER_BYTES) if direct else None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        self._buffer = buffer if direct and self._begin_direct() else None
        self._filled = 0

    def write(self, data: bytes | memoryview) -> None:
        """Writes bytes, or keeps them until a buffer is full."""
        view = memoryview(data)
        if self._buffer is None:
            self._write(view)
            return
        while view:
            part = view[: BUFFER_BYTES - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == BUFFER_BYTES:
                self._flush(self._buffer)

    def finish(self) -> None:
        """Writes what was kept."""
        if self._buffer is not None:
            self._end_direct()  # which takes whole blocks only
            self._flush(self._buffer)

    def close(self) -> None:
        """To be called in any case; what was not finished is not whole."""
        os.close(self.descriptor)
        self._buffer = None

    def _flush(self, buffer: mmap.mmap) -> None:
        with memoryview(buffer) as whole, whole[: self._filled] as filled:
            self._write(filled)
        self._filled = 0

    def _write(self, view: memoryview) -> None:
        written = 0
        while written < len(view):
            try:
                written += os.write(self.descriptor, view[written:])
            except OSError as error:
                # A disk that is nearly full takes a part, which need not end with a block.
                if error.errno != errno.EINVAL or not self._end_direct():
                    raise

    def _begin_direct(self) -> bool:
        """Whether the file system lets us."""
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_SETFL, self._flags() | os.O_DIRECT)
        except OSError:
            return False
        return True

    def _end_direct(self) -> bool:
        """Whether it was."""
        flags = self._flags()
        fcntl.fcntl(self.descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        return bool(flags & os.O_DIRECT)

    def _flags(self) -> int:
        return fcntl.fcntl(self.descriptor, fcntl.F_GETFL)
