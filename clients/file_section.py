"""A part of an open file, to be read like a file of its own."""

import io
import os
from typing import IO, Any

_LARGEST_READ_BYTES = 16 << 20


class FileSection:
    """`size_bytes` bytes of an open file from `offset` on; `name` is for messages.

    Reading moves no position of the file, so that any thread may do it. Whoever opened the file
    closes it; reading fails then.
    """

    __slots__ = ("_file", "name", "offset", "size_bytes")

    def __init__(self, file: IO[bytes], name: str, offset: int, size_bytes: int) -> None:
        self._file = file
        self.name = name
        self.offset = offset
        self.size_bytes = size_bytes

    def part(self, name: str, offset: int, size_bytes: int) -> "FileSection":
        """A part of this one, which may end before `size_bytes` where this one ends."""
        room = max(0, self.size_bytes - offset)
        return FileSection(self._file, name, self.offset + offset, min(size_bytes, room))

    def read(self, position: int, size: int) -> bytes:
        """Up to `size` bytes at `position` from the start; fewer only at the end."""
        size = min(size, self.size_bytes - position)
        return os.pread(self._file.fileno(), size, self.offset + position) if size > 0 else b""

    def open(self) -> io.RawIOBase:
        """A file object of its own, at the start of the section."""
        return _Reader(self)


class _Reader(io.RawIOBase):
    def __init__(self, section: FileSection) -> None:
        self._section = section
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self._position, self._section.size_bytes)[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Refuses to take much memory at once: some formats say how much it is to be."""
        left = max(0, self._section.size_bytes - self._position)
        wanted = left if size < 0 else min(size, left)
        if wanted > _LARGEST_READ_BYTES:
            raise OSError(f"{self._section.name} asks for {wanted} bytes at once")
        data = self._section.read(self._position, wanted)
        self._position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self.read(min(len(view), _LARGEST_READ_BYTES))
        view[: len(data)] = data
        return len(data)
