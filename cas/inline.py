"""Small blobs in a database of their own, appended: many to one commit, no file for each."""

import sqlite3
from asyncio import Future
from collections.abc import Iterable, Sequence

from reapi.core.database import Database

MIGRATIONS = ("CREATE TABLE inline (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",)
PAGE_SIZE_BYTES = 8192

_IDS_PER_QUERY = 100


class InlineStore:
    """Bytes by number. Numbers rise and are never used again while this object lives."""

    def __init__(self, database: Database) -> None:
        self._database = database
        ((last,),) = database.read("SELECT coalesce(max(id), 0) FROM inline")
        self._last_id = int(last)

    @property
    def last_id(self) -> int:
        """The highest number given out so far."""
        return self._last_id

    def add(self, blobs: Sequence[bytes]) -> "tuple[range, Future[None]]":
        """Their numbers, in order, and the future of their commit."""
        ids = range(self._last_id + 1, self._last_id + 1 + len(blobs))
        self._last_id += len(blobs)

        def operation(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO inline VALUES (?, ?)", list(zip(ids, blobs, strict=True))
            )

        return ids, self._database.write(operation)

    def read(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Those that exist. Not verified: the disk may have changed them."""
        found: dict[int, bytes] = {}
        for start in range(0, len(ids), _IDS_PER_QUERY):
            some = ids[start : start + _IDS_PER_QUERY]
            places = ",".join("?" * len(some))
            sql = f"SELECT id, data FROM inline WHERE id IN ({places})"
            found.update(self._database.read(sql, some))
        return found

    def delete(self, ids: Iterable[int]) -> "Future[None]":
        """Their room is used for later blobs; the file does not shrink."""

        def operation(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM inline WHERE id = ?", [(one,) for one in ids])

        return self._database.write(operation)
