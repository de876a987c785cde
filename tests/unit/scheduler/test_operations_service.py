"""GetOperation, ListOperations and CancelOperation (OP1-OP3)."""

import re
from base64 import urlsafe_b64encode

import pytest
from google.longrunning.operations_pb2 import (
    CancelOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    Operation,
)
from google.rpc import code_pb2

from reapi.core.errors import InvalidArgument, NotFound
from tests.unit.scheduler.harness import CALL, FakeWorker, Scheduler, response_of


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
        {"filter": "done = true"},
    ],
)
async def test_a_bad_list_request_is_refused(
    scheduler: Scheduler, fields: dict[str, object]
) -> None:
    request = ListOperationsRequest(**fields)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        await scheduler.operations.list_operations(request, CALL)
