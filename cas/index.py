"""The index: one row per blob, and the truth about what is present.

Rows say where the bytes are; bytes are always written before their row and deleted after it.
"""

import sqlite3
from asyncio import Future
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from reapi.core.database import Database
from reapi.core.digest import DIGEST_FUNCTIONS, Digest

from .presence import HashFilter

MIGRATIONS = (
    """
    CREATE TABLE blob (
        key BLOB PRIMARY KEY,
        size INTEGER NOT NULL,
        inline_id INTEGER,
        used INTEGER NOT NULL,
        stored INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE deleting (
        key BLOB PRIMARY KEY,
        size INTEGER NOT NULL,
        inline_id INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE total (bytes INTEGER NOT NULL);
    INSERT INTO total VALUES (0);
    CREATE TABLE run (closed_cleanly INTEGER NOT NULL);
    INSERT INTO run VALUES (1);
    """,
)
PAGE_SIZE_BYTES = 1024
"""Keys are random, so a commit writes one page per new row: small pages make short commits."""

_KEYS_PER_QUERY = 100


class Entry(NamedTuple):
    """Where a blob is: `inline_id` None means a file. `used` is the stamp of its last touch."""

    key: bytes
    size: int
    inline_id: int | None
    used: int


class Marked(NamedTuple):
    """A blob that has left the index and whose bytes are to be deleted."""

    key: bytes
    size: int
    inline_id: int | None


class BlobIndex:
    """Queries and changes of the rows. A change is durable when its future is done."""

    def __init__(self, database: Database, hash_filter: HashFilter) -> None:
        self._database = database
        self._filter = hash_filter

    @property
    def total_bytes(self) -> int:
        """Of all blobs with a row."""
        ((total,),) = self._database.read("SELECT bytes FROM total")
        return int(total)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The rows that exist. Takes about 3 us a key."""
        return _find(self._database.read, self._filter.possible_keys(keys))

    def add(self, entries: Sequence[Entry], stored: int) -> "Future[list[Entry]]":
        """Adds rows; those whose key is there already are only touched, and returned."""
        possible = self._filter.possible_keys(entry.key for entry in entries)
        self._filter.add_keys(entry.key for entry in entries)

        def operation(connection: sqlite3.Connection) -> list[Entry]:
            present = _find(_reader(connection), possible)
            fresh = [entry for entry in entries if entry.key not in present]
            connection.executemany(
                "INSERT INTO blob VALUES (?, ?, ?, ?, ?)", [(*entry, stored) for entry in fresh]
            )
            _add_to_total(connection, sum(entry.size for entry in fresh))
            if not present:
                return []
            _touch(connection, list(present), max(entry.used for entry in entries))
            return [entry for entry in entries if entry.key in present]

        return self._database.write(operation)

    def touch(self, keys: Sequence[bytes], used: int) -> "Future[bool]":
        """Renews the promise for rows; False when one of them has gone meanwhile."""

        def operation(connection: sqlite3.Connection) -> bool:
            return _touch(connection, keys, used) == len(keys)

        return self._database.write(operation)

    def remove(self, entry: Entry) -> "Future[None]":
        """Takes out a row whose bytes are no good, unless it says something else by now."""

        def operation(connection: sqlite3.Connection) -> None:
            removed = connection.execute(
                "DELETE FROM blob WHERE key = ? AND inline_id IS ?", (entry.key, entry.inline_id)
            ).rowcount
            if removed:
                _add_to_total(connection, -entry.size)

        return self._database.write(operation)

    def mark(self, keys: Iterable[bytes], last_stamp: int) -> "Future[list[Marked]]":
        """Takes rows out whose bytes shall be deleted, and remembers them until `unmark`.

        Rows that were touched after `last_stamp` stay, since the caller may have chosen them before
        that.
        """

        def operation(connection: sqlite3.Connection) -> list[Marked]:
            marked = []
            for key in keys:
                row = connection.execute(
                    "DELETE FROM blob WHERE key = ? AND used <= ? RETURNING key, size, inline_id",
                    (key, last_stamp),
                ).fetchone()
                if row is not None:
                    marked.append(Marked(*row))
            connection.executemany("INSERT OR REPLACE INTO deleting VALUES (?, ?, ?)", marked)
            _add_to_total(connection, -sum(one.size for one in marked))
            return marked

        return self._database.write(operation)

    def marked(self) -> list[Marked]:
        """What `mark` took out and `unmark` has not been told of: at most one batch of eviction."""
        rows = self._database.read("SELECT key, size, inline_id FROM deleting")
        return [Marked(*row) for row in rows]

    def unmark(self, marked: Sequence[Marked]) -> "Future[None]":
        """Their bytes are gone."""

        def operation(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "DELETE FROM deleting WHERE key = ?", [(one.key,) for one in marked]
            )

        return self._database.write(operation)

    def begin_run(self) -> "Future[bool]":
        """Says whether the last run ended by `end_run`; this one has not, from now on."""

        def operation(connection: sqlite3.Connection) -> bool:
            ((clean,),) = connection.execute("SELECT closed_cleanly FROM run").fetchall()
            connection.execute("UPDATE run SET closed_cleanly = 0")
            return bool(clean)

        return self._database.write(operation)

    def end_run(self) -> "Future[None]":
        """Nothing is half-done: the next start need not look for leftovers."""

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE run SET closed_cleanly = 1")

        return self._database.write(operation)


Read = Callable[[str, Sequence[bytes]], list[Any]]


def _reader(connection: sqlite3.Connection) -> Read:
    return lambda sql, parameters: connection.execute(sql, parameters).fetchall()


def _find(read: Read, keys: Sequence[bytes]) -> dict[bytes, Entry]:
    found = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        some = keys[start : start + _KEYS_PER_QUERY]
        places = ",".join("?" * len(some))
        sql = f"SELECT key, size, inline_id, used FROM blob WHERE key IN ({places})"
        for row in read(sql, some):
            found[row[0]] = Entry(*row)
    return found


def _touch(connection: sqlite3.Connection, keys: Sequence[bytes], used: int) -> int:
    return connection.executemany(
        "UPDATE blob SET used = max(used, ?) WHERE key = ?", [(used, key) for key in keys]
    ).rowcount


def _add_to_total(connection: sqlite3.Connection, size: int) -> None:
    if size:
        connection.execute("UPDATE total SET bytes = bytes + ?", (size,))


_FUNCTIONS_BY_NUMBER = {function.number: function for function in DIGEST_FUNCTIONS}


def digest_of_key(key: bytes, size_bytes: int) -> Digest:
    """The digest whose `key` this is."""
    return Digest(key[1:].hex(), size_bytes, _FUNCTIONS_BY_NUMBER[key[0]])
