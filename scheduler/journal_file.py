"""The journal as a file of lines, for replays: a snapshot, and the events after it.

The first line says what the file is. In the others tabs separate a word for what follows, the
numbers of the row, and its record, which is JSON and so has neither tabs nor ends of lines in it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from reapi.core.errors import FailedPrecondition, NotFound

from .journal_store import EventRow, Journaled, SnapshotRow

HEAD = "reapi journal 1\n"

_SQLITE_MAGIC = b"SQLite format 3\0"


def snapshot_line(row: SnapshotRow) -> str:
    """A line that can only be the second one."""
    return f"snapshot\t{row.sequence}\t{row.now}\t{row.record}\n"


def event_line(row: EventRow) -> str:
    """A line with an event."""
    return f"event\t{row.sequence}\t{row.record}\n"


def write_journal(path: Path, journaled: Journaled) -> None:
    """Makes a new file of what a store has; raises FileExistsError if there is one."""
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(HEAD)
        if journaled.snapshot is not None:
            file.write(snapshot_line(journaled.snapshot))
        file.writelines(map(event_line, journaled.events))


def read_journal(path: Path) -> Iterator[SnapshotRow | EventRow]:
    """The rows of a file of lines, of all files of a folder in their order, or of a scheduler.db.

    A server may be writing meanwhile: a last line that is not complete is left out. Raises NotFound
    when there is nothing at `path`, FailedPrecondition when that is no journal.
    """
    if path.is_dir():
        files = sorted(path.glob("*.journal"))
        if not files:
            raise NotFound(f"{path} has no *.journal in it")
        for file in files:
            yield from _read_file(file)
    else:
        yield from _read_file(path)


def _read_file(path: Path) -> Iterator[SnapshotRow | EventRow]:
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_MAGIC))
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path}") from error
    except OSError as error:
        raise FailedPrecondition(f"cannot read {path}: {error}") from error
    if head == _SQLITE_MAGIC:
        return _read_database(path)
    if head != HEAD.encode():
        raise FailedPrecondition(f"{path} is no journal: neither a scheduler.db nor an export")
    return _read_lines(path)


def _read_lines(path: Path) -> Iterator[SnapshotRow | EventRow]:
    number = 1
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            next(file)
            for line in file:
                number += 1
                if line.endswith("\n"):
                    yield _row(line[:-1])
    except ValueError as error:
        raise FailedPrecondition(f"{path}, line {number}: {error}") from error


def _row(line: str) -> SnapshotRow | EventRow:
    word, rest = line.split("\t", 1)
    if word == "event":
        sequence, record = rest.split("\t", 1)
        return EventRow(int(sequence), record)
    if word == "snapshot":
        sequence, now, record = rest.split("\t", 2)
        return SnapshotRow(int(sequence), int(now), record)
    raise ValueError(f"unknown word {word[:40]!r}")


def _read_database(path: Path) -> Iterator[SnapshotRow | EventRow]:
    """Changes nothing, not even the version of the file."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("BEGIN")
            for row in database.execute("SELECT sequence, now, record FROM snapshot"):
                yield SnapshotRow(*row)
            rows = database.execute(
                "SELECT sequence, record FROM events"
                " WHERE sequence > (SELECT coalesce(max(sequence), 0) FROM snapshot)"
                " ORDER BY sequence"
            )
            for row in rows:
                yield EventRow(*row)
    except sqlite3.Error as error:
        raise FailedPrecondition(f"cannot read {path}: {error}") from error
