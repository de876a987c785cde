"""What operators tell the scheduler and ask it."""

from pathlib import Path

import pytest

from reapi.core.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import RequestMetadata
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import (
    CordonWorkersRequest,
    DrainWorkersRequest,
    GetClusterRequest,
    GetClusterResponse,
    SetExpectedWorkersRequest,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import ListWorkersRequest, Worker
from tests.unit.scheduler.harness import CALL, FakeWorker, Scheduler, call_with


async def cordon(scheduler: Scheduler, pattern: str, cordoned: bool = True) -> list[str]:
    request = CordonWorkersRequest(pattern=pattern, cordoned=cordoned)
    return list((await scheduler.orders.cordon_workers(request, CALL)).worker_ids)


async def cluster(scheduler: Scheduler) -> GetClusterResponse:
    return await scheduler.orders.get_cluster(GetClusterRequest(), CALL)


async def listed(scheduler: Scheduler) -> list[Worker]:
    return list((await scheduler.workers.list_workers(ListWorkersRequest(), CALL)).workers)


async def test_a_cordoned_worker_goes_on_and_gets_no_more(scheduler: Scheduler) -> None:
    workers = [FakeWorker(scheduler, name) for name in ("a1", "a2", "b1")]
    for worker in workers:
        await worker.connect()
    assert await cordon(scheduler, "a?") == ["a1", "a2"]
    assert [worker.cordoned for worker in await listed(scheduler)] == [True, True, False]
    for number in range(3):
        stream = scheduler.execute(scheduler.add_action(str(number)))
        await workers[2].run(await workers[2].lease())
        await stream.last()
    waiting = scheduler.execute(scheduler.add_action("more"))
    await workers[2].lease()
    another = scheduler.execute(scheduler.add_action("and more"))
    await waiting.next()
    await another.next()
    assert await cordon(scheduler, "a2", cordoned=False) == ["a2"]
    assert (await workers[1].lease()).action_digest


async def test_a_cordon_outlives_a_restart_and_holds_for_later_workers(
    scheduler: Scheduler,
) -> None:
    assert await cordon(scheduler, "a*") == []
    async with scheduler.successor() as later:
        worker = FakeWorker(later, "a1")
        await worker.connect()
        assert (await listed(later))[0].cordoned


async def test_draining_says_what_still_runs_and_ends_with_it(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler, "a1", slots=2)
    await worker.connect()
    for number in range(2):
        await scheduler.execute(scheduler.add_action(str(number))).next()
    leases = [await worker.lease() for _ in range(2)]
    words = scheduler.orders.drain_workers(DrainWorkersRequest(pattern="a*"), CALL)
    first = await anext(words)
    assert (first.worker_ids, first.busy_worker_ids, first.running) == (["a1"], ["a1"], 2)
    await scheduler.execute(scheduler.add_action("2")).next()
    await worker.run(leases[0])
    assert (await anext(words)).running == 1
    await worker.run(leases[1])
    last = await anext(words)
    assert (last.busy_worker_ids, last.running) == ([], 0)
    with pytest.raises(StopAsyncIteration):
        await anext(words)
    assert (await cluster(scheduler)).queued == 1


async def test_the_number_of_expected_workers_can_be_changed(scheduler: Scheduler) -> None:
    for former, expected in ((0, 3), (3, 4)):
        request = SetExpectedWorkersRequest(expected_workers=expected)
        reply = await scheduler.orders.set_expected_workers(request, CALL)
        assert reply.former_expected_workers == former
        assert (await cluster(scheduler)).expected_workers == expected
    async with scheduler.successor() as later:
        assert (await cluster(later)).expected_workers == 4


async def test_orders_without_sense_are_refused(scheduler: Scheduler) -> None:
    for pattern in ("", "x" * 201):
        with pytest.raises(InvalidArgument, match="1 to 200 characters"):
            await cordon(scheduler, pattern)
    request = SetExpectedWorkersRequest(expected_workers=1_000_001)
    with pytest.raises(InvalidArgument, match="must be 0 to 1000000"):
        await scheduler.orders.set_expected_workers(request, CALL)


async def test_modulo_keeps_a_number_to_divide_by(tmp_path: Path) -> None:
    settings = {"placement": "modulo", "expected_workers": 2}
    async with Scheduler(tmp_path / "scheduler.db", **settings) as scheduler:
        with pytest.raises(InvalidArgument, match="must be 1 to"):
            await scheduler.orders.set_expected_workers(SetExpectedWorkersRequest(), CALL)
        await FakeWorker(scheduler, "a", ordinal=1).connect()
        found = await cluster(scheduler)
        assert (found.expected_workers, found.absent_workers) == (2, ["0"])
        assert (await listed(scheduler))[0].ordinal == 1


async def test_the_cluster_shows_queues_by_what_they_ask_for(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler, slots=2, platform={"ISA": "arm"}, resources={"cpu": 4000})
    await worker.connect()
    for number in range(4):
        platform = {"ISA": "arm", "resource.cpu": "1.5"} if number else {}
        await scheduler.execute(scheduler.add_action(str(number), platform=platform)).next()
    found = await cluster(scheduler)
    assert (found.queued, found.executing) == (2, 2)
    fullest, other = found.queues
    assert [(one.name, one.value) for one in fullest.platform.properties] == [
        ("ISA", "arm"),
        ("resource.cpu", "1500m"),
    ]
    assert (fullest.queued, fullest.executing, other.executing) == (2, 1, 1)
    assert (fullest.workers, fullest.slots, fullest.free_slots) == (1, 2, 0)
    assert fullest.HasField("oldest_wait")
    assert fullest.reason


async def test_a_worker_that_is_away_is_absent(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler, "a1", resources={"cpu": 2000, "licence": 1})
    await worker.connect()
    (present,) = await listed(scheduler)
    assert [(one.name, one.amount) for one in present.resources] == [("cpu", 2000), ("licence", 1)]
    assert not present.HasField("ordinal")
    worker.heartbeat()
    await worker.leave()
    (away,) = await listed(scheduler)
    assert not away.connected
    assert away.last_heard.ToMicroseconds() >= present.last_heard.ToMicroseconds()
    assert (await cluster(scheduler)).absent_workers == ["a1"]


async def test_workers_show_what_is_booked_and_the_rest_waits(tmp_path: Path) -> None:
    licences = (("licence", 1),)
    async with Scheduler(tmp_path / "scheduler.db", fleet_resources=licences) as scheduler:
        worker = FakeWorker(scheduler, slots=4, resources={"cpu": 4000})
        await worker.connect()
        for number in range(2):
            platform = {"resource.cpu": "1.5", "resource.licence": "1"}
            await scheduler.execute(scheduler.add_action(str(number), platform=platform)).next()
        (shown,) = await listed(scheduler)
        assert shown.busy == 1
        assert {one.name: one.amount for one in shown.booked} == {"cpu": 1500, "licence": 1}
        (queue,) = (await cluster(scheduler)).queues
        assert (queue.queued, queue.executing, queue.workers) == (1, 1, 1)
        worker.complete(await worker.lease())
        worker.complete(await worker.lease())
        for _ in range(2):
            assert (await worker.next()).HasField("completion_received")
        assert not (await listed(scheduler))[0].booked


async def test_a_worker_that_placement_cannot_take_is_told_why(tmp_path: Path) -> None:
    settings = {"placement": "modulo", "expected_workers": 2}
    async with Scheduler(tmp_path / "scheduler.db", **settings) as scheduler:
        for worker in (FakeWorker(scheduler, "none"), FakeWorker(scheduler, "high", ordinal=2)):
            with pytest.raises(FailedPrecondition, match="ordinal"):
                await worker.connect()
        assert await listed(scheduler) == []


async def test_an_invocation_beyond_its_limit_is_refused_with_the_time_to_retry(
    tmp_path: Path,
) -> None:
    call = call_with(RequestMetadata(tool_invocation_id="build-1"))
    async with Scheduler(tmp_path / "scheduler.db", max_queued_per_invocation=1) as scheduler:
        await scheduler.execute(scheduler.add_action("1"), call=call).next()
        with pytest.raises(ResourceExhausted) as caught:
            await scheduler.execute(scheduler.add_action("2"), call=call).next()
        assert caught.value.retry_after_seconds
        await scheduler.execute(scheduler.add_action("3")).next()
