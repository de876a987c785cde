"""Large blobs as files: published by rename, read in chunks, taken out by rename too.

    blobs/<2 hex>/<hash>-<size>     whole, and hashed before they got this name
    incoming/                       being written or deleted; emptied at start
    quarantine/                     damaged, kept for whoever looks for the cause

Renames run on the event loop's thread, so that for the other tasks a rename and the look into the
index beside it are one step. What moves bytes or frees them is for threads.
"""

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reapi.core.digest import DIGEST_FUNCTIONS, Digest, make_digest
from reapi.core.errors import InvalidArgument, ReapiError, ResourceExhausted, Unavailable

_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))


class Stamp(NamedTuple):
    """What changes when somebody writes to a file, or puts another in its place."""

    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp as of a stat call."""
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class DiskStore:
    """The files of one data directory, which this object alone changes."""

    def __init__(self, data_dir: Path) -> None:
        self._blobs = data_dir / "blobs"
        self._incoming = data_dir / "incoming"
        self._quarantine = data_dir / "quarantine"
        self._numbers = itertools.count()
        shutil.rmtree(self._incoming, ignore_errors=True)
        for directory in (self._blobs, self._incoming, self._quarantine):
            directory.mkdir(parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        """Where the bytes of `digest` are, if they are here."""
        name = f"{digest.hash}-{digest.size_bytes}"
        return self._blobs / digest.function.segment / digest.hash[:2] / name

    def new_incoming(self) -> Path:
        """A name that nothing has yet, on the file system where blobs are published."""
        return self._incoming / str(next(self._numbers))

    def publish(self, incoming: Path, digest: Digest) -> Stamp:
        """Gives a file that was verified its name, in place of one that has it."""
        path = self.path(digest)
        try:
            try:
                incoming.rename(path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                incoming.rename(path)
            return stamp_of(path.stat())
        except OSError as error:
            raise disk_error(error, path) from error

    def withdraw(self, digest: Digest) -> Path | None:
        """Takes the file away; the caller unlinks what is returned. None when there is none."""
        withdrawn = self.new_incoming()
        try:
            self.path(digest).rename(withdrawn)
        except FileNotFoundError:
            return None
        return withdrawn

    def quarantine_file(self, digest: Digest, stamp: Stamp | None) -> bool:
        """Moves the damaged file away, unless another has taken its place.

        `stamp` None means that there was none. Says whether there is no file of that name now.
        """
        path = self.path(digest)
        try:
            if stamp is None or path.stat().st_ino != stamp.inode:
                return not path.exists()
            path.rename(self._quarantine / path.name)
        except FileNotFoundError:
            pass
        return True

    def quarantine_bytes(self, digest: Digest, data: bytes) -> None:
        """Keeps damaged bytes that were no file of their own. Blocks."""
        (self._quarantine / self.path(digest).name).write_bytes(data)

    def free_bytes(self) -> int:
        """What the file system has left for us."""
        status = os.statvfs(self._incoming)
        return status.f_bavail * status.f_frsize

    def digests(self) -> Iterator[Digest]:
        """Of all files, in no order. Blocks, and takes long."""
        for function in DIGEST_FUNCTIONS:
            for path in (self._blobs / function.segment).glob("[0-9a-f][0-9a-f]/*"):
                hash_text, _, size = path.name.partition("-")
                try:
                    yield make_digest(hash_text, int(size), function)
                except (ValueError, InvalidArgument):
                    continue  # not a name that this program gave


def disk_error(error: OSError, path: Path) -> ReapiError:
    """What to tell callers about a failed write; raise it from `error`."""
    if error.errno in _NO_ROOM:
        return ResourceExhausted("no space left on the disk of the store", retry_after_seconds=30)
    return Unavailable(f"the store cannot write {path.name}: {error.strerror}")
