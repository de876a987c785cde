"""Digests of local files, remembered by what stat says of them, so that nothing is hashed twice."""

import os
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from reapi.core.digest import SHA256, Digest, DigestFunction

_CHUNK_BYTES = 1 << 20
_LARGEST_CACHE_BYTES = 512 << 20
UNSETTLED_NS = 2_000_000_000
"""What changed later than this ago may change again without its timestamps telling."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS {table} (
    directory TEXT NOT NULL, name TEXT NOT NULL,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER, hash BLOB,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID
"""
"""One table per digest function: a file may have a digest of each."""

_Stamp = tuple[int, int, int, int]


def default_cache_path() -> Path:
    """Where the digests of this user's files are remembered."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache_home, "reapi", "file-digests.sqlite")


class FileDigests:
    """Hashes files with one function; use it as a context manager, in one thread.

    The cache may be lost, damaged or in use by others at any time: files are hashed then.
    """

    def __init__(self, cache_path: Path | None, function: DigestFunction = SHA256) -> None:
        self.function = function
        self._table = "file" if function is SHA256 else f"file_{function.name.lower()}"
        self._cache_path = cache_path
        self._connection: sqlite3.Connection | None = None
        self._directory = ""
        self._known: dict[str, tuple[_Stamp, str]] = {}
        self._learnt: list[tuple[str, str, int, int, int, int, bytes]] = []
        self._youngest_ns = time.time_ns() - UNSETTLED_NS

    def __enter__(self) -> Self:
        if self._cache_path is not None:
            self._connection = _open(self._cache_path, self._table)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is None:
            return
        try:
            with self._connection:
                self._connection.executemany(
                    f"INSERT OR REPLACE INTO {self._table} VALUES (?, ?, ?, ?, ?, ?, ?)",
                    self._learnt,
                )
        except sqlite3.Error:
            pass  # Another process is writing, or the disk is full: the next run hashes again.
        finally:
            self._connection.close()

    def digest(self, path: str, stat: os.stat_result) -> Digest:
        """The digest of the file at `path`, of which `stat` was just taken; raises OSError."""
        directory, name = os.path.split(path)
        if directory != self._directory:
            self._directory, self._known = directory, self._load(directory)
        stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            return Digest(known[1], stat.st_size, self.function)
        digest = hash_file(path, self.function)
        is_settled = max(stat.st_mtime_ns, stat.st_ctime_ns) < self._youngest_ns
        if self._connection and is_settled and digest.size_bytes == stat.st_size:
            self._learnt.append((directory, name, *stamp, bytes.fromhex(digest.hash)))
        return digest

    def _load(self, directory: str) -> dict[str, tuple[_Stamp, str]]:
        if self._connection is None:
            return {}
        try:
            rows = self._connection.execute(
                "SELECT name, size, mtime_ns, ctime_ns, inode, hash "
                f"FROM {self._table} WHERE directory = ?",
                (directory,),
            ).fetchall()
        except sqlite3.Error:
            return {}
        return {name: (tuple(stamp), digest.hex()) for name, *stamp, digest in rows}


def _open(path: Path, table: str) -> sqlite3.Connection | None:
    """The cache, made anew when it is damaged or has grown too large; None when that fails."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > _LARGEST_CACHE_BYTES:
                path.unlink()
            connection = sqlite3.connect(path, timeout=1.0)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(_SCHEMA.format(table=table))
            return connection
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError:
            path.unlink(missing_ok=True)
        except OSError:
            return None
    return None


def hash_file(path: str, function: DigestFunction) -> Digest:
    """The digest of what is in a file now; blocks, raises OSError."""
    hasher = function.new()
    size_bytes = 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
            size_bytes += len(chunk)
    return Digest(hasher.hexdigest(), size_bytes, function)
