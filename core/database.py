"""SQLite under asyncio: synchronous reads, group commit, checkpoints beside the event loop.

Reads and commits run on the event loop's own thread. In WAL mode neither waits for the disk: a
read is some microseconds out of the page cache, a commit is one write() to the WAL, and all writes
of one loop iteration share it, or of several where that is wanted. A thread would cost more than
the work, and every row would fight for the interpreter lock. What does wait for the disk, the
checkpoint, runs in a thread.

Several processes may have one file open: each sees what the others have committed, and while one
commits, the writes of the others wait without holding up their event loops.

Committed means safe from the end of the process at any moment. After a power cut the last seconds
may be missing unless `survives_power_loss`; the file itself stays consistent.
"""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from .errors import DataLoss, FailedPrecondition, ResourceExhausted, Unavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], T]

_CHECKPOINT_WAL_BYTES = 64 << 20
_CACHE_KIB = 64 << 10
_LARGEST_WALS = 4
"""Of the size at which a checkpoint is due: a WAL that is larger makes writes wait for it."""
_MAPPED_BYTES = 64 << 30
"""Of the file, read without copies; the pages belong to the kernel, which takes them back."""
_CLOSE_SECONDS = 0.001
"""Commits that are no further apart are worth gathering: each costs more than what it writes."""
_GATHERING_SECONDS = 0.002
"""No commit is put off for longer, however long the turns of a busy event loop are."""
_RETRY_SECONDS = 0.001
"""SQLite tells nobody when another process has committed."""
_BUSY_MILLISECONDS = 1
"""How long SQLite itself may wait, on the event loop."""
_LONGEST_WAIT_SECONDS = 30.0
_CHECKPOINT_WAIT_SECONDS = 0.2


class _Busy(Exception):
    """Another process is writing."""


class Database:
    """One SQLite file. Use it as an async context manager; not for use from other threads.

    `migrations` are scripts, oldest first; the file remembers how many it has seen. A file made by
    a newer version is refused. After an error of the disk while syncing, nothing is written any
    more: what the kernel has dropped cannot be synced again. A file that `is_mapped` is read out of
    the kernel's memory, three times as fast for random keys of a large file; a disk that cannot
    read ends the process then. A commit that follows closely on another one waits for company for
    `gathering_turns` of the event loop, which take nothing while nobody calls.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[str],
        *,
        page_size_bytes: int = 4096,
        survives_power_loss: bool = False,
        is_mapped: bool = False,
        gathering_turns: int = 0,
    ) -> None:
        self.path = path
        self._migrations = migrations
        self._page_size_bytes = page_size_bytes
        self._mapped_bytes = _MAPPED_BYTES if is_mapped else 0
        self._synchronous = "FULL" if survives_power_loss else "NORMAL"
        self._gathering_turns = gathering_turns
        self._flushed_at = 0.0
        self._connection: sqlite3.Connection
        self._pending: list[tuple[Write[Any], asyncio.Future[Any]]] = []
        self._flush_scheduled = False
        self._paused = False
        self._is_full = False
        self._waiting_since: float | None = None
        self._failure: Unavailable | None = None
        self._checkpoint: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = _connect(
            self.path, self._page_size_bytes, self._synchronous, self._mapped_bytes
        )
        self._wal_path = f"{self.path}-wal"
        self._migrate()
        self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._pending:
            await asyncio.wait([future for _, future in self._pending])
        if self._checkpoint is not None:
            await self._checkpoint
        self._connection.close()

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, at once. Bound what it can return.

        Raises DataLoss when the file is damaged, Unavailable when the disk fails.
        """
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    def write(self, operation: Write[T]) -> "asyncio.Future[T]":
        """Runs `operation` in the next commit; await the future for its result, then durable.

        Operations run in the order of the calls, and no other process writes meanwhile. One that
        raises is undone alone, and its future has the error; a full disk is ResourceExhausted.
        Cancelling the future does not undo.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending.append((operation, future))
        self._schedule_flush(0)
        return future

    def _schedule_flush(self, delay: float) -> None:
        if self._flush_scheduled:
            return
        self._flush_scheduled = True
        loop = asyncio.get_running_loop()
        if delay:
            loop.call_later(delay, self._flush)
        elif time.monotonic() - self._flushed_at < _CLOSE_SECONDS:
            deadline = time.monotonic() + _GATHERING_SECONDS
            loop.call_soon(self._gather, self._gathering_turns, deadline)
        else:
            loop.call_soon(self._flush)

    def _gather(self, turns: int, deadline: float) -> None:
        """Commits what has come when so many turns are over, or the deadline is."""
        if turns and time.monotonic() < deadline:
            asyncio.get_running_loop().call_soon(self._gather, turns - 1, deadline)
        else:
            self._flush()

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._paused or not self._pending:
            return
        pending, self._pending = self._pending, []
        try:
            results = self._commit(pending)
        except _Busy:
            if self._may_wait():
                self._pending = pending + self._pending
                self._schedule_flush(_RETRY_SECONDS)
                return
            results = [Unavailable(f"another process keeps {self.path} locked")] * len(pending)
        except Exception:
            # One of them is to blame, or the disk: each for itself now.
            results = [self._commit_alone(one) for one in pending]
        self._waiting_since = None
        for (_, future), result in zip(pending, results, strict=True):
            if future.cancelled():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._checkpoint_if_due()
        self._flushed_at = time.monotonic()

    def _may_wait(self) -> bool:
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since < _LONGEST_WAIT_SECONDS

    def _commit(self, operations: Sequence[tuple[Write[Any], Any]]) -> list[Any]:
        if self._failure is not None:
            raise self._failure
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise _Busy from error
            raise
        try:
            results = [operation(connection) for operation, _ in operations]
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._note_failure(error)
            raise
        return results

    def _note_failure(self, error: BaseException) -> None:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_IOERR_FSYNC and self._failure is None:
            logger.critical("cannot sync %s: nothing is written any more", self.path)
            self._failure = Unavailable(f"the disk of {self.path} failed while syncing")
        elif code == sqlite3.SQLITE_FULL:
            self._is_full = True

    def _commit_alone(self, one: tuple[Write[Any], Any]) -> Any:
        try:
            return self._commit([one])[0]
        except _Busy:
            return Unavailable(f"another process keeps {self.path} locked")
        except sqlite3.Error as error:
            return _translated(error, self.path)
        except Exception as error:
            return error

    def _checkpoint_if_due(self) -> None:
        if self._failure is not None:
            return
        wal_bytes = os.stat(self._wal_path).st_size
        if self._checkpoint is not None and not self._checkpoint.done():
            # Writes wait for a checkpoint that does not catch up with them.
            self._paused = self._paused or wal_bytes > _LARGEST_WALS * _CHECKPOINT_WAL_BYTES
        # On a full disk a WAL that starts over is room for the deletions that make room.
        elif self._is_full or wal_bytes > _CHECKPOINT_WAL_BYTES:
            self._is_full = False
            self._checkpoint = asyncio.create_task(self._run_checkpoint())

    async def _run_checkpoint(self) -> None:
        """Moves the WAL into the file: most of it while writes go on, the rest while they wait.

        Only a WAL that is wholly checkpointed starts over, and under steady writes it never would.
        """
        try:
            await asyncio.to_thread(_checkpoint, self.path, "PASSIVE")
            self._paused = True
            await asyncio.to_thread(_checkpoint, self.path, "RESTART")
        except sqlite3.Error as error:
            # Nothing is lost: the WAL holds it all, and the next commit tries again, unless it was
            # a sync: to try that again would seem to work.
            logger.exception("cannot checkpoint %s", self.path)
            self._note_failure(error)
        finally:
            self._paused = False
            self._schedule_flush(0)

    def _migrate(self) -> None:
        connection = self._connection
        ((version,),) = self.read("PRAGMA user_version")
        if version > len(self._migrations):
            raise FailedPrecondition(
                f"{self.path} was written by a newer version of this program (schema {version}; "
                f"this one knows up to {len(self._migrations)}): use that one, or another data_dir"
            )
        for number, script in enumerate(self._migrations[version:], start=version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT"
            )


def _connect(
    path: Path, page_size_bytes: int, synchronous: str, mapped_bytes: int
) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_LONGEST_WAIT_SECONDS
        )
        connection.execute(f"PRAGMA page_size = {page_size_bytes}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # A WAL that starts over is cut to this size and no further: blocks that are there already
        # are cheap to write, and only a WAL that is due for a checkpoint is ever larger.
        connection.execute(f"PRAGMA journal_size_limit = {_CHECKPOINT_WAL_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA mmap_size = {mapped_bytes}")
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    return connection


def _checkpoint(path: Path, mode: str) -> None:
    """Blocks. Another process that is at it already does the work for us."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=_CHECKPOINT_WAIT_SECONDS)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
    finally:
        connection.close()


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        damaged = DataLoss(f"{path} is damaged ({error}): see `reapi-server storage --help`")
        damaged.__cause__ = error
        return damaged
    if code == sqlite3.SQLITE_FULL:
        translated: Exception = ResourceExhausted(f"no space left on the disk of {path}")
    elif isinstance(error, sqlite3.OperationalError):
        translated = Unavailable(f"cannot use {path}: {error}")
    else:
        return error
    translated.__cause__ = error
    return translated
