"""A frontend without a scheduler: what its clients see is what the scheduler says."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2
from google.longrunning.operations_pb2 import CancelOperationRequest, GetOperationRequest, Operation
from google.protobuf.empty_pb2 import Empty
from google.rpc import code_pb2, error_details_pb2
from grpc_health.v1 import health_pb2

from reapi.clients.schedulers import Schedulers
from reapi.core.errors import (
    FailedPrecondition,
    NotFound,
    ReapiError,
    ResourceExhausted,
    Unavailable,
)
from reapi.core.health import HealthService
from reapi.core.interfaces import Call
from reapi.core.rpc import bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2
from reapi.server.forward import SERVICE_NAMES, SchedulerForwarder
from tests.fakes.raw_client import RawService, details_of, failure_of
from tests.transport import rpc_server

EXECUTION = re_pb2.DESCRIPTOR.services_by_name["Execution"]
OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
WORKERS = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]


class _Refused(FailedPrecondition):
    """With a violation that has every field, and is no missing blob."""

    def details(self) -> Any:
        failure = error_details_pb2.PreconditionFailure()
        failure.violations.add(type="OTHER", subject="a subject", description="in its own words")
        return (failure,)


class FakeScheduler:
    """One handler of each cardinality that the scheduler has."""

    def __init__(self) -> None:
        self.failure: ReapiError | None = None
        self.calls: list[Call] = []
        self.metadata: dict[str, str | bytes] = {}
        self.seconds_left: float | None = None
        self.sent = 0
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.rows = [
            *bind(EXECUTION, {"Execute": self.execute}),
            *bind(OPERATIONS, {"GetOperation": self.get, "CancelOperation": self.cancel}),
            *bind(WORKERS, {"Connect": self.connect}),
        ]

    async def get(self, request: GetOperationRequest, call: Call) -> Operation:
        self.metadata = dict(call.metadata)
        self.seconds_left = call.seconds_left
        if self.failure is not None:
            raise self.failure
        return Operation(name=request.name)

    async def cancel(self, request: CancelOperationRequest, call: Call) -> Empty:
        return Empty()

    async def execute(
        self, request: re_pb2.ExecuteRequest, call: Call
    ) -> AsyncGenerator[Operation, None]:
        """As many Operations as the priority says, then what the instance name says."""
        padding = "x" * request.action_digest.size_bytes
        for number in range(request.execution_policy.priority):
            yield Operation(name=f"{number}{padding}")
            self.sent += 1
        if request.instance_name == "fails":
            raise ResourceExhausted("the queue is full", retry_after_seconds=7)
        if request.instance_name == "stalls":
            self.begun.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.ended.set()

    async def wait(
        self, request: re_pb2.WaitExecutionRequest, call: Call
    ) -> AsyncGenerator[Operation, None]:
        if self.failure is not None:
            raise self.failure
        yield Operation(name=request.name, done=True)

    async def connect(
        self, requests: AsyncIterator[worker_pb2.ConnectRequest], call: Call
    ) -> AsyncGenerator[worker_pb2.ConnectResponse, None]:
        """Answers each Register by a Registered, until the worker ends the stream."""
        async for request in requests:
            key = worker_pb2.LeaseKey(operation_name=request.register.worker_id)
            yield worker_pb2.ConnectResponse(registered=worker_pb2.Registered(revoked=[key]))


class Frontend:
    """Clients of a real server that forwards."""

    def __init__(self, channel: grpc.aio.Channel, scheduler_address: str) -> None:
        self.scheduler_address = scheduler_address
        self.execution = RawService(channel, EXECUTION)
        self.operations = RawService(channel, OPERATIONS)
        self.channel = channel

    def execute(self, **options: Any) -> Any:
        """The stream of one Execute call; `options` are fields of its request."""
        method = self.channel.unary_stream(
            "/build.bazel.remote.execution.v2.Execution/Execute",
            request_serializer=re_pb2.ExecuteRequest.SerializeToString,
            response_deserializer=Operation.FromString,
        )
        return method(re_pb2.ExecuteRequest(**options))

    def connect(self) -> Any:
        return self.channel.stream_stream(
            "/reapi.worker.v1.WorkerService/Connect",
            request_serializer=worker_pb2.ConnectRequest.SerializeToString,
            response_deserializer=worker_pb2.ConnectResponse.FromString,
        )()

    @asynccontextmanager
    async def watch(self, service: str) -> AsyncIterator[AsyncIterator[int]]:
        """The states of a service as they change."""
        call = self.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )(health_pb2.HealthCheckRequest(service=service))

        async def states() -> AsyncGenerator[int, None]:
            async for response in call:
                yield response.status

        try:
            yield states()
        finally:
            call.cancel()


@asynccontextmanager
async def frontend_of(scheduler_address: str) -> AsyncIterator[Frontend]:
    async with AsyncExitStack() as stack:
        schedulers = Schedulers(scheduler_address, tool_name="test")
        forwarder = SchedulerForwarder(await stack.enter_async_context(schedulers))
        health = HealthService(SERVICE_NAMES | {"cas"})
        await stack.enter_async_context(
            forwarder.reporting(partial(health.set_available, SERVICE_NAMES))
        )
        rows = [*forwarder.methods(), *health.methods()]
        server = await stack.enter_async_context(rpc_server(rows))
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        yield Frontend(await stack.enter_async_context(channel), scheduler_address)


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
async def frontend(scheduler: FakeScheduler) -> AsyncIterator[Frontend]:
    async with (
        rpc_server(scheduler.rows) as server,
        frontend_of(f"127.0.0.1:{server.port}") as made,
    ):
        yield made


@pytest.fixture
def quiet_address() -> Any:
    """An address where nothing listens until a test does; nobody else gets its port meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def _policy(priority: int) -> re_pb2.ExecutionPolicy:
    return re_pb2.ExecutionPolicy(priority=priority)


async def test_every_cardinality_passes(frontend: Frontend) -> None:
    assert (await frontend.operations.GetOperation(GetOperationRequest(name="a"))).name == "a"
    await frontend.operations.CancelOperation(CancelOperationRequest(name="a"))
    replies = [reply.name async for reply in frontend.execute(execution_policy=_policy(3))]
    assert replies == ["0", "1", "2"]
    call = frontend.connect()
    for name in ("first", "second"):
        register = worker_pb2.Register(worker_id=name)
        await call.write(worker_pb2.ConnectRequest(register=register))
        assert (await call.read()).registered.revoked[0].operation_name == name
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_method_that_the_scheduler_lacks_is_unimplemented(frontend: Frontend) -> None:
    request = operations_pb2.DeleteOperationRequest(name="a")
    failure = await failure_of(frontend.operations.DeleteOperation(request))
    assert failure.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_details_of_a_status_pass_unchanged(
    frontend: Frontend, scheduler: FakeScheduler
) -> None:
    scheduler.failure = _Refused("not now")
    failure = await failure_of(frontend.operations.GetOperation(GetOperationRequest()))
    assert failure.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert failure.details() == "not now"
    precondition = error_details_pb2.PreconditionFailure()
    (detail,) = details_of(failure).details
    assert detail.Unpack(precondition)
    assert precondition.violations[0].description == "in its own words"


async def test_an_error_of_the_scheduler_is_not_taken_for_its_absence(
    frontend: Frontend, scheduler: FakeScheduler
) -> None:
    scheduler.failure = Unavailable("the journal is being moved", retry_after_seconds=42)
    failure = await failure_of(frontend.operations.GetOperation(GetOperationRequest()))
    assert failure.details() == "the journal is being moved"
    assert _retry_seconds(failure) == 42


async def test_a_status_after_replies_ends_the_stream(frontend: Frontend) -> None:
    call = frontend.execute(execution_policy=_policy(2), instance_name="fails")
    assert [(await call.read()).name for _ in range(2)] == ["0", "1"]
    failure = await failure_of(call.read())
    assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert _retry_seconds(failure) == 7


async def test_metadata_of_the_caller_passes(frontend: Frontend, scheduler: FakeScheduler) -> None:
    metadata = (
        ("build.bazel.remote.execution.v2.requestmetadata-bin", b"\x00\xffbytes"),
        ("authorization", "Bearer token"),
    )
    await frontend.operations.GetOperation(GetOperationRequest(), metadata=metadata)
    assert dict(metadata).items() <= scheduler.metadata.items()


async def test_a_call_without_request_metadata_gets_none(
    frontend: Frontend, scheduler: FakeScheduler
) -> None:
    await frontend.operations.GetOperation(GetOperationRequest())
    assert set(scheduler.metadata) <= {"user-agent"}


async def test_the_deadline_passes(frontend: Frontend, scheduler: FakeScheduler) -> None:
    await frontend.operations.GetOperation(GetOperationRequest(), timeout=1000)
    assert scheduler.seconds_left is not None
    # gRPC rounds up, by up to a hundredth at each hop.
    assert 900 < scheduler.seconds_left < 1100
    await frontend.operations.GetOperation(GetOperationRequest())
    assert scheduler.seconds_left is None


async def test_a_caller_that_hangs_up_cancels_the_call_at_the_scheduler(
    frontend: Frontend, scheduler: FakeScheduler
) -> None:
    call = frontend.execute(instance_name="stalls")
    reading = asyncio.ensure_future(call.read())
    await scheduler.begun.wait()
    call.cancel()
    await asyncio.wait([reading])
    await scheduler.ended.wait()


async def test_a_slow_caller_holds_the_scheduler_up(
    frontend: Frontend, scheduler: FakeScheduler
) -> None:
    size = 1 << 20
    replies = frontend.execute(
        execution_policy=_policy(200), action_digest=re_pb2.Digest(size_bytes=size)
    ).__aiter__()
    await anext(replies)
    # Whatever runs ahead has run when a later call of the same connections is answered.
    for _ in range(20):
        await frontend.operations.GetOperation(GetOperationRequest())
    assert scheduler.sent < 50
    assert len([reply async for reply in replies]) == 199


async def test_a_scheduler_that_is_away_is_named_with_a_time_to_come_back(
    quiet_address: str,
) -> None:
    async with frontend_of(quiet_address) as frontend:
        for call in (
            frontend.operations.GetOperation(GetOperationRequest()),
            frontend.execute(instance_name="stalls").read(),
            frontend.connect().read(),
        ):
            failure = await failure_of(call)
            assert failure.code() is grpc.StatusCode.UNAVAILABLE
            assert f"the scheduler at {quiet_address} is not available" in (failure.details() or "")
            assert _retry_seconds(failure) == 1


async def test_a_scheduler_that_is_lost_ends_its_calls_as_unavailable_or_cancelled(
    scheduler: FakeScheduler,
) -> None:
    async with rpc_server(scheduler.rows) as server:
        stack = AsyncExitStack()
        frontend = await stack.enter_async_context(frontend_of(f"127.0.0.1:{server.port}"))
        call = frontend.execute(instance_name="stalls")
        reading = asyncio.ensure_future(call.read())
        await scheduler.begun.wait()
    async with stack:
        failure = await failure_of(reading)
        assert failure.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_an_operation_is_followed_over_the_loss_of_its_scheduler(
    quiet_address: str, scheduler: FakeScheduler
) -> None:
    """The stream of the caller goes on with what WaitExecution says."""
    async with AsyncExitStack() as stack:
        server = rpc_server(scheduler.rows, listen=quiet_address, shares_port=True)
        await server.__aenter__()
        frontend = await stack.enter_async_context(frontend_of(quiet_address))
        call = frontend.execute(instance_name="stalls", execution_policy=_policy(1))
        assert (await call.read()).name == "0"
        await scheduler.begun.wait()
        await server.__aexit__()
        successor = FakeScheduler()
        rows = [*successor.rows, *bind(EXECUTION, {"WaitExecution": successor.wait})]
        await stack.enter_async_context(rpc_server(rows, listen=quiet_address, shares_port=True))
        last = await call.read()
        assert last.done
        assert last.name == "0"
        assert await call.read() is grpc.aio.EOF


async def test_an_operation_that_nobody_knows_any_more_ends_as_its_scheduler_did(
    quiet_address: str, scheduler: FakeScheduler
) -> None:
    """UNAVAILABLE: clients then ask for it by name, and start it anew when it is not found."""
    async with AsyncExitStack() as stack:
        server = rpc_server(scheduler.rows, listen=quiet_address, shares_port=True)
        await server.__aenter__()
        frontend = await stack.enter_async_context(frontend_of(quiet_address))
        call = frontend.execute(instance_name="stalls", execution_policy=_policy(1))
        await call.read()
        await scheduler.begun.wait()
        await server.__aexit__()
        successor = FakeScheduler()
        successor.failure = NotFound("no such operation")
        rows = [*successor.rows, *bind(EXECUTION, {"WaitExecution": successor.wait})]
        await stack.enter_async_context(rpc_server(rows, listen=quiet_address, shares_port=True))
        failure = await failure_of(call.read())
        assert failure.code() is grpc.StatusCode.UNAVAILABLE
        assert "the scheduler of 0 went away" in (failure.details() or "")


async def test_reliability_F9_execution_is_not_serving_while_its_scheduler_is_away(
    quiet_address: str, scheduler: FakeScheduler
) -> None:
    states = health_pb2.HealthCheckResponse
    async with (
        frontend_of(quiet_address) as frontend,
        frontend.watch(EXECUTION.full_name) as execution,
    ):
        assert await anext(execution) == states.NOT_SERVING
        for _ in range(2):
            async with rpc_server(scheduler.rows, listen=quiet_address, shares_port=True):
                assert await anext(execution) == states.SERVING
                name = (await frontend.operations.GetOperation(GetOperationRequest(name="a"))).name
                assert name == "a"
            assert await anext(execution) == states.NOT_SERVING
            for service in ("", "cas"):
                async with frontend.watch(service) as other:
                    assert await anext(other) == states.SERVING


def _retry_seconds(failure: grpc.aio.AioRpcError) -> int:
    status = details_of(failure)
    assert status.code in (code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED)
    (detail,) = status.details
    retry = error_details_pb2.RetryInfo()
    assert detail.Unpack(retry)
    return int(retry.retry_delay.seconds)
