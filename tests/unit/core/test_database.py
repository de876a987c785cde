"""Group commit, checkpoints and migrations of SQLite under asyncio."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from reapi.core import database
from reapi.core.database import Database
from reapi.core.errors import DataLoss, FailedPrecondition

MIGRATIONS = ("CREATE TABLE item (id INTEGER PRIMARY KEY, data BLOB)",)


def insert(number: int, data: bytes = b"") -> Any:
    return lambda connection: connection.execute("INSERT INTO item VALUES (?, ?)", (number, data))


def ids(opened: Database) -> list[int]:
    return [row[0] for row in opened.read("SELECT id FROM item ORDER BY id")]


async def test_what_was_written_is_read_back_after_reopening(tmp_path: Path) -> None:
    async with Database(tmp_path / "x.db", MIGRATIONS) as opened:
        await opened.write(insert(1))
        assert ids(opened) == [1]
    async with Database(tmp_path / "x.db", MIGRATIONS) as opened:
        assert ids(opened) == [1]


async def test_writes_of_one_moment_share_a_commit_in_their_order(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def note(number: int) -> Any:
        def operation(connection: sqlite3.Connection) -> int:
            seen.append((number, connection.execute("SELECT count(*) FROM item").fetchone()[0]))
            insert(number)(connection)
            return number

        return operation

    async with Database(tmp_path / "x.db", MIGRATIONS) as opened:
        results = await asyncio.gather(*(opened.write(note(number)) for number in range(5)))
        assert results == list(range(5))
        assert seen == [(number, number) for number in range(5)]


async def test_a_write_is_not_visible_before_its_commit(tmp_path: Path) -> None:
    async with Database(tmp_path / "x.db", MIGRATIONS) as opened:
        future = opened.write(insert(1))
        assert ids(opened) == []
        await future
        assert ids(opened) == [1]


async def test_a_commit_soon_after_another_waits_some_turns_for_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_CLOSE_SECONDS", float("inf"))
    monkeypatch.setattr(database, "_GATHERING_SECONDS", float("inf"))
    async with Database(tmp_path / "x.db", MIGRATIONS, gathering_turns=4) as opened:
        await opened.write(insert(1))
        first = opened.write(insert(2))
        for _ in range(3):
            await asyncio.sleep(0)
        assert ids(opened) == [1]
        last = opened.write(insert(3))
        await first
        assert last.done()
        assert ids(opened) == [1, 2, 3]


@pytest.mark.parametrize("limit", ["_CLOSE_SECONDS", "_GATHERING_SECONDS"])
async def test_a_commit_that_may_not_be_put_off_is_made_in_the_next_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(database, "_CLOSE_SECONDS", float("inf"))
    monkeypatch.setattr(database, limit, 0)
    async with Database(tmp_path / "x.db", MIGRATIONS, gathering_turns=1000) as opened:
        await opened.write(insert(1))
        opened.write(insert(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ids(opened) == [1, 2]


async def test_a_failing_write_is_undone_alone(tmp_path: Path) -> None:
    def failing(connection: sqlite3.Connection) -> None:
        insert(3)(connection)
        raise LookupError("changed its mind")

    async with Database(tmp_path / "x.db", MIGRATIONS) as opened:
        writes = [insert(1), failing, insert(1), insert(2)]
        results = await asyncio.gather(*map(opened.write, writes), return_exceptions=True)
        assert isinstance(results[1], LookupError)
        assert isinstance(results[2], sqlite3.IntegrityError)
        assert ids(opened) == [1, 2]


async def test_cancelling_the_waiter_does_not_undo_the_write(tmp_path: Path) -> None:
    async with Database(tmp_path / "x.db", MIGRATIONS) as opened:
        opened.write(insert(1)).cancel()
        await opened.write(insert(2))
        assert ids(opened) == [1, 2]


async def test_closing_commits_what_was_asked_for(tmp_path: Path) -> None:
    async with Database(tmp_path / "x.db", MIGRATIONS) as opened:
        future = opened.write(insert(1))
    assert future.done()
    async with Database(tmp_path / "x.db", MIGRATIONS) as opened:
        assert ids(opened) == [1]


async def test_migrations_run_once_each(tmp_path: Path) -> None:
    later = (*MIGRATIONS, "ALTER TABLE item ADD COLUMN name TEXT; INSERT INTO item (id) VALUES (7)")
    async with Database(tmp_path / "x.db", MIGRATIONS) as opened:
        await opened.write(insert(1))
    for _ in range(2):
        async with Database(tmp_path / "x.db", later) as opened:
            assert opened.read("SELECT id, name FROM item ORDER BY id") == [(1, None), (7, None)]


async def test_F11_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with Database(tmp_path / "x.db", (*MIGRATIONS, "CREATE TABLE other (id)")):
        pass
    with pytest.raises(FailedPrecondition, match="newer version"):
        async with Database(tmp_path / "x.db", MIGRATIONS):
            pass


async def test_reliability_D4_a_damaged_file_is_said_to_be_and_is_no_bug_of_ours(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.db"
    async with Database(path, MIGRATIONS) as opened:
        for number in range(200):
            await opened.write(insert(number, bytes(1000)))
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(4096 * page)
            file.write(b"\xff" * 100)
    async with Database(path, MIGRATIONS) as opened:
        with pytest.raises(DataLoss, match=r"x\.db is damaged"):
            opened.read("SELECT * FROM item ORDER BY id")
        with pytest.raises(DataLoss, match=r"x\.db is damaged"):
            await opened.write(lambda connection: connection.execute("DELETE FROM item").fetchall())


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(DataLoss, match="not a database"):
        async with Database(tmp_path / "x.db", MIGRATIONS):
            pass


async def test_checkpoints_keep_the_log_bounded_under_steady_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 1 << 20
    monkeypatch.setattr(database, "_CHECKPOINT_WAL_BYTES", limit)
    path = tmp_path / "x.db"
    largest = 0
    async with Database(path, MIGRATIONS) as opened:
        for number in range(300):
            await opened.write(insert(number, bytes(50_000)))
            largest = max(largest, (tmp_path / "x.db-wal").stat().st_size)
            await asyncio.sleep(0)
        assert ids(opened) == list(range(300))
    assert limit < largest < 12 * limit
