"""Journals are replayed from every form in which they are kept, up to the first difference."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from reapi.core.database import Database
from reapi.core.errors import FailedPrecondition, NotFound
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.pool import PostgresqlPool
from reapi.scheduler.codec import encode
from reapi.scheduler.events import Enqueue, Event, LeaseCompleted, TimePassed, WorkerConnected
from reapi.scheduler.journal import Journal
from reapi.scheduler.journal_file import read_journal, write_journal
from reapi.scheduler.journal_store import EventRow, JournalStore, SnapshotRow
from reapi.scheduler.policy import Policy
from reapi.scheduler.postgresql_journal import export_journal
from reapi.scheduler.queue import Queue
from reapi.scheduler.recorded_journal import RecordedJournal
from reapi.scheduler.replay import replay
from reapi.scheduler.snapshot import take_snapshot
from reapi.scheduler.sqlite_journal import MIGRATIONS, SqliteJournal
from tests.fakes.memory_journal import MemoryJournal
from tests.unit.scheduler.harness import open_journal

ENQUEUE = Enqueue("op-1", "main", f"blobs/{1:064x}/142", True, (), 0, b"template")
WORKER = WorkerConnected("worker-1", "session", 2, (), ())
LEASE = ["lease", "worker-1", "op-1", 1]


class Running:
    """A core whose events are journaled."""

    def __init__(self, store: JournalStore, *, snapshot_interval: int = 1 << 30) -> None:
        self.queue = Queue()
        self.journal = Journal(
            store,
            finished_retention=1,
            max_finished=1,
            snapshot_interval=snapshot_interval,
        )
        self.now = 0

    async def recover(self) -> "Running":
        recovered = await self.journal.recover(Policy())
        self.queue, self.now = recovered.queue, recovered.now
        return self

    def apply(self, *events: Event) -> None:
        for event in events:
            self.now += 1
            self.journal.append(event, self.now, self.queue.handle(event, self.now))
            self.journal.fold(self.queue, self.now)


def some_events(count: int) -> list[Event]:
    events: list[Event] = [WORKER]
    for number in range(1, count + 1):
        name = f"op-{number}"
        events.append(replace(ENQUEUE, operation_name=name))
        events.append(LeaseCompleted("worker-1", name, number))
    return events


def sizes(directory: Path) -> list[int]:
    """Of the files in a folder, in the order of their names."""
    return [file.stat().st_size for file in sorted(directory.iterdir())]


async def rows_of(*events: Event) -> list[SnapshotRow | EventRow]:
    store = MemoryJournal()
    (await Running(store).recover()).apply(*events)
    store.flush()
    return list((await store.load()).events)


async def test_a_replay_makes_every_decision_as_recorded() -> None:
    replayed = replay(await rows_of(*some_events(3)))
    assert replayed.difference is None
    assert (replayed.events, replayed.decisions, replayed.incomparable) == (7, 6, 0)
    assert (replayed.first_at, replayed.last_at) == (1, 7)


async def test_a_replay_stops_at_the_first_other_decision() -> None:
    rows = await rows_of(WORKER, ENQUEUE, LeaseCompleted("worker-1", "op-1", 1), TimePassed())
    other = ["lease", "worker-2", "op-1", 1]
    rows[1] = EventRow(2, encode(2, ENQUEUE, [other]))
    replayed = replay(rows)
    assert replayed.events == 2
    assert replayed.difference is not None
    assert (replayed.difference.sequence, replayed.difference.now) == (2, 2)
    assert replayed.difference.event == ENQUEUE
    assert (replayed.difference.recorded, replayed.difference.decided) == ([other], [LEASE])


async def test_an_event_that_the_core_refuses_is_a_difference() -> None:
    rows = [*await rows_of(WORKER, ENQUEUE), EventRow(3, encode(3, ENQUEUE, []))]
    difference = replay(rows).difference
    assert difference is not None
    assert difference.decided == [["fail", "DuplicateOperation: op-1"]]


async def test_events_without_decisions_are_repeated_and_not_compared() -> None:
    rows = await rows_of(WORKER, ENQUEUE, LeaseCompleted("worker-1", "op-1", 1))
    rows[1] = EventRow(2, encode(2, ENQUEUE))
    replayed = replay(rows)
    assert replayed.difference is None
    assert (replayed.incomparable, replayed.decisions) == (1, 1)


def test_events_of_an_older_version_are_not_compared() -> None:
    replayed = replay([EventRow(1, '[1,5,["TimePassed"]]'), EventRow(2, '[1,6,["TimePassed"]]')])
    assert replayed.difference is None
    assert (replayed.events, replayed.incomparable) == (2, 2)


async def test_a_gap_in_the_events_is_refused() -> None:
    rows = await rows_of(*some_events(3))
    with pytest.raises(ValueError, match="event 4 does not follow 2"):
        replay(rows[:2] + rows[3:])


async def test_a_snapshot_that_the_events_do_not_lead_to_is_a_difference() -> None:
    store = MemoryJournal()
    running = await Running(store).recover()
    running.apply(*some_events(3))
    store.flush()
    rows: list[SnapshotRow | EventRow] = list((await store.load()).events)
    other = (await Running(MemoryJournal(), snapshot_interval=0).recover()).queue
    assert replay([*rows, SnapshotRow(7, 7, take_snapshot(running.queue))]).difference is None
    difference = replay([*rows, SnapshotRow(7, 7, take_snapshot(other))]).difference
    assert difference is not None
    assert (difference.sequence, difference.event) == (7, None)


async def test_an_export_and_the_database_of_a_running_server_replay_alike(tmp_path: Path) -> None:
    async with Database(tmp_path / "scheduler.db", MIGRATIONS) as database:
        store = SqliteJournal(database)
        running = await Running(store, snapshot_interval=5).recover()
        running.apply(*some_events(6))
        await running.journal.commit()
        write_journal(tmp_path / "export", await store.load())
        rows = list(read_journal(tmp_path / "scheduler.db"))
    assert rows == list(read_journal(tmp_path / "export"))
    assert isinstance(rows[0], SnapshotRow)
    replayed = replay(rows)
    assert replayed.difference is None
    assert (replayed.snapshots, replayed.events) == (1, len(rows) - 1)
    assert replayed.decisions > 0


async def test_the_journal_in_postgresql_is_exported_beside_its_writer(
    tmp_path: Path, postgresql_dsn: Dsn
) -> None:
    async with open_journal(postgresql_dsn) as store, PostgresqlPool(postgresql_dsn) as pool:
        running = await Running(store, snapshot_interval=5).recover()
        running.apply(*some_events(6))
        await running.journal.commit()
        write_journal(tmp_path / "export", await export_journal(pool, ""))
    replayed = replay(read_journal(tmp_path / "export"))
    assert replayed.difference is None
    assert (replayed.snapshots, replayed.last_at) == (1, 13)
    assert replayed.decisions > 0


async def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(read_journal(tmp_path / "absent"))
    with pytest.raises(NotFound, match=r"no \*\.journal"):
        list(read_journal(tmp_path))
    (tmp_path / "text").write_text("some text\nof several lines")
    with pytest.raises(FailedPrecondition, match="is no journal"):
        list(read_journal(tmp_path / "text"))
    (tmp_path / "other.db").write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(FailedPrecondition, match="cannot read"):
        list(read_journal(tmp_path / "other.db"))


@pytest.mark.parametrize("line", ["word\t1\t[]", "event\tone\t[]", "event", "snapshot\t1\t[]"])
async def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "export"
    write_journal(path, await MemoryJournal().load())
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(FailedPrecondition, match="line 2: "):
        list(read_journal(path))


async def test_an_incomplete_last_line_is_left_out(tmp_path: Path) -> None:
    store = MemoryJournal()
    (await Running(store).recover()).apply(*some_events(1))
    store.flush()
    write_journal(tmp_path / "export", await store.load())
    os.truncate(tmp_path / "export", (tmp_path / "export").stat().st_size - 3)
    assert len(list(read_journal(tmp_path / "export"))) == 2


async def test_a_record_goes_back_behind_the_journal_and_over_restarts(tmp_path: Path) -> None:
    store = MemoryJournal()
    async with RecordedJournal(store, tmp_path / "record", 1 << 30) as recorded:
        running = await Running(recorded, snapshot_interval=10).recover()
        running.apply(*some_events(20))
    store.flush()
    assert len((await store.load()).events) < 41
    async with RecordedJournal(store.survivor(), tmp_path / "record", 1 << 30) as recorded:
        running = await Running(recorded, snapshot_interval=10).recover()
        running.apply(TimePassed(), TimePassed())
    replayed = replay(read_journal(tmp_path / "record"))
    assert replayed.difference is None
    assert (replayed.events, replayed.incomparable) == (43, 0)
    assert replayed.snapshots > 1


async def test_a_record_keeps_to_its_size_and_forgets_the_oldest(tmp_path: Path) -> None:
    store = MemoryJournal()
    async with RecordedJournal(store, tmp_path, 3_000) as recorded:
        running = await Running(recorded, snapshot_interval=10).recover()
        running.apply(*some_events(100))
        others = sizes(tmp_path)[:-1]
    assert others
    assert sum(others) <= 3_000
    replayed = replay(read_journal(tmp_path))
    assert replayed.difference is None
    assert replayed.last_at == 201


async def test_a_record_that_cannot_be_written_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    store = MemoryJournal()
    async with RecordedJournal(store, tmp_path / "file", 1 << 30) as recorded:
        running = await Running(recorded).recover()
        running.apply(*some_events(1))
    store.flush()
    assert len((await store.load()).events) == 3
    assert "events are not recorded" in caplog.text


async def test_a_record_passes_everything_else_on(tmp_path: Path) -> None:
    store = MemoryJournal()
    async with RecordedJournal(store, tmp_path, 1 << 30) as recorded:
        journal = Running(recorded).journal
        await journal.recover(Policy())
        journal.finish("op-1", "main", 10, b"operation")
        committed = journal.commit()
        store.flush()
        await asyncio.wait_for(committed, 60)
        assert await journal.finished("op-1", 10) == b"operation"
        assert await journal.list_finished("main", "", 9, 10) == [("op-1", b"operation")]
        recorded.check()
        assert recorded.place == store.place
        recorded.expire(11, 0)
        store.flush()
        assert await journal.finished("op-1", 10) is None
