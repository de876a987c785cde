"""The worker protocol, with a worker over plain async iterators."""

import pytest
from google.rpc import code_pb2

from reapi.core.errors import DeadlineExceeded, InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecuteResponse,
    ExecutionStage,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    Completion,
    ConnectRequest,
    Heartbeat,
    Lease,
    LeaseKey,
    ListWorkersRequest,
    ListWorkersResponse,
    Register,
    Resource,
)
from reapi.scheduler.config import SchedulerConfig
from reapi.scheduler.worker_service import WorkerService
from tests.unit.scheduler.harness import (
    CALL,
    FakeWorker,
    Scheduler,
    metadata_of,
    response_of,
    success,
)


async def list_workers(scheduler: Scheduler) -> ListWorkersResponse:
    return await scheduler.workers.list_workers(ListWorkersRequest(), CALL)


async def test_a_worker_is_welcomed_before_anything_else(scheduler: Scheduler) -> None:
    stream = scheduler.execute(scheduler.add_action())
    await stream.next()
    worker = FakeWorker(scheduler)
    reply = await worker.connect()
    assert reply.registered.heartbeat_interval.seconds == 30
    assert not reply.registered.revoked
    assert (await worker.next()).HasField("lease")


def register_with(*resources: Resource) -> ConnectRequest:
    register = Register(worker_id="w", session_id="s", slots=1, resources=resources)
    return ConnectRequest(register=register)


@pytest.mark.parametrize(
    "first",
    [
        ConnectRequest(),
        ConnectRequest(heartbeat=Heartbeat()),
        ConnectRequest(register=Register(session_id="s", slots=1)),
        ConnectRequest(register=Register(worker_id="w", slots=1)),
        ConnectRequest(register=Register(worker_id="w", session_id="s")),
        ConnectRequest(register=Register(worker_id="w", session_id="s", slots=1_000_000)),
        ConnectRequest(register=Register(worker_id="w" * 1000, session_id="s", slots=1)),
        register_with(Resource(name="not a name", amount=1)),
        register_with(Resource(name="gpu", amount=(1 << 64) - 1)),
        register_with(*(Resource(name=f"token{number}", amount=1) for number in range(51))),
    ],
)
async def test_a_stream_without_a_proper_register_is_refused(
    scheduler: Scheduler, first: ConnectRequest
) -> None:
    async def requests():  # type: ignore[no-untyped-def]
        yield first

    with pytest.raises(InvalidArgument):
        await anext(scheduler.workers.connect(requests(), CALL))
    assert not (await list_workers(scheduler)).workers


async def test_a_second_register_ends_the_stream(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    worker.say(ConnectRequest(register=Register(worker_id="w1", session_id="s1", slots=1)))
    with pytest.raises(InvalidArgument, match="second Register"):
        await worker.next()


async def test_a_silent_worker_is_cut_off(scheduler: Scheduler) -> None:
    config = SchedulerConfig(heartbeat_seconds=0.001, worker_timeout_seconds=0.004)
    scheduler.workers = WorkerService(config, scheduler.dispatcher)
    worker = FakeWorker(scheduler)
    await worker.connect()
    with pytest.raises(DeadlineExceeded, match="no heartbeat"):
        await worker.next()
    (known,) = (await list_workers(scheduler)).workers
    assert not known.connected


async def test_no_more_leases_than_slots(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler, slots=2)
    await worker.connect()
    streams = [scheduler.execute(scheduler.add_action(str(n))) for n in range(3)]
    stages = [metadata_of(await stream.next()).stage for stream in streams]
    assert stages == [ExecutionStage.EXECUTING] * 2 + [ExecutionStage.QUEUED]
    leases = [await worker.lease(), await worker.lease()]
    worker.complete(leases[0])
    replies = [await worker.next(), await worker.next()]
    assert sorted(str(reply.WhichOneof("message")) for reply in replies) == [
        "completion_received",
        "lease",
    ]


async def test_a_worker_that_returns_in_the_same_session_keeps_its_lease(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    await stream.next()
    lease = await worker.lease()
    await worker.leave()
    reply = await worker.connect(lease.key)
    assert not reply.registered.revoked
    await worker.run(lease)
    assert response_of(await stream.last()).status.code == code_pb2.OK


async def test_a_new_session_loses_the_leases_and_the_action_runs_again(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler, session_id="s1")
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    await stream.next()
    first = await worker.lease()
    reborn = FakeWorker(scheduler, session_id="s2")
    await reborn.connect()
    second = await reborn.lease()
    assert second.key.operation_name == first.key.operation_name
    assert second.key.epoch > first.key.epoch
    await reborn.run(second)
    assert response_of(await stream.last()).status.code == code_pb2.OK


async def test_a_new_session_delivers_what_an_earlier_one_had_done(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler, session_id="s1")
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    await stream.next()
    lease = await worker.lease()
    reborn = FakeWorker(scheduler, session_id="s2")
    reply = await reborn.connect(lease.key)
    assert not reply.registered.revoked
    await reborn.run(lease)
    assert response_of(await stream.last()).status.code == code_pb2.OK


async def test_a_stale_completion_is_acknowledged_and_ignored(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    await stream.next()
    lease = await worker.lease()
    stale = LeaseKey(operation_name=lease.key.operation_name, epoch=lease.key.epoch + 7)
    worker.say(
        ConnectRequest(completion=Completion(key=stale, response=success(stdout_raw=b"stale")))
    )
    assert (await worker.next()).completion_received.key == stale
    assert not scheduler.action_cache.results
    await worker.run(lease, success(stdout_raw=b"good"))
    assert response_of(await stream.last()).result.stdout_raw == b"good"


async def test_a_repeated_completion_is_acknowledged_again(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    lease = await worker.lease()
    await worker.run(lease)
    await worker.run(lease, success(stdout_raw=b"other"))
    assert not response_of(await stream.last()).result.stdout_raw


async def test_held_leases_that_nobody_wants_any_more_are_revoked(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    key = LeaseKey(operation_name="operations/unknown", epoch=3)
    reply = await worker.connect(key)
    assert list(reply.registered.revoked) == [key]


async def test_an_action_given_up_after_losing_too_many_workers(scheduler: Scheduler) -> None:
    stream = scheduler.execute(scheduler.add_action())
    first = await stream.next()
    for session in range(3):
        worker = FakeWorker(scheduler, session_id=str(session))
        await worker.connect()
        await worker.lease()
    await FakeWorker(scheduler, session_id="last").connect()
    status = response_of(await stream.last()).status
    assert status.code == code_pb2.ABORTED
    assert "3 workers were lost" in status.message
    assert first.name


async def test_a_draining_worker_gets_nothing_new_and_is_forgotten_when_it_leaves(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler, slots=2)
    await worker.connect()
    running = scheduler.execute(scheduler.add_action("one"))
    lease = await worker.lease()
    worker.drain()
    # Words are taken in order: when this one is answered, the drain has been heard.
    await worker.run(Lease(key=LeaseKey(operation_name="operations/unknown", epoch=1)))
    assert (await list_workers(scheduler)).workers[0].draining
    waiting = scheduler.execute(scheduler.add_action("two"))
    assert metadata_of(await waiting.next()).stage == ExecutionStage.QUEUED
    await worker.run(lease)
    assert (await running.last()).done
    await worker.leave()
    assert not (await list_workers(scheduler)).workers
    other = FakeWorker(scheduler, "w2")
    await other.connect()
    await other.run(await other.lease())
    assert (await waiting.last()).done


async def test_a_newer_stream_of_a_worker_replaces_the_older(scheduler: Scheduler) -> None:
    old = FakeWorker(scheduler, session_id="s1")
    await old.connect()
    new = FakeWorker(scheduler, session_id="s2")
    await new.connect()
    with pytest.raises(StopAsyncIteration):
        await old.next()
    (known,) = (await list_workers(scheduler)).workers
    assert known.connected


async def test_list_workers_tells_who_is_there_and_what_runs(scheduler: Scheduler) -> None:
    for worker_id in ("b", "a"):
        await FakeWorker(scheduler, worker_id, slots=2, platform={"OS": "linux"}).connect()
    stream = scheduler.execute(scheduler.add_action())
    first = await stream.next()
    workers = (await list_workers(scheduler)).workers
    assert [worker.worker_id for worker in workers] == ["a", "b"]
    assert sorted(name for worker in workers for name in worker.operations) == [first.name]
    assert {worker.platform.properties[0].value for worker in workers} == {"linux"}
    assert {worker.slots for worker in workers} == {2}


async def test_a_cancelled_action_frees_its_slot_when_the_worker_says_so(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action("one"))
    first = await stream.next()
    lease = await worker.lease()
    await scheduler.dispatcher.cancel(first.name)
    assert response_of(await stream.last()).status.code == code_pb2.CANCELLED
    assert (await worker.next()).cancel.key == lease.key
    waiting = scheduler.execute(scheduler.add_action("two"))
    assert metadata_of(await waiting.next()).stage == ExecutionStage.QUEUED
    cancelled = ExecuteResponse()
    cancelled.status.code = code_pb2.CANCELLED
    worker.complete(lease, cancelled)
    replies = [await worker.next(), await worker.next()]
    assert {reply.WhichOneof("message") for reply in replies} == {"lease", "completion_received"}
