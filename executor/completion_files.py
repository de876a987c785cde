"""Completions on disk: what the scheduler has not acknowledged outlives this process.

One file each: a SHA-256 and the serialized Completion that it is of.
"""

import hashlib
import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import DecodeError

from reapi.core.errors import ResourceExhausted
from reapi.protos.reapi.worker.v1.worker_pb2 import Completion, LeaseKey

_LOG = logging.getLogger(__name__)
_MOST_FILES = 1000
_LARGEST_FILE_BYTES = 64 << 20
_MOST_BYTES = 256 << 20
_LONGEST_AGE_SECONDS = 24 * 3600.0
"""Whoever wanted the result of an older one has long had it from elsewhere, or given up."""

_HASH_BYTES = 32
_UNFINISHED = ".unfinished"


class CompletionFiles:
    """The files in `directory`, which belong to this executor alone. Every call blocks.

    A file is there whole or not at all, also after a loss of power. Threads may call this at once,
    but not for the same lease.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()  # of the sizes, not of the disk

    def load(self) -> list[Completion]:
        """Those of earlier lives, oldest first. What is damaged or of no more use is removed."""
        completions = []
        for path in sorted(self._directory.iterdir(), key=lambda path: path.lstat().st_mtime_ns):
            completion = None if path.suffix == _UNFINISHED else self._read(path)
            if completion is None:
                path.unlink()
            else:
                self._sizes[path.name] = path.stat().st_size
                completions.append(completion)
        return completions

    def write(self, completion: Completion) -> None:
        """Returns when it is on disk; raises ResourceExhausted if there is no room for it."""
        name = _name(completion.key)
        if name in self._sizes:
            return
        data = completion.SerializeToString(deterministic=True)
        self._book(name, _HASH_BYTES + len(data))
        path = self._directory / name
        try:
            _write_durably(path, hashlib.sha256(data).digest() + data)
        except OSError as error:
            with self._lock:
                del self._sizes[name]
            raise ResourceExhausted(f"cannot write {path}: {error}") from error

    def remove(self, key: LeaseKey) -> None:
        """Costs nothing when there is none of that lease."""
        if not self._sizes:
            return
        name = _name(key)
        with self._lock:
            size = self._sizes.pop(name, 0)
        if size:
            (self._directory / name).unlink()

    def _book(self, name: str, size: int) -> None:
        with self._lock:
            if (
                len(self._sizes) >= _MOST_FILES
                or size > _LARGEST_FILE_BYTES
                or size + sum(self._sizes.values()) > _MOST_BYTES
            ):
                raise ResourceExhausted(f"too much is kept in {self._directory}")
            self._sizes[name] = size

    def _read(self, path: Path) -> Completion | None:
        try:
            status = path.stat()
            if time.time() - status.st_mtime > _LONGEST_AGE_SECONDS:
                _LOG.warning("dropping %s: nobody waits for so old a result", path)
                return None
            if status.st_size > _LARGEST_FILE_BYTES:
                raise ValueError(f"it has {status.st_size} bytes")
            content = path.read_bytes()
            stored, data = content[:_HASH_BYTES], content[_HASH_BYTES:]
            if hashlib.sha256(data).digest() != stored:
                raise ValueError("its bytes are not those that were written")
            completion = Completion.FromString(data)
            if _name(completion.key) != path.name:
                raise ValueError("it is of another lease")
        except (OSError, ValueError, DecodeError) as error:
            _LOG.warning("dropping the damaged result %s: %s", path, error)
            return None
        return completion


def _write_durably(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _name(key: LeaseKey) -> str:
    """Epochs of different schedulers may be equal, and names of operations can be long."""
    return hashlib.sha256(f"{key.epoch} {key.operation_name}".encode()).hexdigest()
