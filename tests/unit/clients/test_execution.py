"""Execute over broken streams, and its cancellation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from reapi.clients.channel import Channel
from reapi.clients.execution import execute
from reapi.clients.model import Operation, Stage
from reapi.clients.operations import cancel_operation, get_operation, list_operations
from reapi.clients.workers import list_workers
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import BlobsMissing, NotFound, Unavailable
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Action, Command
from reapi.protos.reapi.worker.v1 import worker_pb2
from tests.fakes.fake_execution import FakeRun
from tests.fakes.reapi_server import FakeReapiServer


@pytest.fixture
def action_digest(server: FakeReapiServer) -> Digest:
    command = server.blobs.add(Command(arguments=["step"]).SerializeToString())
    root = server.blobs.add(b"")
    action = Action(command_digest=command.to_message(), input_root_digest=root.to_message())
    return server.blobs.add(action.SerializeToString())


async def states(operations: AsyncIterator[Operation]) -> list[Operation]:
    return [operation async for operation in operations]


async def test_every_state_is_told_and_the_last_one_has_the_response(
    server: FakeReapiServer, channel: Channel, action_digest: Digest
) -> None:
    server.execution.runs["step",] = FakeRun(exit_code=7)
    queued, done = await states(execute(channel, "", action_digest))
    assert queued.stage is Stage.QUEUED
    assert queued.action_digest == action_digest
    assert not queued.is_done
    assert done.stage is Stage.COMPLETED
    assert done.response is not None
    assert done.response.result.exit_code == 7
    assert done.worker == "fake-worker"


async def test_EX13_a_broken_stream_is_taken_up_by_wait_execution(
    server: FakeReapiServer, channel: Channel, action_digest: Digest
) -> None:
    server.execution.drop_after_messages = [1, 0, 1]
    told = await states(execute(channel, "", action_digest))
    assert told[-1].is_done
    assert server.calls["Execute"] == 1
    assert server.calls["WaitExecution"] == 3


async def test_EX14_an_operation_that_the_server_forgot_is_started_anew(
    server: FakeReapiServer, channel: Channel, action_digest: Digest
) -> None:
    server.execution.drop_after_messages = [1]
    server.failures["WaitExecution"].append(NotFound("restarted"))
    told = await states(execute(channel, "", action_digest))
    assert told[-1].is_done
    assert server.calls["Execute"] == 2


async def test_a_server_that_forgets_every_operation_is_given_up(
    server: FakeReapiServer, channel: Channel, action_digest: Digest
) -> None:
    server.execution.drop_after_messages = [1] * 10
    server.failures["WaitExecution"] += [NotFound("restarted")] * 10
    with pytest.raises(NotFound):
        await states(execute(channel, "", action_digest))
    assert server.calls["Execute"] == 3


async def test_B2_an_execute_that_fails_before_its_first_message_is_tried_again(
    server: FakeReapiServer, channel: Channel, action_digest: Digest
) -> None:
    server.failures["Execute"].append(Unavailable("starting"))
    told = await states(execute(channel, "", action_digest))
    assert told[-1].is_done


async def test_EX4_an_error_before_the_operation_exists_is_raised(channel: Channel) -> None:
    with pytest.raises(BlobsMissing):
        await states(execute(channel, "", digest_of(b"absent")))


async def test_being_cancelled_cancels_the_operation(
    server: FakeReapiServer, channel: Channel, action_digest: Digest
) -> None:
    server.execution.runs["step",] = FakeRun(hangs=True)
    running = asyncio.ensure_future(states(execute(channel, "", action_digest)))
    await server.execution.execute_arrived.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert server.execution.cancelled_names == list(server.execution.operations)


async def test_leaving_early_cancels_the_operation(
    server: FakeReapiServer, channel: Channel, action_digest: Digest
) -> None:
    server.execution.runs["step",] = FakeRun(hangs=True)
    async with aclosing(execute(channel, "", action_digest)) as operations:
        operation = await anext(operations)
    assert server.execution.cancelled_names == [operation.name]


async def test_a_done_operation_is_not_cancelled(
    server: FakeReapiServer, channel: Channel, action_digest: Digest
) -> None:
    async with aclosing(execute(channel, "", action_digest)) as operations:
        async for operation in operations:
            if operation.is_done:
                break
    assert server.execution.cancelled_names == []


async def test_operations_are_listed_over_all_pages(
    server: FakeReapiServer, channel: Channel, action_digest: Digest
) -> None:
    for _ in range(5):
        await states(execute(channel, "", action_digest))
    listed = await states(list_operations(channel, ""))
    assert [operation.name for operation in listed] == sorted(server.execution.operations)
    assert await get_operation(channel, listed[0].name) == listed[0]


async def test_OP2_an_unknown_operation_cannot_be_cancelled(channel: Channel) -> None:
    with pytest.raises(NotFound):
        await cancel_operation(channel, "nonsense")


async def test_workers_are_told_with_their_platform(
    server: FakeReapiServer, channel: Channel
) -> None:
    worker = worker_pb2.Worker(
        worker_id="one", slots=4, connected=True, operations=["operations/7"]
    )
    worker.platform.properties.add(name="OSFamily", value="linux")
    server.workers.append(worker)
    (told,) = await list_workers(channel)
    assert (told.name, told.slots, told.is_connected, told.is_draining) == ("one", 4, True, False)
    assert told.platform == [("OSFamily", "linux")]
    assert told.operations == ["operations/7"]
