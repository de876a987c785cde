"""What earlier versions journaled is read: each golden file was written by the code of its time."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import code_pb2

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecutionStage
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease, LeaseKey
from reapi.scheduler.journal_store import EventRow, FinishedRow, SnapshotRow
from tests.unit.scheduler.harness import (
    FakeWorker,
    Scheduler,
    metadata_of,
    open_journal,
    response_of,
)

BIG = {"size": "big"}


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Any:
    """A journal of version 1: a snapshot, events after it, and what had finished."""
    file = Path(__file__).parent / "golden" / "journal_version_1.json"
    return json.loads(file.read_text()) | getattr(request, "param", {})


@pytest.fixture
async def scheduler(golden: Any, tmp_path: Path) -> AsyncIterator[Scheduler]:
    """A scheduler of this version on that journal."""
    place = tmp_path / "scheduler.db"
    async with open_journal(place) as journal:
        journal.fold(SnapshotRow(*golden["snapshot"]))
        for sequence, record in golden["events"]:
            journal.append(EventRow(sequence, record))
        for number, name, instance_name, at, operation in golden["finished"]:
            journal.finish(FinishedRow(number, name, instance_name, at, b64decode(operation)))
        await journal.commit()
    async with Scheduler(place, finished_retention_seconds=1e10) as scheduler:
        yield scheduler


async def test_all_that_was_live_is_live_and_all_that_had_finished_is_found(
    golden: Any, scheduler: Scheduler
) -> None:
    for key, name in golden["names"].items():
        if key in golden["live"]:
            assert not (await scheduler.wait(name).next()).done, key
        else:
            assert (await scheduler.wait(name).last()).done, key
    assert len(scheduler.dispatcher._queue.operations) == len(golden["live"])


async def test_a_lease_of_the_snapshot_goes_on_and_a_later_one_is_given_anew(
    golden: Any, scheduler: Scheduler
) -> None:
    for key in golden["names"]:
        scheduler.add_action(key, platform=BIG)
    kept = golden["names"]["runs since before the snapshot"]
    later = golden["names"]["came after the snapshot"]
    stream, other = scheduler.wait(kept), scheduler.wait(later)
    assert metadata_of(await stream.next()).stage == ExecutionStage.EXECUTING
    assert metadata_of(await other.next()).stage == ExecutionStage.QUEUED
    epoch = scheduler.dispatcher._queue.executions[kept].epoch
    worker = FakeWorker(scheduler, "big", platform=BIG, slots=2)
    held = LeaseKey(operation_name=kept, epoch=epoch)
    unknown = LeaseKey(operation_name=later, epoch=7)
    reply = await worker.connect(held, unknown)
    assert list(reply.registered.revoked) == [unknown]
    lease = await worker.lease()
    assert lease.key.operation_name == later
    assert lease.key.epoch > 1 << 32
    await worker.run(lease)
    assert response_of(await other.last()).status.code == code_pb2.OK
    worker.complete(Lease(key=held))
    assert response_of(await stream.last()).status.code == code_pb2.OK


@pytest.mark.parametrize("golden", [{"events": []}], indirect=True)
async def test_a_snapshot_alone_is_replaced_as_well(golden: Any, scheduler: Scheduler) -> None:
    journaled = await scheduler.journal.load()
    assert journaled.snapshot is not None
    assert journaled.snapshot.record.startswith("[2,")
    assert (
        golden["names"]["runs since before the snapshot"] in scheduler.dispatcher._queue.operations
    )


async def test_a_second_start_reads_records_of_this_version_only(
    golden: Any, scheduler: Scheduler
) -> None:
    journaled = await scheduler.journal.load()
    assert journaled.snapshot is not None
    records = [journaled.snapshot.record, *(record for _, record in journaled.events)]
    assert all(record.startswith("[2,") for record in records)
    async with scheduler.successor() as successor:
        assert sorted(successor.dispatcher._queue.operations) == sorted(
            golden["names"][key] for key in golden["live"]
        )
