"""Execute and WaitExecution as clients see them; ids are of conformance 1.7."""

import asyncio
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import PreconditionFailure

from reapi.core.digest import Digest, digest_of
from reapi.core.errors import InvalidArgument, NotFound, ResourceExhausted
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    ActionResult,
    ExecutedActionMetadata,
    ExecutionPolicy,
    ExecutionStage,
)
from tests.unit.scheduler.harness import (
    FakeWorker,
    Scheduler,
    metadata_of,
    response_of,
    success,
)


async def test_EX1_every_message_has_name_and_metadata_and_the_last_is_done(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    digest = scheduler.add_action("true")
    stream = scheduler.execute(digest)
    first = await stream.next()
    await worker.run(await worker.lease())
    (last,) = await stream.rest()
    assert first.name == last.name
    assert not first.done
    assert last.done
    for operation, stage in ((first, ExecutionStage.EXECUTING), (last, ExecutionStage.COMPLETED)):
        metadata = metadata_of(operation)
        assert metadata.stage == stage
        assert metadata.action_digest == digest.to_message()
        assert metadata.digest_function == digest.function.number
    assert response_of(last).result.execution_metadata.worker == "w1"


async def test_QANY_type_urls_are_of_googleapis(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    await worker.run(await worker.lease())
    last = await stream.last()
    package = "type.googleapis.com/build.bazel.remote.execution.v2."
    assert last.metadata.type_url == package + "ExecuteOperationMetadata"
    assert last.response.type_url == package + "ExecuteResponse"


async def test_EX2_EX3_EX5_a_failing_command_is_a_success_of_the_operation(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    digest = scheduler.add_action("false")
    stream = scheduler.execute(digest)
    await worker.run(await worker.lease(), success(exit_code=1))
    last = await stream.last()
    assert not last.HasField("error")
    assert metadata_of(last).stage == ExecutionStage.COMPLETED
    assert response_of(last).status.code == code_pb2.OK
    assert response_of(last).result.exit_code == 1
    assert not scheduler.action_cache.results


async def test_EX4_a_malformed_digest_fails_the_call(scheduler: Scheduler) -> None:
    with pytest.raises(InvalidArgument):
        await scheduler.execute(Digest("A" * 64, 3)).next()
    with pytest.raises(InvalidArgument, match="no instance"):
        await scheduler.execute(scheduler.add_action(), instance_name="other").next()


class TestEX7EX8MissingBlobsAreToldInTheResponse:
    async def test_EX7_absent_action(self, scheduler: Scheduler) -> None:
        digest = digest_of(b"never uploaded")
        assert await missing_subjects(scheduler, digest) == [digest.subject]

    async def test_EX7_absent_command_and_root_are_listed_together(
        self, scheduler: Scheduler
    ) -> None:
        command, root = digest_of(b"command"), digest_of(b"root")
        action = Action(command_digest=command.to_message(), input_root_digest=root.to_message())
        digest = scheduler.blobs.add(action.SerializeToString())
        assert await missing_subjects(scheduler, digest) == [command.subject, root.subject]


async def missing_subjects(scheduler: Scheduler, digest: Digest) -> list[str]:
    """What a done Operation says is missing; exactly one detail, all of type MISSING (Q-DETAIL)."""
    status = response_of(await scheduler.execute(digest).last()).status
    assert status.code == code_pb2.FAILED_PRECONDITION
    (detail,) = status.details
    failure = PreconditionFailure()
    assert detail.Unpack(failure)
    assert {violation.type for violation in failure.violations} == {"MISSING"}
    return [violation.subject for violation in failure.violations]


async def test_EX9_a_cached_result_needs_no_worker(scheduler: Scheduler) -> None:
    digest = scheduler.add_action()
    scheduler.action_cache.results["main", digest] = ActionResult(exit_code=0, stdout_raw=b"hi")
    (operation,) = await scheduler.execute(digest, instance_name="main").rest()
    response = response_of(operation)
    assert response.cached_result
    assert response.result.stdout_raw == b"hi"
    assert metadata_of(operation).stage == ExecutionStage.COMPLETED


async def test_EX10_skip_cache_lookup_runs_again_and_overwrites(scheduler: Scheduler) -> None:
    digest = scheduler.add_action()
    scheduler.action_cache.results["", digest] = ActionResult(stdout_raw=b"old")
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(digest, skip_cache_lookup=True)
    await worker.run(await worker.lease(), success(stdout_raw=b"new"))
    response = response_of(await stream.last())
    assert not response.cached_result
    assert scheduler.action_cache.results["", digest].stdout_raw == b"new"


async def test_EX11_do_not_cache_is_neither_looked_up_nor_merged_nor_stored(
    scheduler: Scheduler,
) -> None:
    digest = scheduler.add_action(action=Action(do_not_cache=True))
    scheduler.action_cache.results["", digest] = ActionResult(stdout_raw=b"old")
    worker = FakeWorker(scheduler, slots=2)
    await worker.connect()
    streams = [scheduler.execute(digest) for _ in range(2)]
    firsts = [await stream.next() for stream in streams]
    leases = [await worker.lease(), await worker.lease()]
    assert {lease.key.operation_name for lease in leases} == {first.name for first in firsts}
    for lease, stream in zip(leases, streams, strict=True):
        await worker.run(lease, success(stdout_raw=b"new"))
        assert not response_of(await stream.last()).cached_result
    assert scheduler.action_cache.results["", digest].stdout_raw == b"old"


async def test_EX12_equal_actions_in_flight_run_once(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler, slots=2)
    await worker.connect()
    digest = scheduler.add_action()
    streams = [scheduler.execute(digest) for _ in range(3)]
    names = {(await stream.next()).name for stream in streams}
    lease = await worker.lease()
    await worker.run(lease)
    lasts = [await stream.last() for stream in streams]
    assert {last.name for last in lasts} == names
    assert len({last.response.value for last in lasts}) == 1


async def test_EX12_a_caller_that_goes_away_does_not_stop_the_others(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    digest = scheduler.add_action()
    staying, leaving = scheduler.execute(digest), scheduler.execute(digest)
    await staying.next()
    await leaving.next()
    await leaving.close()
    await worker.run(await worker.lease())
    assert response_of(await staying.last()).status.code == code_pb2.OK


async def test_EX13_EX14_a_lost_stream_is_resumed_by_name(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    first = await stream.next()
    await stream.close()
    again = scheduler.wait(first.name)
    assert (await again.next()).SerializeToString() == first.SerializeToString()
    await worker.run(await worker.lease())
    last = await again.last()
    assert response_of(last).status.code == code_pb2.OK
    assert await scheduler.wait(first.name).rest() == [last]


async def test_EX14_an_unknown_name_is_not_found(scheduler: Scheduler) -> None:
    for name in ("", "operations/never", "x" * 100_000):
        with pytest.raises(NotFound):
            await scheduler.wait(name).next()


@pytest.mark.parametrize(
    "timeout",
    [
        Duration(seconds=-1),
        Duration(seconds=1, nanos=-1),
        Duration(seconds=10 * 365 * 86400),
        Duration(nanos=2_000_000_000),
    ],
)
async def test_EX17_a_bad_timeout_is_refused(scheduler: Scheduler, timeout: Duration) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        await scheduler.execute(scheduler.add_action(action=Action(timeout=timeout))).next()


async def test_EX19_no_worker_can_ever_match_is_said_at_once(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler, platform={"OSFamily": "linux", "ISA": "x86-64"})
    await worker.connect()
    digest = scheduler.add_action(platform={"OSFamily": "windows", "ISA": "x86-64"})
    status = response_of(await scheduler.execute(digest).last()).status
    assert status.code == code_pb2.FAILED_PRECONDITION
    assert "OSFamily=windows" in status.message
    assert "the fleet offers OSFamily=linux" in status.message
    assert "ISA=x86-64, OSFamily=linux" in status.message
    failure = PreconditionFailure()
    assert status.details[0].Unpack(failure)
    assert [(one.type, one.subject) for one in failure.violations] == [
        ("PLATFORM", "OSFamily=windows")
    ]


async def test_without_any_worker_an_action_waits_for_one(scheduler: Scheduler) -> None:
    stream = scheduler.execute(scheduler.add_action(platform={"OSFamily": "linux"}))
    assert metadata_of(await stream.next()).stage == ExecutionStage.QUEUED
    worker = FakeWorker(scheduler, platform={"OSFamily": "linux"})
    await worker.connect()
    assert metadata_of(await stream.next()).stage == ExecutionStage.EXECUTING
    await worker.run(await worker.lease())
    assert (await stream.last()).done


async def test_EX22_more_urgent_actions_run_first(scheduler: Scheduler) -> None:
    streams = {}
    for name, priority in (("late", 5), ("soon", -5), ("usual", 0)):
        policy = ExecutionPolicy(priority=priority)
        digest = scheduler.add_action(name)
        streams[digest.hash] = scheduler.execute(digest, execution_policy=policy)
        await streams[digest.hash].next()
    worker = FakeWorker(scheduler)
    await worker.connect()
    order = []
    reply = await worker.next()
    for _ in range(3):
        order.append(reply.lease.blobs[0].data)
        worker.complete(reply.lease)
        replies = [await worker.next() for _ in range(2 if len(order) < 3 else 1)]
        reply = next((one for one in replies if one.HasField("lease")), reply)
    assert [b"soon" in order[0], b"usual" in order[1], b"late" in order[2]] == [True] * 3
    for stream in streams.values():
        assert (await stream.last()).done


async def test_EX23_progress_of_the_worker_is_in_the_metadata(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    first = await stream.next()
    lease = await worker.lease()
    worker.progress(lease, ExecutedActionMetadata(worker="w1"))
    await asyncio.wait_for(until_partial(scheduler, first.name), 60)
    await worker.run(lease)
    await stream.last()


async def until_partial(scheduler: Scheduler, name: str) -> None:
    """Joins the operation anew until the worker's name is in it."""
    while True:
        stream = scheduler.wait(name)
        metadata = metadata_of(await stream.next())
        await stream.close()
        if metadata.partial_execution_metadata.worker == "w1":
            return
        await asyncio.sleep(0)


async def test_a_cancelled_execute_call_leaves_the_operation_running(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    first = await stream.next()
    await stream.close()
    await worker.run(await worker.lease())
    assert (await scheduler.wait(first.name).last()).done


async def test_EX13_what_nobody_watches_is_stopped_after_the_grace_time(tmp_path: Path) -> None:
    async with Scheduler(tmp_path / "scheduler.db", unwatched_seconds=0.001) as scheduler:
        worker = FakeWorker(scheduler)
        await worker.connect()
        stream = scheduler.execute(scheduler.add_action())
        first = await stream.next()
        lease = await worker.lease()
        await stream.close()
        cancel = await worker.next()
        assert cancel.cancel.key == lease.key
        last = await scheduler.wait(first.name).last()
        assert response_of(last).status.code == code_pb2.ABORTED


async def test_EX15_EX16_a_quiet_stream_repeats_its_state_and_stays_open(tmp_path: Path) -> None:
    async with Scheduler(tmp_path / "scheduler.db", update_interval_seconds=0.001) as scheduler:
        stream = scheduler.execute(scheduler.add_action())
        states = [await stream.next() for _ in range(5)]
        assert len({state.SerializeToString() for state in states}) == 1
        assert metadata_of(states[0]).stage == ExecutionStage.QUEUED


async def test_a_full_queue_refuses_more(tmp_path: Path) -> None:
    async with Scheduler(tmp_path / "scheduler.db", max_queued=1) as scheduler:
        await scheduler.execute(scheduler.add_action("one")).next()
        with pytest.raises(ResourceExhausted, match="wait for a worker"):
            await scheduler.execute(scheduler.add_action("two")).next()
