"""What history keeps of operations, as the dispatcher runs them."""

from collections.abc import Sequence

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from reapi.core.cache_state import CacheFinding, CacheState, ResultAbsent
from reapi.core.digest import Digest
from reapi.core.request_metadata import REQUEST_METADATA_KEY
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    ActionResult,
    ExecutedActionMetadata,
    ExecuteResponse,
    RequestMetadata,
)
from reapi.protos.reapi.executor.v1.usage_pb2 import ResourceUsage
from reapi.scheduler.explanation import ending
from reapi.scheduler.history import HistoryRow
from tests.fakes.call import FakeCall
from tests.unit.scheduler.harness import FakeWorker, Scheduler, response_of, success


def call_for(target: str, mnemonic: str = "CppCompile") -> FakeCall:
    metadata = RequestMetadata(
        target_id=target, action_mnemonic=mnemonic, tool_invocation_id="build-1"
    )
    return FakeCall(metadata={REQUEST_METADATA_KEY: metadata.SerializeToString()})


def took(seconds: float, exit_code: int = 0) -> ExecuteResponse:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    metadata = ExecutedActionMetadata(worker="w1", virtual_execution_duration=duration)
    return ExecuteResponse(result=ActionResult(exit_code=exit_code, execution_metadata=metadata))


async def rows(scheduler: Scheduler) -> list[HistoryRow]:
    await scheduler.history.writer.flush()
    return scheduler.history_store.rows


def ends(row: HistoryRow) -> Sequence[tuple[str, str]]:
    return [(one.worker_id, one.end) for one in row.attempts]


async def test_a_run_is_kept_with_its_attempt_and_times(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    action = scheduler.add_action("cc", outputs=["a.o"])
    stream = scheduler.execute(action, call=call_for("//app:a"), instance_name="main")
    lease = await worker.lease()
    name = lease.key.operation_name
    ongoing = scheduler.history.recorder.ongoing(name)
    assert ongoing is not None
    assert ongoing.finished_at == 0
    assert ends(ongoing) == [("w1", "")]
    await worker.run(lease, took(2.5))
    await stream.last()
    (row,) = await rows(scheduler)
    assert (row.operation_name, row.instance_name, row.action) == (name, "main", action)
    assert (row.target, row.mnemonic) == ("//app:a", "CppCompile")
    assert (row.tenant, row.invocation) == ("main", "build-1")
    assert row.target_key != row.program_key is not None
    assert (row.cache_state, row.exit_code, row.status_code) == (CacheState.ABSENT, 0, 0)
    assert row.duration == 2_500_000
    assert 0 < row.queued_at <= row.started_at <= row.finished_at
    (attempt,) = row.attempts
    assert (attempt.worker_id, attempt.epoch, attempt.end) == ("w1", lease.key.epoch, "completed")
    assert attempt.reason == "w1 was chosen: it is the preferred worker of this action"
    assert row.queued_at <= attempt.leased_at <= attempt.ended_at == row.finished_at
    assert scheduler.history.recorder.ongoing(name) is None


async def test_what_an_action_used_is_kept(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    response = took(1)
    usage = ResourceUsage(peak_memory_bytes=5 << 20, read_bytes=4096, written_bytes=-1)
    usage.user_time.FromMilliseconds(700)
    usage.system_time.seconds = 1 << 40
    response.result.execution_metadata.auxiliary_metadata.add().Pack(usage)
    stream = scheduler.execute(scheduler.add_action())
    await worker.run(await worker.lease(), response)
    await stream.last()
    (row,) = await rows(scheduler)
    assert (row.user_time, row.peak_memory_bytes) == (700_000, 5 << 20)
    assert (row.read_bytes, row.written_bytes) == (4096, 0)
    assert 0 < row.system_time < 1 << 62
    assert "s of processors, 5 MiB" in ending(row)


@pytest.mark.parametrize("seconds", [-1, 1 << 62])
async def test_what_a_worker_says_of_times_need_not_make_sense(
    scheduler: Scheduler, seconds: int
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    response = success()
    response.result.execution_metadata.virtual_execution_duration.seconds = seconds
    await worker.run(await worker.lease(), response)
    await stream.last()
    (row,) = await rows(scheduler)
    assert 0 <= row.duration < 1 << 62


async def test_a_hit_is_kept_as_one(scheduler: Scheduler) -> None:
    action = scheduler.add_action()
    scheduler.action_cache.results["", action] = ActionResult()
    last = await scheduler.execute(action, call=call_for("//app:a")).last()
    (row,) = await rows(scheduler)
    assert (row.operation_name, row.action) == (last.name, action)
    assert (row.cache_state, row.target, row.invocation) == ("present", "//app:a", "build-1")
    assert not row.attempts


@pytest.mark.parametrize(
    ("fields", "request_fields", "expected"),
    [
        ({"do_not_cache": True}, {}, CacheState.NOT_CACHEABLE),
        ({}, {"skip_cache_lookup": True}, CacheState.NOT_ASKED),
    ],
)
async def test_why_the_cache_was_not_asked_is_kept(
    scheduler: Scheduler,
    fields: dict[str, bool],
    request_fields: dict[str, bool],
    expected: CacheState,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    action = scheduler.add_action(action=Action(**fields))
    stream = scheduler.execute(action, **request_fields)
    await worker.run(await worker.lease())
    await stream.last()
    (row,) = await rows(scheduler)
    assert row.cache_state == expected
    assert row.cache_reason == CacheFinding(expected).sentence


async def test_why_the_cache_had_no_result_is_kept(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = CacheFinding(CacheState.INCOMPLETE, 1, "blobs/x/1")

    async def get(instance_name: str, action: Digest) -> ActionResult:
        raise ResultAbsent("none", finding)

    monkeypatch.setattr(scheduler.action_cache, "get", get)
    scheduler.execute(scheduler.add_action())
    worker = FakeWorker(scheduler)
    await worker.connect()
    await worker.run(await worker.lease())
    (row,) = await rows(scheduler)
    assert (row.cache_state, row.cache_reason) == ("incomplete", finding.sentence)


async def test_merged_operations_share_their_attempts(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    action = scheduler.add_action()
    first = scheduler.execute(action, call=call_for("//app:a"))
    lease = await worker.lease()
    second = scheduler.execute(action, call=call_for("//app:b"))
    await second.next()
    await worker.run(lease, took(1))
    await first.last()
    one, other = await rows(scheduler)
    assert {one.target, other.target} == {"//app:a", "//app:b"}
    assert one.attempts == other.attempts
    assert len(one.attempts) == 1
    assert scheduler.history.recorder.durations.expected("", "//app:a", "CppCompile") == 1_000_000
    assert scheduler.history.recorder.durations.expected("", "//app:b", "Other") == 0


async def test_an_operation_that_is_cancelled_has_its_lease_revoked(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    name = (await worker.lease()).key.operation_name
    await scheduler.dispatcher.cancel(name)
    await stream.last()
    (row,) = await rows(scheduler)
    assert row.status_code == code_pb2.CANCELLED
    assert row.message
    assert ends(row) == [("w1", "revoked")]


async def test_one_of_merged_operations_is_cancelled_and_the_other_goes_on(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    action = scheduler.add_action()
    first = scheduler.execute(action)
    lease = await worker.lease()
    second = scheduler.execute(action)
    await second.next()
    await scheduler.dispatcher.cancel(lease.key.operation_name)
    await first.last()
    await worker.run(lease)
    await second.last()
    cancelled, done = await rows(scheduler)
    recorder = scheduler.history.recorder
    assert not recorder._runs, "what has ended is forgotten"
    assert not recorder._ongoing
    assert (cancelled.status_code, ends(cancelled)) == (code_pb2.CANCELLED, [("w1", "")])
    assert (done.status_code, ends(done)) == (0, [("w1", "completed")])


async def test_an_action_that_no_worker_can_run_is_kept_without_attempts(
    scheduler: Scheduler,
) -> None:
    await FakeWorker(scheduler).connect()
    action = scheduler.add_action(platform={"os": "plan9"})
    await scheduler.execute(action, call=call_for("//app:a")).last()
    (row,) = await rows(scheduler)
    assert (row.status_code, row.target) == (code_pb2.FAILED_PRECONDITION, "//app:a")
    assert "os=plan9" in row.message
    assert not row.attempts


async def test_after_a_restart_what_goes_on_is_kept_roughly(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    scheduler.execute(scheduler.add_action("a"), call=call_for("//app:a"))
    lease = await worker.lease()
    async with scheduler.successor() as successor:
        returned = FakeWorker(successor)
        await returned.connect(lease.key)
        stream = successor.wait(lease.key.operation_name)
        await returned.run(lease, success())
        await stream.last()
        (row,) = await rows(successor)
    assert (row.target, row.invocation, row.cache_state) == ("//app:a", "build-1", "")
    assert 0 < row.queued_at <= row.finished_at
    (attempt,) = row.attempts
    assert (attempt.worker_id, attempt.leased_at, attempt.end) == ("w1", 0, "completed")
    assert "before the scheduler was restarted" in attempt.reason


async def test_durations_are_learned_again_from_history(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    for exit_code in (0, 1):
        stream = scheduler.execute(scheduler.add_action(str(exit_code)), call=call_for("//app:a"))
        await worker.run(await worker.lease(), took(4 * (1 + exit_code), exit_code))
        await stream.last()
    await rows(scheduler)
    async with scheduler.successor() as successor:
        durations = successor.history.recorder.durations
        assert durations.expected("", "//app:a", "CppCompile") == 4_000_000
        assert durations.expected("", "//app:new", "CppCompile") == 4_000_000
        assert durations.expected("main", "//app:a", "CppCompile") == 0


async def test_a_failure_after_lost_attempts_says_so_to_the_client(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    action = scheduler.add_action()
    stream = scheduler.execute(action)
    gave_up = ExecuteResponse(status=Status(code=code_pb2.CANCELLED))
    worker.complete(await worker.lease(), gave_up)
    replies = [await worker.next(), await worker.next()]
    (lease,) = [reply.lease for reply in replies if reply.HasField("lease")]
    await worker.run(lease, took(1, exit_code=1))
    message = response_of(await stream.last()).message
    assert message == (
        f"earlier attempts were on w1 (returned); `reapi-cli explain {action}` says more"
    )
    (row,) = await rows(scheduler)
    assert ends(row) == [("w1", "returned"), ("w1", "completed")]


async def test_a_plain_failure_and_a_success_are_told_as_they_are(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    for exit_code in (0, 1):
        stream = scheduler.execute(scheduler.add_action(str(exit_code)))
        await worker.run(await worker.lease(), took(1, exit_code))
        assert response_of(await stream.last()).message == ""


async def test_a_worker_that_is_lost_is_named(scheduler: Scheduler) -> None:
    first = FakeWorker(scheduler)
    await first.connect()
    stream = scheduler.execute(scheduler.add_action())
    name = (await first.lease()).key.operation_name
    again = FakeWorker(scheduler, session_id="s2")
    await again.connect()
    ongoing = scheduler.history.recorder.ongoing(name)
    assert ongoing is not None
    assert ends(ongoing) == [("w1", "lost"), ("w1", "")]
    await again.run(await again.lease())
    await stream.last()
    (row,) = await rows(scheduler)
    assert ends(row) == [("w1", "lost"), ("w1", "completed")]


async def test_what_clients_say_of_themselves_is_bounded(scheduler: Scheduler) -> None:
    action = scheduler.add_action()
    scheduler.action_cache.results["", action] = ActionResult()
    await scheduler.execute(action, call=call_for("\0" + "t" * 5000)).last()
    (row,) = await rows(scheduler)
    assert row.target == "t" * 1000
