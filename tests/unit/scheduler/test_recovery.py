"""Crash and recovery: a successor opens the journal that its predecessor never closed."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.rpc import code_pb2

from reapi.core.database import Database
from reapi.core.errors import FailedPrecondition, NotFound, ResourceExhausted
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecutionStage
from reapi.scheduler.journal_file import read_journal
from reapi.scheduler.journal_store import EventRow, SnapshotRow
from reapi.scheduler.sqlite_journal import MIGRATIONS, SqliteJournal
from tests.unit.scheduler.harness import (
    FakeWorker,
    JournalPlace,
    Scheduler,
    metadata_of,
    open_journal,
    response_of,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> JournalPlace:
    """Where the journal is: all that follows holds in both databases."""
    if request.param == "sqlite":
        return tmp_path / "scheduler.db"
    dsn: JournalPlace = request.getfixturevalue("postgresql_dsn")
    return dsn


@pytest.fixture
async def scheduler(place: JournalPlace) -> AsyncIterator[Scheduler]:
    async with Scheduler(place) as one:
        yield one


async def test_queued_and_running_operations_go_on_under_their_names(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    names = [(await scheduler.execute(scheduler.add_action(str(n))).next()).name for n in range(2)]
    lease = await worker.lease()
    async with scheduler.successor() as successor:
        streams = [successor.wait(name) for name in names]
        stages = [metadata_of(await stream.next()).stage for stream in streams]
        assert stages == [ExecutionStage.EXECUTING, ExecutionStage.QUEUED]
        returned = FakeWorker(successor)
        reply = await returned.connect(lease.key)
        assert not reply.registered.revoked
        returned.complete(lease)
        replies = [await returned.next(), await returned.next()]
        (second,) = [reply.lease for reply in replies if reply.HasField("lease")]
        assert second.key.epoch > lease.key.epoch + 2**31
        assert second.action.command_digest.hash
        await returned.run(second)
        for stream in streams:
            assert response_of(await stream.last()).status.code == code_pb2.OK


@pytest.mark.parametrize("hours", [1, -1])
async def test_reliability_C1_a_successor_whose_clock_is_an_hour_off_loses_no_lease(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """As a standby on another machine may be; the clock of the first one is not asked any more."""
    worker = FakeWorker(scheduler)
    await worker.connect()
    names = [(await scheduler.execute(scheduler.add_action(str(n))).next()).name for n in range(2)]
    lease = await worker.lease()
    real_now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real_now() + hours * 3_600_000_000_000)
    async with scheduler.successor() as successor:
        streams = [successor.wait(name) for name in names]
        stages = [metadata_of(await stream.next()).stage for stream in streams]
        assert stages == [ExecutionStage.EXECUTING, ExecutionStage.QUEUED]
        returned = FakeWorker(successor)
        assert not (await returned.connect(lease.key)).registered.revoked
        returned.complete(lease)
        assert response_of(await streams[0].last()).status.code == code_pb2.OK


async def test_a_worker_that_never_returns_is_replaced_after_a_restart(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    name = (await scheduler.execute(scheduler.add_action()).next()).name
    await worker.lease()
    async with scheduler.successor(worker_timeout_seconds=0.002) as successor:
        other = FakeWorker(successor, "w2")
        await other.connect()
        await other.run(await other.lease())
        assert response_of(await successor.wait(name).last()).status.code == code_pb2.OK


async def test_finished_operations_are_found_after_a_restart(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    await worker.run(await worker.lease())
    last = await stream.last()
    async with scheduler.successor() as successor:
        assert await successor.wait(last.name).rest() == [last]


async def test_snapshots_bound_the_journal_and_lose_nothing(place: JournalPlace) -> None:
    async with Scheduler(place, snapshot_interval_events=10) as scheduler:
        waiting = await scheduler.execute(
            scheduler.add_action("waits", platform={"size": "big"})
        ).next()
        worker = FakeWorker(scheduler)
        await worker.connect()
        for number in range(40):
            stream = scheduler.execute(scheduler.add_action(str(number)))
            await worker.run(await worker.lease())
            last = await stream.last()
        assert len((await scheduler.journal.load()).events) < 30
        async with scheduler.successor() as successor:
            assert await successor.wait(last.name).last() == last
            assert not (await successor.wait(waiting.name).next()).done


async def test_settings_are_journaled_when_a_start_finds_them_changed(
    place: JournalPlace,
) -> None:
    async def policies(scheduler: Scheduler) -> int:
        events = (await scheduler.journal.load()).events
        return sum('"PolicySet"' in record for _, record in events)

    async with Scheduler(place, max_attempts=7) as scheduler:
        assert await policies(scheduler) == 1
        async with scheduler.successor(max_attempts=7) as same:
            assert await policies(same) == 1
            async with same.successor(max_attempts=8) as other:
                assert await policies(other) == 2
                assert other.dispatcher._queue.policy.max_attempts == 8


async def test_finished_operations_are_bounded_in_number(place: JournalPlace) -> None:
    async with Scheduler(place, max_finished=50) as scheduler:
        worker = FakeWorker(scheduler)
        await worker.connect()
        names = []
        for number in range(300):
            stream = scheduler.execute(scheduler.add_action(str(number)))
            await worker.run(await worker.lease())
            names.append((await stream.last()).name)
        with pytest.raises(NotFound):
            await scheduler.dispatcher.message(names[0])
        assert await scheduler.dispatcher.message(names[-1])


async def test_finished_operations_are_forgotten_in_time(place: JournalPlace) -> None:
    async with Scheduler(place, finished_retention_seconds=0.000001) as scheduler:
        worker = FakeWorker(scheduler)
        await worker.connect()
        stream = scheduler.execute(scheduler.add_action())
        await worker.run(await worker.lease())
        name = (await stream.last()).name
        with pytest.raises(NotFound):
            await scheduler.dispatcher.message(name)


async def test_an_unreadable_journal_is_refused_with_the_way_out(place: JournalPlace) -> None:
    async with open_journal(place) as journal:
        journal.append(EventRow(1, "[99]"))
        await journal.commit()
    scheduler = Scheduler(place)
    with pytest.raises(FailedPrecondition, match=r"version 99.*empty queue"):
        await scheduler.__aenter__()
    await scheduler.__aexit__()


async def test_a_name_is_told_only_after_its_commit_and_the_end_only_after_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full the caller gets an error, and nobody hears of an end; later all is
    journaled in the old order."""
    async with Scheduler(tmp_path / "scheduler.db") as scheduler:
        worker = FakeWorker(scheduler)
        await worker.connect()
        stream = scheduler.execute(scheduler.add_action())
        first = await stream.next()
        lease = await worker.lease()
        assert isinstance(scheduler.journal, SqliteJournal)
        journal_write = scheduler.journal._write
        monkeypatch.setattr("reapi.scheduler.dispatcher._RETRY_COMMIT_SECONDS", 0.001)
        is_full = True

        def write(connection: sqlite3.Connection) -> None:
            if is_full:
                raise ResourceExhausted("disk full")
            journal_write(connection)

        monkeypatch.setattr(scheduler.journal, "_write", write)
        with pytest.raises(ResourceExhausted):
            await scheduler.execute(scheduler.add_action("refused")).next()
        worker.complete(lease)
        assert (await worker.next()).HasField("lease")
        for _ in range(5):
            await asyncio.sleep(0)
        assert not (await scheduler.wait(first.name).next()).done
        is_full = False
        last = await stream.last()
        async with scheduler.successor() as successor:
            assert await successor.wait(first.name).last() == last


async def test_events_that_a_snapshot_holds_are_dropped_in_steps_and_count_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reapi.scheduler.sqlite_journal._MOST_DROPPED", 3)
    path, kept = tmp_path / "scheduler.db", []
    snapshot, later = SnapshotRow(8, 0, "state"), [EventRow(9, "event"), EventRow(10, "event")]
    async with Database(path, MIGRATIONS) as database:
        journal = SqliteJournal(database)
        for sequence in range(1, 11):
            journal.append(EventRow(sequence, "event"))
        journal.fold(snapshot)
        for _ in range(5):
            await journal.commit()
            kept += database.read("SELECT count(*) FROM events")
            assert await journal.load() == (snapshot, later, None)
            assert list(read_journal(path)) == [snapshot, *later]
    assert kept == [(10,), (7,), (4,), (2,), (2,)]
