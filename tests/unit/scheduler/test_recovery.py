"""Crash and recovery: a successor opens the journal that its predecessor never closed."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from google.rpc import code_pb2

from reapi.core.database import Database
from reapi.core.errors import FailedPrecondition, NotFound, ResourceExhausted
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecutionStage
from reapi.scheduler.journal import MIGRATIONS
from tests.unit.scheduler.harness import FakeWorker, Scheduler, metadata_of, response_of


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


async def test_snapshots_bound_the_journal_and_lose_nothing(tmp_path: Path) -> None:
    async with Scheduler(tmp_path / "scheduler.db", snapshot_interval_events=10) as scheduler:
        waiting = await scheduler.execute(
            scheduler.add_action("waits", platform={"size": "big"})
        ).next()
        worker = FakeWorker(scheduler)
        await worker.connect()
        for number in range(40):
            stream = scheduler.execute(scheduler.add_action(str(number)))
            await worker.run(await worker.lease())
            last = await stream.last()
        ((count,),) = scheduler.database.read("SELECT count(*) FROM events")
        assert count < 30
        async with scheduler.successor() as successor:
            assert await successor.wait(last.name).last() == last
            assert not (await successor.wait(waiting.name).next()).done


async def test_finished_operations_are_bounded_in_number(tmp_path: Path) -> None:
    async with Scheduler(tmp_path / "scheduler.db", max_finished=50) as scheduler:
        worker = FakeWorker(scheduler)
        await worker.connect()
        names = []
        for number in range(300):
            stream = scheduler.execute(scheduler.add_action(str(number)))
            await worker.run(await worker.lease())
            names.append((await stream.last()).name)
        with pytest.raises(NotFound):
            scheduler.dispatcher.message(names[0])
        assert scheduler.dispatcher.message(names[-1])


async def test_finished_operations_are_forgotten_in_time(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.db"
    async with Scheduler(path, finished_retention_seconds=0.000001) as scheduler:
        worker = FakeWorker(scheduler)
        await worker.connect()
        stream = scheduler.execute(scheduler.add_action())
        await worker.run(await worker.lease())
        name = (await stream.last()).name
        with pytest.raises(NotFound):
            scheduler.dispatcher.message(name)


async def test_an_unreadable_journal_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.db"
    async with Database(path, MIGRATIONS) as database:
        await database.write(
            lambda connection: connection.execute("INSERT INTO events VALUES (1, '[99]')")
        )
    with pytest.raises(FailedPrecondition, match="version 99"):
        await Scheduler(path).__aenter__()


async def test_a_name_is_told_only_after_its_commit_and_the_end_only_after_its_own(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full the caller gets an error, and nobody hears of an end; later all is
    journaled in the old order."""
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    first = await stream.next()
    lease = await worker.lease()
    journal_write = scheduler.dispatcher._journal._write
    monkeypatch.setattr("reapi.scheduler.dispatcher._RETRY_COMMIT_SECONDS", 0.001)
    is_full = True

    def write(connection: sqlite3.Connection) -> None:
        if is_full:
            raise ResourceExhausted("disk full")
        journal_write(connection)

    monkeypatch.setattr(scheduler.dispatcher._journal, "_write", write)
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
