"""Outputs at their places: written beside them and renamed, so that nobody sees half a file."""

import os
import secrets
from contextlib import suppress

_CHUNK_BYTES = 64 << 20


def deliver_file(source: str, target: str, *, umask: int, mode: int = 0o666) -> None:
    """Makes `target` a copy of `source`, sharing its blocks where the file system can.

    Blocks; raises OSError, and then the target is as it was.
    """
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _Beside(target, mode & ~umask) as beside:
            copy(fd, beside.fd)
    finally:
        os.close(fd)


def deliver_bytes(data: bytes, target: str, *, umask: int, mode: int = 0o666) -> None:
    """As `deliver_file`, of bytes in memory."""
    with _Beside(target, mode & ~umask) as beside:
        write_all(beside.fd, data)


def copy(source: int, target: int) -> None:
    """Copies what is left of one open file to another."""
    try:
        while os.copy_file_range(source, target, _CHUNK_BYTES):
            pass
    except OSError:  # not between these two file systems
        while os.sendfile(target, source, None, _CHUNK_BYTES):
            pass


def write_all(fd: int, data: bytes) -> None:
    """Writes bytes to an open file, as many calls as that may take."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _Beside:
    """A new file with the rights that a compiler gives, which gets its name if all went well."""

    def __init__(self, target: str, mode: int) -> None:
        self._target = target
        self._mode = mode
        self._temporary = f"{target}.{secrets.token_hex(4)}.tmp"

    def __enter__(self) -> "_Beside":
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.fd = os.open(self._temporary, flags, self._mode)
        os.fchmod(self.fd, self._mode)  # our own umask is none of the user's
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        os.close(self.fd)
        try:
            if kind is None:
                os.rename(self._temporary, self._target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)
