"""Brings blobs from a store into files, ready to be input files."""

import asyncio
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from reapi.core.digest import Digest
from reapi.core.errors import NotFound, ResourceExhausted
from reapi.core.interfaces import BlobStore

LARGE_BYTES = 1 << 20
"""A blob of this size is streamed, alone; smaller ones come in batches."""

FILE_TIME_NS = 946_684_800_000_000_000
"""The modification time of every input file, 2000-01-01: the same whenever it was fetched, and
older than anything that an action writes."""

_BATCH_BYTES = 3_500_000
_OVERHEAD_BYTES = 200
"""Counted per blob of a batch, so that a batch of tiny ones is bounded, too."""

_INLINE_FILES = 16
_INLINE_BYTES = 256 << 10
"""Writing no more than this takes less time than the way to another thread and back."""


class FetchTarget(NamedTuple):
    """Where the bytes of `digest` go; nothing is at `path` yet."""

    digest: Digest
    path: str
    is_executable: bool


def file_mode(*, is_executable: bool) -> int:
    """The mode of every input file."""
    return 0o555 if is_executable else 0o444


def make_input_file(fd: int, *, is_executable: bool) -> os.stat_result:
    """Gives a file the mode and time of all input files (IN15); returns its status before."""
    mode = file_mode(is_executable=is_executable)
    status = os.fstat(fd)
    if stat.S_IMODE(status.st_mode) != mode:
        os.fchmod(fd, mode)
    os.utime(fd, ns=(FILE_TIME_NS, FILE_TIME_NS))
    return status


def batches(targets: Sequence[FetchTarget]) -> Iterator[list[FetchTarget]]:
    """Cuts `targets` into what one `fetch` takes at once; large blobs stand alone."""
    batch: list[FetchTarget] = []
    batch_bytes = 0
    for target in targets:
        size_bytes = target.digest.size_bytes
        if size_bytes >= LARGE_BYTES:
            yield [target]
            continue
        if batch_bytes + size_bytes > _BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append(target)
        batch_bytes += size_bytes + _OVERHEAD_BYTES
    if batch:
        yield batch


async def fetch(targets: Sequence[FetchTarget], store: BlobStore) -> dict[str, int]:
    """Makes the files of one batch; returns the inode of each by its path, without the absent.

    When it fails or is cancelled, no file is left. Raises ResourceExhausted when the disk is full.
    The bytes need no check: a BlobStore vouches for them.
    """
    try:
        if targets[0].digest.size_bytes >= LARGE_BYTES:
            return await _fetch_large(targets[0], store)
        blobs = await store.read_many([target.digest for target in targets])
        present = [target for target in targets if target.digest in blobs]
        few = len(present) <= _INLINE_FILES
        if few and sum(len(blob) for blob in blobs.values()) <= _INLINE_BYTES:
            return _write_all(present, blobs)
        return await asyncio.to_thread(_write_all, present, blobs)
    except OSError as error:
        raise ResourceExhausted(f"the worker cannot store input files: {error}") from error


def _write_all(targets: Sequence[FetchTarget], blobs: dict[Digest, bytes]) -> dict[str, int]:
    inodes: dict[str, int] = {}
    try:
        for target in targets:
            fd = _create(target)
            inodes[target.path] = 0
            try:
                _write(fd, blobs[target.digest])
                inodes[target.path] = _finish(fd, target)
            finally:
                os.close(fd)
    except BaseException:
        for path in inodes:
            os.unlink(path)
        raise
    return inodes


async def _fetch_large(target: FetchTarget, store: BlobStore) -> dict[str, int]:
    fd = _create(target)
    try:
        async with aclosing(store.read(target.digest)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                _write(fd, chunk)
        return {target.path: _finish(fd, target)}
    except BaseException as error:
        os.unlink(target.path)
        if isinstance(error, NotFound):
            return {}
        raise
    finally:
        os.close(fd)


def _create(target: FetchTarget) -> int:
    mode = file_mode(is_executable=target.is_executable)
    return os.open(target.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _finish(fd: int, target: FetchTarget) -> int:
    return make_input_file(fd, is_executable=target.is_executable).st_ino
