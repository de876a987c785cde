"""Small blobs in a database of their own, appended: many to one commit, no file for each."""

import sqlite3
from asyncio import Future
from collections.abc import Iterable, Mapping, Sequence

from reapi.core.database import Database

from .interface import InlineBlob

MIGRATIONS = (
    "CREATE TABLE inline (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    """
    ALTER TABLE inline ADD COLUMN function INTEGER NOT NULL DEFAULT 1;
    CREATE TABLE sequence (next INTEGER NOT NULL);
    INSERT INTO sequence SELECT coalesce(max(id), 0) + 1 FROM inline;
    """,
)
PAGE_SIZE_BYTES = 8192

_IDS_PER_QUERY = 100
_SKIPPED_IDS = 1 << 32


class InlineTable:
    """Bytes by number. Numbers rise, whoever writes, and none is given twice."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.path = database.path

    def add(self, blobs: Mapping[bytes, bytes]) -> "Future[range]":
        """The numbers of blobs by index key, in order, once they are durable."""

        def operation(connection: sqlite3.Connection) -> range:
            ((after,),) = connection.execute(
                "UPDATE sequence SET next = next + ? RETURNING next", (len(blobs),)
            ).fetchall()
            ids = range(after - len(blobs), after)
            connection.executemany(
                "INSERT INTO inline (id, function, data) VALUES (?, ?, ?)",
                [
                    (number, key[0], data)
                    for number, (key, data) in zip(ids, blobs.items(), strict=True)
                ],
            )
            return ids

        return self._database.write(operation)

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

    async def skip_ids(self) -> None:
        """Numbers that a power cut has taken back are not given again: the index may know them.

        Far more are skipped than could be written between two syncs.
        """
        await self._database.write(
            lambda connection: (
                connection.execute("UPDATE sequence SET next = next + ?", (_SKIPPED_IDS,)).rowcount
            )
        )

    def batch(self, after: int) -> list[InlineBlob]:
        """Some of the blobs with higher numbers than `after`, in their order."""
        rows = self._database.read(
            "SELECT id, function, data FROM inline WHERE id > ? ORDER BY id LIMIT ?",
            (after, _IDS_PER_QUERY),
        )
        return [InlineBlob(*row) for row in rows]

    @property
    def next_id(self) -> int:
        """The number that the next blob gets, or a later one does."""
        ((number,),) = self._database.read("SELECT next FROM sequence")
        return int(number)
