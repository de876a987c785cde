"""Several schedulers behind one frontend: who gets what, and what is of all of them."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2
from google.longrunning.operations_pb2 import (
    CancelOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    ListOperationsResponse,
    Operation,
)
from google.protobuf.empty_pb2 import Empty

from reapi.clients.schedulers import Schedulers
from reapi.core.digest import Digest
from reapi.core.interfaces import Call
from reapi.core.rpc import bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2
from reapi.server.forward import Forwarder
from reapi.server.sharding import Shard, ShardedForwarder
from tests.fakes.instances import INSTANCES
from tests.fakes.memory_store import MemoryBlobStore
from tests.fakes.raw_client import RawService, code_of, failure_of
from tests.transport import rpc_server

EXECUTION = re_pb2.DESCRIPTOR.services_by_name["Execution"]
OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
SCHEDULER = scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"]
WORKERS = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"]


class FakeScheduler:
    """Says its name in all that it answers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cancelled: list[str] = []
        self.rows = [
            *bind(EXECUTION, {"Execute": self.execute, "WaitExecution": self.wait}),
            *bind(
                OPERATIONS,
                {
                    "GetOperation": self.get,
                    "CancelOperation": self.cancel,
                    "ListOperations": self.list,
                },
            ),
            *bind(WORKERS, {"ListWorkers": self.list_workers}),
            *bind(SCHEDULER, {"ReadLog": self.read_log}),
        ]

    async def execute(
        self, request: re_pb2.ExecuteRequest, call: Call
    ) -> AsyncGenerator[Operation, None]:
        yield Operation(name=f"operations/{self.name}/1", done=True)

    async def wait(
        self, request: re_pb2.WaitExecutionRequest, call: Call
    ) -> AsyncGenerator[Operation, None]:
        yield await self.get(GetOperationRequest(name=request.name), call)

    async def get(self, request: GetOperationRequest, call: Call) -> Operation:
        return Operation(name=f"{request.name} of {self.name}", done=True)

    async def cancel(self, request: CancelOperationRequest, call: Call) -> Empty:
        self.cancelled.append(request.name)
        return Empty()

    async def list(self, request: ListOperationsRequest, call: Call) -> ListOperationsResponse:
        """Two pages."""
        assert request.page_token in ("", "more")
        number = 2 if request.page_token else 1
        return ListOperationsResponse(
            operations=[Operation(name=f"operations/{self.name}/{number}")],
            next_page_token="" if request.page_token else "more",
        )

    async def list_workers(
        self, request: worker_pb2.ListWorkersRequest, call: Call
    ) -> worker_pb2.ListWorkersResponse:
        ids = [f"1 of {self.name}", f"2 of {self.name}"]
        return worker_pb2.ListWorkersResponse(
            workers=[worker_pb2.Worker(worker_id=worker_id) for worker_id in ids]
        )

    async def read_log(
        self, request: scheduler_pb2.ReadLogRequest, call: Call
    ) -> AsyncGenerator[scheduler_pb2.ReadLogResponse, None]:
        yield scheduler_pb2.ReadLogResponse(data=self.name.encode())


class Frontend:
    """A client of a frontend with the shards `mac`, `main` and `rest`, tried in this order."""

    def __init__(self) -> None:
        self.blobs = MemoryBlobStore()
        self.schedulers = {name: FakeScheduler(name) for name in ("mac", "main", "rest")}
        self.channel: grpc.aio.Channel

    @property
    def execution(self) -> RawService:
        return RawService(self.channel, EXECUTION)

    @property
    def operations(self) -> RawService:
        return RawService(self.channel, OPERATIONS)

    async def shard_of(self, action: Digest, instance_name: str = "") -> str:
        request = re_pb2.ExecuteRequest(
            instance_name=instance_name, action_digest=action.to_message()
        )
        (operation,) = await self.execution.Execute(request)
        return str(operation.name.split("/")[1])

    def add(self, of_action: dict[str, str] | None, of_command: dict[str, str]) -> Digest:
        """An action with these platforms."""
        command = re_pb2.Command(arguments=["true"], platform=_platform(of_command))
        action = re_pb2.Action(
            command_digest=self.blobs.add(command.SerializeToString()).to_message(),
            input_root_digest=self.blobs.add(b"").to_message(),
        )
        if of_action is not None:
            action.platform.CopyFrom(_platform(of_action))
        return self.blobs.add(action.SerializeToString())


def _platform(properties: dict[str, str]) -> re_pb2.Platform:
    return re_pb2.Platform(
        properties=[
            re_pb2.Platform.Property(name=name, value=value) for name, value in properties.items()
        ]
    )


@pytest.fixture
async def frontend() -> AsyncIterator[Frontend]:
    kinds: dict[str, tuple[Any, dict[str, str]]] = {
        "mac": (None, {"OSFamily": "macos"}),
        "main": (frozenset({"main"}), {}),
        "rest": (frozenset({""}), {}),
    }
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        shards = []
        made = Frontend()
        for name, scheduler in made.schedulers.items():
            server = await enter(rpc_server(scheduler.rows))
            schedulers = await enter(Schedulers(f"127.0.0.1:{server.port}", tool_name="test"))
            shards.append(Shard(name, Forwarder(schedulers), *kinds[name]))
        rows = ShardedForwarder(shards, made.blobs, INSTANCES).methods()
        server = await enter(rpc_server(rows))
        made.channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        await enter(made.channel)
        yield made


async def test_a_log_is_read_from_the_shard_that_named_its_operation(frontend: Frontend) -> None:
    scheduler = RawService(frontend.channel, SCHEDULER)
    for name in ("rest", "mac"):
        request = scheduler_pb2.ReadLogRequest(name=f"operations/{name}/1")
        (reply,) = await scheduler.ReadLog(request)
        assert reply.data == name.encode()


async def test_an_action_goes_to_the_first_shard_that_takes_its_instance_and_platform(
    frontend: Frontend,
) -> None:
    linux, mac = {"OSFamily": "linux"}, {"OSFamily": "macos", "ISA": "arm"}
    assert await frontend.shard_of(frontend.add(linux, {}), "main") == "main"
    assert await frontend.shard_of(frontend.add(linux, {})) == "rest"
    assert await frontend.shard_of(frontend.add(mac, {}), "main") == "mac"
    assert await frontend.shard_of(frontend.add(None, mac), "main") == "mac"
    assert await frontend.shard_of(frontend.add(linux, mac), "main") == "main"


async def test_what_is_wrong_with_an_action_is_for_a_scheduler_to_say(frontend: Frontend) -> None:
    assert await frontend.shard_of(Digest("0" * 64, 5), "main") == "main"
    assert await frontend.shard_of(frontend.blobs.add(b"not an action")) == "rest"


async def test_an_action_that_no_shard_takes_is_refused(frontend: Frontend) -> None:
    action = frontend.add({}, {})
    request = re_pb2.ExecuteRequest(instance_name="other", action_digest=action.to_message())
    failure = await failure_of(frontend.execution.Execute(request))
    assert failure.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "scheduler.shards" in (failure.details() or "")


async def test_an_operation_is_known_to_the_shard_in_its_name(frontend: Frontend) -> None:
    name = "operations/rest/1"
    operation = await frontend.operations.GetOperation(GetOperationRequest(name=name))
    assert operation.name == f"{name} of rest"
    (operation,) = await frontend.execution.WaitExecution(re_pb2.WaitExecutionRequest(name=name))
    assert operation.name == f"{name} of rest"
    await frontend.operations.CancelOperation(CancelOperationRequest(name=name))
    assert frontend.schedulers["rest"].cancelled == [name]
    for unknown in ("operations/1", "operations/other/1", "", "operations/rest"):
        request = GetOperationRequest(name=unknown)
        assert await code_of(frontend.operations.GetOperation(request)) is grpc.StatusCode.NOT_FOUND


async def test_lists_are_those_of_all(frontend: Frontend) -> None:
    names, token = [], ""
    while True:
        request = ListOperationsRequest(page_token=token)
        page = await frontend.operations.ListOperations(request)
        names += [operation.name for operation in page.operations]
        if not (token := page.next_page_token):
            break
    expected = [
        f"operations/{name}/{number}" for name in ("mac", "main", "rest") for number in "12"
    ]
    assert names == expected
    workers = RawService(frontend.channel, WORKERS)
    listed = await workers.ListWorkers(worker_pb2.ListWorkersRequest())
    ids = [worker.worker_id for worker in listed.workers]
    assert ids == sorted(ids)
    assert len(ids) == 6


async def test_B20_a_page_token_of_no_shard_is_refused(frontend: Frontend) -> None:
    request = ListOperationsRequest(page_token="other:more")
    code = await code_of(frontend.operations.ListOperations(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_worker_joins_the_scheduler_of_its_shard_itself(frontend: Frontend) -> None:
    connect = frontend.channel.stream_stream("/reapi.worker.v1.WorkerService/Connect")
    failure = await failure_of(connect().read())
    assert failure.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "call the scheduler itself" in (failure.details() or "")
