"""Keeps what the journal forgets: the events of the last hours or days, in files for replays."""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Self, TextIO

from .journal_file import HEAD, event_line, snapshot_line
from .journal_store import EventRow, FinishedRow, Journaled, JournalStore, SnapshotRow

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 1.0


class RecordedJournal:
    """A JournalStore that writes the events to files too. Use it as an async context manager.

    Each file begins with a snapshot, so it can be replayed alone; a new one begins whenever the
    journal is folded. The oldest are deleted beyond `max_size_bytes`, which does not count the one
    that is being written. Recording is for people: the last second may be missing after a crash,
    and a disk that fails ends it until the next file, and nothing else.
    """

    def __init__(self, inner: JournalStore, directory: Path, max_size_bytes: int) -> None:
        self._inner = inner
        self._directory = directory
        self._max_size_bytes = max_size_bytes
        self._file: TextIO | None = None
        self._flush: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    @property
    def place(self) -> str:
        return self._inner.place

    def check(self) -> None:
        self._inner.check()

    async def load(self) -> Journaled:
        journaled = await self._inner.load()
        self._begin(journaled.snapshot, journaled.events)
        return journaled

    def append(self, row: EventRow) -> None:
        self._inner.append(row)
        self._write([event_line(row)])

    def finish(self, row: FinishedRow) -> None:
        self._inner.finish(row)

    def amend(self, name: str, operation: bytes) -> None:
        self._inner.amend(name, operation)

    def expire(self, finished_before: int, last_number: int) -> None:
        self._inner.expire(finished_before, last_number)

    def fold(self, row: SnapshotRow) -> None:
        self._inner.fold(row)
        self._begin(row, ())

    def commit(self) -> "asyncio.Future[None]":
        return self._inner.commit()

    async def finished(self, name: str, after: int) -> bytes | None:
        return await self._inner.finished(name, after)

    async def list_finished(
        self, instance_name: str | None, name: str, after: int, limit: int
    ) -> list[tuple[str, bytes]]:
        return await self._inner.list_finished(instance_name, name, after, limit)

    # Files

    def _begin(self, snapshot: SnapshotRow | None, events: Iterable[EventRow]) -> None:
        """Begins a file. After a restart that is the last one, written anew from the journal."""
        self._close()
        sequence = 0 if snapshot is None else snapshot.sequence
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._expire()
            path = self._directory / f"from-{sequence:015d}.journal"
            self._file = path.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            self._give_up(error)
            return
        self._write([HEAD] if snapshot is None else [HEAD, snapshot_line(snapshot)])
        self._write(map(event_line, events))

    def _expire(self) -> None:
        files = [(file.stat(), file) for file in self._directory.glob("*.journal")]
        files.sort(key=lambda one: one[0].st_mtime_ns)
        excess = sum(status.st_size for status, _ in files) - self._max_size_bytes
        for status, file in files:
            if excess <= 0:
                return
            file.unlink()
            excess -= status.st_size

    def _write(self, lines: Iterable[str]) -> None:
        if self._file is None:
            return
        try:
            self._file.writelines(lines)
        except OSError as error:
            self._give_up(error)
            return
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        logger.warning("events are not recorded in %s for now: %s", self._directory, error)
        self._close()

    def _close(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                logger.warning("the end of the record in %s is lost: %s", self._directory, error)
