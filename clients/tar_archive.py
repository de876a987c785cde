"""Reads tar archives, compressed or not, member by member; nothing is written where names say."""

import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import IO, Any, BinaryIO, cast

from reapi.core.compression import decompressed_file
from reapi.core.errors import FailedPrecondition, InvalidArgument, ResourceExhausted

from .file_section import FileSection

LARGEST_ARCHIVE_BYTES = 256 << 30
"""Of one archive, decompressed."""

_CHUNK_BYTES = 1 << 20
_END_BYTES = 512

_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def decompressed(
    archive: FileSection, scratch: ExitStack, is_stopped: Callable[[], bool]
) -> FileSection:
    """The archive itself if it is not compressed, else its plain bytes in a temporary file.

    Reads gzip, bzip2, xz and zstd. The file is without a name and goes with `scratch`. Raises
    InvalidArgument for a damaged archive, ResourceExhausted for one that has no place.
    """
    chunks = _chunks(archive)
    if chunks is None:
        return archive
    file = scratch.enter_context(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 closed by it
    size_bytes = 0
    try:
        for chunk in chunks:
            size_bytes += len(chunk)
            _check(size_bytes, archive.name, is_stopped)
            _write(file, chunk)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InvalidArgument(f"{archive.name} cannot be decompressed: {error}") from error
    except OSError as error:
        if error.errno is None:  # what bz2 raises for bad data
            raise InvalidArgument(f"{archive.name} cannot be decompressed: {error}") from error
        raise ResourceExhausted(
            f"{archive.name} cannot be decompressed in {tempfile.gettempdir()}: {error}; "
            "set TMPDIR to a place with more room"
        ) from error
    return FileSection(cast(IO[bytes], file), archive.name, 0, size_bytes)


def members(archive: FileSection) -> Iterator[tarfile.TarInfo]:
    """The members in the order of the archive, with `offset_data` from the start of `archive`.

    Raises InvalidArgument for what is no tar archive and for one that is damaged or cut short.
    """
    try:
        with tarfile.open(fileobj=cast(BinaryIO, archive.open()), mode="r:") as tar:
            while (member := tar.next()) is not None:
                yield member
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
            end = tar.offset
    except (tarfile.TarError, OSError, ValueError) as error:
        raise InvalidArgument(f"{archive.name} is not a tar archive: {error}") from error
    if any(archive.read(end, _END_BYTES)) or end + _END_BYTES > archive.size_bytes:
        raise InvalidArgument(f"{archive.name} is damaged or cut short {end} bytes from its start")


def _chunks(archive: FileSection) -> Iterator[bytes] | None:
    magic = archive.read(0, 6)
    file = archive.open()
    if magic.startswith(_ZSTD_MAGIC):
        return decompressed_file(cast(BinaryIO, file))
    for start, opened in _DECOMPRESSORS.items():
        if magic.startswith(start):
            plain = opened(file)
            return iter(partial(plain.read, _CHUNK_BYTES), b"")
    return None


def _check(size_bytes: int, name: str, is_stopped: Callable[[], bool]) -> None:
    if size_bytes > LARGEST_ARCHIVE_BYTES:
        raise InvalidArgument(f"{name} holds more than {LARGEST_ARCHIVE_BYTES} bytes")
    if is_stopped():
        raise FailedPrecondition("the import was given up")


def _write(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file.fileno(), view) :]
