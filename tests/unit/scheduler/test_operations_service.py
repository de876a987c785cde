"""GetOperation, ListOperations and CancelOperation (OP1-OP3)."""

import re
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from google.longrunning.operations_pb2 import (
    CancelOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    Operation,
)
from google.rpc import code_pb2

from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument, NotFound
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    RequestMetadata,
)
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import ExecutionState
from reapi.scheduler import execution_state
from reapi.scheduler.allowance import Allowance
from reapi.scheduler.answered_operations import AnsweredOperations
from reapi.scheduler.execution_state import ExecutionStates
from reapi.scheduler.live_operation import LiveOperation
from reapi.scheduler.model import Stage
from reapi.scheduler.operation_message import state_of
from reapi.scheduler.queue import Queue
from tests.unit.scheduler.harness import (
    CALL,
    FakeWorker,
    Scheduler,
    call_with,
    metadata_of,
    response_of,
)


async def get(scheduler: Scheduler, name: str) -> Operation:
    request = GetOperationRequest(name=name)
    return Operation.FromString(await scheduler.operations.get_operation(request, CALL))


async def cancel(scheduler: Scheduler, name: str) -> None:
    await scheduler.operations.cancel_operation(CancelOperationRequest(name=name), CALL)


async def test_OP1_get_operation_finds_live_and_finished_ones(scheduler: Scheduler) -> None:
    stream = scheduler.execute(scheduler.add_action())
    first = await stream.next()
    assert await get(scheduler, first.name) == first
    worker = FakeWorker(scheduler)
    await worker.connect()
    await worker.run(await worker.lease())
    last = await stream.last()
    assert await get(scheduler, first.name) == last
    with pytest.raises(NotFound):
        await get(scheduler, "operations/unknown")


async def test_OP2_cancel_ends_a_queued_operation(scheduler: Scheduler) -> None:
    stream = scheduler.execute(scheduler.add_action())
    first = await stream.next()
    await cancel(scheduler, first.name)
    last = await stream.last()
    assert response_of(last).status.code == code_pb2.CANCELLED
    assert not last.HasField("error")
    await cancel(scheduler, first.name)
    with pytest.raises(NotFound):
        await cancel(scheduler, "operations/unknown")


async def test_OP2_cancel_of_one_merged_caller_leaves_the_other(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    digest = scheduler.add_action()
    mine, theirs = scheduler.execute(digest), scheduler.execute(digest)
    my_name = (await mine.next()).name
    await theirs.next()
    await cancel(scheduler, my_name)
    assert response_of(await mine.last()).status.code == code_pb2.CANCELLED
    await worker.run(await worker.lease())
    assert response_of(await theirs.last()).status.code == code_pb2.OK


async def test_OP2_the_last_merged_caller_that_cancels_stops_the_action(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    digest = scheduler.add_action()
    streams = [scheduler.execute(digest), scheduler.execute(digest)]
    names = [(await stream.next()).name for stream in streams]
    lease = await worker.lease()
    for name in names:
        await cancel(scheduler, name)
    assert (await worker.next()).cancel.key == lease.key


async def test_OP3_names_are_unguessable(scheduler: Scheduler) -> None:
    stream = scheduler.execute(scheduler.add_action())
    assert re.fullmatch(
        r"operations/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", (await stream.next()).name
    )


async def test_list_operations_pages_through_live_and_finished_ones(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    names = []
    for number in range(7):
        stream = scheduler.execute(
            scheduler.add_action(str(number)), instance_name="main" if number % 2 else ""
        )
        names.append((await stream.next()).name)
        if number < 4:
            await worker.run(await worker.lease())
    found: list[str] = []
    token = ""
    while True:
        request = ListOperationsRequest(page_size=2, page_token=token)
        page = await scheduler.operations.list_operations(request, CALL)
        assert 0 < len(page.operations) <= 2
        found += [operation.name for operation in page.operations]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(names)
    page = await scheduler.operations.list_operations(ListOperationsRequest(name="main"), CALL)
    assert [operation.name for operation in page.operations] == sorted(names[1::2])


@pytest.mark.parametrize(
    "fields",
    [
        {"page_token": "forged"},
        {"page_token": "é"},
        {"page_token": urlsafe_b64encode(b"operations/1").decode()},
        {"page_size": -1},
        {"filter": "done"},
        {"filter": "done = maybe"},
        {"filter": "colour = red"},
        {"filter": "done = true OR done = false"},
        {"filter": "done = true AND "},
        {"filter": 'target = "//a'},
        {"filter": "x" * 3000},
    ],
)
async def test_a_bad_list_request_is_refused(
    scheduler: Scheduler, fields: dict[str, object]
) -> None:
    request = ListOperationsRequest(**fields)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        await scheduler.operations.list_operations(request, CALL)


async def names_of(scheduler: Scheduler, **fields: object) -> list[str]:
    request = ListOperationsRequest(**fields)  # type: ignore[arg-type]
    page = await scheduler.operations.list_operations(request, CALL)
    assert not page.next_page_token
    return [operation.name for operation in page.operations]


async def test_operations_are_listed_by_stage_worker_tenant_invocation_and_target(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    metadata = RequestMetadata(tool_invocation_id="build-1", target_id="//a:b c")
    done = scheduler.execute(scheduler.add_action("1"), call=call_with(metadata))
    await worker.run(await worker.lease())
    running = scheduler.execute(scheduler.add_action("2"), instance_name="main")
    await worker.lease()
    waiting = scheduler.execute(scheduler.add_action("3"), call=call_with(metadata))
    finished = (await done.last()).name
    executing, queued = (await running.next()).name, (await waiting.next()).name
    for text, expected in (
        ("", [finished, executing, queued]),
        ("done=true", [finished]),
        ("done = false", [executing, queued]),
        ("stage=QUEUED", [queued]),
        ("stage=EXECUTING AND tenant=main", [executing]),
        ("stage=COMPLETED AND done=false", []),
        ("tenant=main", [executing]),
        ("worker=w1", [finished, executing]),
        ("worker=w2", []),
        ("invocation=build-1", [finished, queued]),
        ('target = "//a:b c" AND done=true', [finished]),
        ('target = "//a:\\b c"', [finished, queued]),
    ):
        assert await names_of(scheduler, filter=text) == sorted(expected), text


async def test_a_filtered_list_goes_on_where_the_page_before_ended(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    wanted = []
    for number in range(12):
        stream = scheduler.execute(
            scheduler.add_action(str(number)), instance_name="main" if number % 3 else ""
        )
        name = (await stream.next()).name
        await worker.run(await worker.lease())
        wanted += [name] if number % 3 == 0 else []
    found: list[str] = []
    token = ""
    while True:
        request = ListOperationsRequest(page_size=3, page_token=token, filter='tenant=""')
        page = await scheduler.operations.list_operations(request, CALL)
        found += [operation.name for operation in page.operations]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(wanted)


async def test_a_page_token_is_refused_when_altered_or_for_another_list(
    tmp_path: Path,
) -> None:
    async with Scheduler(tmp_path / "scheduler.db") as scheduler:
        for number in range(3):
            await scheduler.execute(scheduler.add_action(str(number))).next()
        request = ListOperationsRequest(page_size=1)
        first = await scheduler.operations.list_operations(request, CALL)
        token = first.next_page_token
        for changed in ({"filter": "done=false"}, {"name": "main"}):
            other = ListOperationsRequest(page_size=1, page_token=token, **changed)
            with pytest.raises(InvalidArgument, match="not one that this server gave"):
                await scheduler.operations.list_operations(other, CALL)
        for forged in (token[:-4] + "AAAA", token[4:], "A" * len(token), token + "A"):
            with pytest.raises(InvalidArgument, match="not one that this server gave"):
                await scheduler.operations.list_operations(
                    ListOperationsRequest(page_token=forged), CALL
                )
        async with scheduler.successor() as later:
            request.page_token = token
            second = await later.operations.list_operations(request, CALL)
            assert second.operations[0].name > first.operations[0].name


async def test_an_operation_that_was_answered_at_once_is_found_by_name(
    scheduler: Scheduler,
) -> None:
    digest = scheduler.add_action()
    await scheduler.action_cache.put("", digest, ActionResult(exit_code=0), writer="test")
    hit = await scheduler.execute(digest).last()
    assert response_of(hit).cached_result
    unknown = Digest(hash="0" * 64, size_bytes=1, function=digest.function)
    missing = await scheduler.execute(unknown).last()
    for operation in (hit, missing):
        assert await get(scheduler, operation.name) == operation
        assert await scheduler.wait(operation.name).last() == operation
        await cancel(scheduler, operation.name)
    assert await names_of(scheduler) == []


def test_of_operations_answered_at_once_the_last_are_remembered() -> None:
    answered = AnsweredOperations(max_count=2, max_bytes=10)
    for name, operation in (("a", b"1"), ("b", b"2"), ("c", b"3")):
        answered.put(name, operation)
    assert [answered.get(name) for name in "abc"] == [None, b"2", b"3"]
    answered.put("d", b"12345678")
    assert [answered.get(name) for name in "bcd"] == [None, b"3", b"12345678"]
    answered.put("e", b"x" * 11)
    assert [answered.get(name) for name in "de"] == [None, None]


def state_in(operation: Operation) -> ExecutionState:
    return state_of(metadata_of(operation))


async def test_the_metadata_says_where_an_operation_waits_and_then_who_runs_it(
    scheduler: Scheduler,
) -> None:
    streams = [scheduler.execute(scheduler.add_action(str(number))) for number in range(3)]
    names = [(await stream.next()).name for stream in streams]
    state = state_in(await get(scheduler, names[2]))
    assert (state.position, state.attempts, state.worker_id) == (3, 0, "")
    assert "no worker" in state.reason
    worker = FakeWorker(scheduler)
    await worker.connect()
    lease = await worker.lease()
    running = await get(scheduler, lease.key.operation_name)
    state = state_in(running)
    assert (state.position, state.attempts, state.worker_id) == (0, 1, "w1")
    assert state.reason
    assert metadata_of(running).partial_execution_metadata.worker == "w1"


async def test_a_merged_operation_says_the_same_of_its_execution(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    digest = scheduler.add_action()
    first = await scheduler.execute(digest).next()
    await worker.lease()
    second = await scheduler.execute(digest).next()
    mine, theirs = [state_in(await get(scheduler, one.name)) for one in (first, second)]
    assert theirs == mine
    assert theirs.attempts == 1


async def test_a_message_for_many_streams_is_made_once(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    def count(
        states: ExecutionStates, queue: Queue, live: LiveOperation, *, is_asked: bool
    ) -> ExecutionState:
        nonlocal made
        made += 1
        return ExecutionState()

    monkeypatch.setattr(ExecutionStates, "of", count)
    stream = scheduler.execute(scheduler.add_action())
    name = (await stream.next()).name
    waiters = [scheduler.wait(name) for _ in range(50)]
    for waiter in waiters:
        await waiter.next()
    assert made < 5
    made = 0
    worker = FakeWorker(scheduler)
    await worker.connect()
    for waiter in waiters:
        assert metadata_of(await waiter.next()).stage == Stage.EXECUTING
    assert made < 5


async def test_when_places_take_too_long_streams_say_how_many_wait_and_questions_are_answered(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_state, "_SHARE_OF_STREAMS", 0)
    monkeypatch.setattr(execution_state, "position", lambda _: time.sleep(0.2) or 7)
    async with scheduler.successor() as slow:
        first = state_in(await slow.execute(slow.add_action("1")).next())
        second = await slow.execute(slow.add_action("2")).next()
        assert (first.position, state_in(second).position) == (7, 0)
        assert state_in(second).reason == "2 actions wait"
        assert state_in(await get(slow, second.name)).position == 7


def test_an_allowance_is_a_share_of_the_time_and_debts_are_paid_back() -> None:
    now = 0.0
    allowance = Allowance(0.1, most_seconds=2, clock=lambda: now)
    assert allowance.is_left
    with allowance.spending():
        now = 5.0
    assert not allowance.is_left
    now = 30.0
    assert not allowance.is_left
    now = 36.0
    assert allowance.is_left
    now = 1000.0
    assert allowance.is_left
    with allowance.spending():
        now = 1002.0
    now = 1002.1
    assert allowance.is_left
