"""Method tables over a real server: cardinalities, errors, metrics, health and reflection."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry

from reapi.core.errors import BlobsMissing, NotFound, Unavailable
from reapi.core.health import HealthService
from reapi.core.interfaces import Call
from reapi.core.listening import refuse_port_in_use
from reapi.core.middleware import wrap
from reapi.core.reflection import ReflectionService
from reapi.core.request_metadata import REQUEST_METADATA_KEY, request_metadata
from reapi.core.rpc import bind
from reapi.core.rpc_metrics import RpcMetrics
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import RequestMetadata
from reapi.protos.google.bytestream import bytestream_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import (
    QueryWriteStatusRequest,
    QueryWriteStatusResponse,
    ReadRequest,
    ReadResponse,
    WriteRequest,
    WriteResponse,
)
from tests.fakes.raw_client import RawService, code_of, details_of, failure_of
from tests.transport import rpc_server

SERVICE = bytestream_pb2.DESCRIPTOR.services_by_name["ByteStream"]


class Echo:
    """A ByteStream of a kind: one handler of each cardinality that clients use."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.tools: list[str] = []

    async def query(self, request: QueryWriteStatusRequest, call: Call) -> Any:
        self.tools.append(request_metadata(call).tool_details.tool_name)
        name = request.resource_name
        if name == "bug":
            raise ZeroDivisionError("a secret")
        if name == "missing":
            raise BlobsMissing(["blobs/a/1"])
        if name == "many missing":
            raise BlobsMissing([f"blobs/{number:064x}/1" for number in range(10_000)])
        if name == "bytes":
            return QueryWriteStatusResponse(committed_size=1).SerializeToString()
        if name == "deadline":
            assert call.seconds_left is not None
            return QueryWriteStatusResponse(committed_size=round(call.seconds_left))
        return QueryWriteStatusResponse(committed_size=len(name))

    async def read(self, request: ReadRequest, call: Call) -> AsyncGenerator[ReadResponse, None]:
        for number in range(request.read_limit):
            yield ReadResponse(data=b"%d" % number)
        if request.resource_name == "fails":
            raise NotFound("gone")
        if request.resource_name == "stalls":
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.cancelled.set()

    async def write(self, requests: AsyncIterator[WriteRequest], call: Call) -> WriteResponse:
        return WriteResponse(committed_size=sum([len(each.data) async for each in requests]))


class Served:
    def __init__(self, echo: Echo, registry: CollectorRegistry, channel: grpc.aio.Channel) -> None:
        self.echo = echo
        self.registry = registry
        self.channel = channel
        self.client = RawService(channel, SERVICE)

    def handled(self, method: str, code: str) -> float | None:
        labels = {"method": f"/google.bytestream.ByteStream/{method}", "code": code}
        return self.registry.get_sample_value("reapi_rpc_handled_total", labels)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    echo = Echo()
    handlers = {"QueryWriteStatus": echo.query, "Read": echo.read, "Write": echo.write}
    health = HealthService(frozenset({SERVICE.full_name}))
    methods = [
        *bind(SERVICE, handlers),
        *health.methods(),
        *ReflectionService([SERVICE.full_name]).methods(),
    ]
    registry = CollectorRegistry()
    async with (
        rpc_server(wrap(methods, RpcMetrics(registry))) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield Served(echo, registry, channel)


async def query(served: Served, name: str, **options: Any) -> int:
    request = QueryWriteStatusRequest(resource_name=name)
    return int((await served.client.QueryWriteStatus(request, **options)).committed_size)


async def test_every_cardinality_is_served(served: Served) -> None:
    assert await query(served, "four") == 4
    assert await query(served, "bytes") == 1
    replies = await served.client.Read(ReadRequest(read_limit=3))
    assert [reply.data for reply in replies] == [b"0", b"1", b"2"]
    requests = [WriteRequest(data=b"ab"), WriteRequest(data=b"c")]
    assert (await served.client.Write(requests)).committed_size == 3


async def test_a_method_that_is_not_in_the_table_is_unimplemented(served: Served) -> None:
    call = served.channel.unary_unary("/google.bytestream.ByteStream/Nothing")(b"")
    assert await code_of(call) == grpc.StatusCode.UNIMPLEMENTED


async def test_a_request_that_is_no_message_is_invalid(served: Served) -> None:
    for call in (
        served.client.QueryWriteStatus(b"\xff"),
        served.client.Read(b"\xff"),
        served.client.Write([b"\xff"]),
    ):
        assert await code_of(call) == grpc.StatusCode.INVALID_ARGUMENT


async def test_an_error_becomes_its_status_with_details(served: Served) -> None:
    error = await failure_of(query(served, "missing"))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert details_of(error).details[0].type_url.endswith("google.rpc.PreconditionFailure")
    assert served.handled("QueryWriteStatus", "FAILED_PRECONDITION") == 1


async def test_details_too_large_for_a_header_leave_the_error_as_it_is(served: Served) -> None:
    error = await failure_of(query(served, "many missing"))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert (error.details() or "").startswith("10000 blobs are missing")


async def test_an_error_after_replies_ends_the_stream(served: Served) -> None:
    replies = served.channel.unary_stream(
        "/google.bytestream.ByteStream/Read",
        request_serializer=ReadRequest.SerializeToString,
        response_deserializer=ReadResponse.FromString,
    )(ReadRequest(resource_name="fails", read_limit=1))
    assert (await replies.read()).data == b"0"
    assert await code_of(replies.read()) == grpc.StatusCode.NOT_FOUND
    assert served.handled("Read", "NOT_FOUND") == 1


async def test_a_bug_is_internal_and_its_text_stays_here(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    error = await failure_of(query(served, "bug"))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details())
    assert "a secret" in caplog.text


async def test_a_caller_that_hangs_up_cancels_the_handler(served: Served) -> None:
    replies = served.channel.unary_stream("/google.bytestream.ByteStream/Read")(
        ReadRequest(resource_name="stalls", read_limit=1).SerializeToString()
    )
    await replies.read()
    replies.cancel()
    await served.echo.cancelled.wait()


async def test_a_handler_knows_the_deadline(served: Served) -> None:
    assert 50 <= await query(served, "deadline", timeout=60) <= 60


async def test_G8_Q_HDR_request_metadata_is_read_under_both_keys(served: Served) -> None:
    value = RequestMetadata(tool_details={"tool_name": "bazel"}).SerializeToString()
    old_key = "google.devtools.remoteexecution.v1test.requestmetadata-bin"
    for metadata in (
        ((REQUEST_METADATA_KEY, value),),
        ((old_key, value),),
        ((REQUEST_METADATA_KEY, b"\xff"),),
        (),
    ):
        await query(served, "x", metadata=metadata)
    assert served.echo.tools == ["bazel", "bazel", "", ""]


async def test_a_port_in_use_is_said_plainly(served: Served) -> None:
    async with rpc_server([]) as server:
        with pytest.raises(Unavailable, match="in use"):
            await rpc_server([], listen=f"127.0.0.1:{server.port}").__aenter__()


async def test_servers_that_share_a_port_listen_together() -> None:
    async with (
        rpc_server([], shares_port=True) as first,
        rpc_server([], listen=f"127.0.0.1:{first.port}", shares_port=True) as second,
    ):
        assert second.port == first.port


@pytest.mark.parametrize("shares_port", [False, True])
async def test_a_port_in_use_is_refused_before_it_is_shared(shares_port: bool) -> None:
    async with rpc_server([], shares_port=shares_port) as server:
        with pytest.raises(Unavailable, match=f"127.0.0.1:{server.port}: is the port in use"):
            refuse_port_in_use(f"127.0.0.1:{server.port}")
    refuse_port_in_use(f"127.0.0.1:{server.port}")


async def test_a_service_that_is_away_is_told_of_and_the_server_is_not() -> None:
    states = health_pb2.HealthCheckResponse
    health = HealthService(frozenset({"there", "away"}))
    call: Any = None  # health asks nothing of it
    watch = health.watch(health_pb2.HealthCheckRequest(service="away"), call)
    assert (await anext(watch)).status == states.SERVING
    for is_available, expected in ((False, states.NOT_SERVING), (True, states.SERVING)):
        change = asyncio.ensure_future(anext(watch))
        health.set_available(frozenset({"away"}), is_available)
        assert (await change).status == expected
        for service in ("", "there"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert (await health.check(request, call)).status == states.SERVING
    await watch.aclose()


async def test_who_watches_health_hears_of_the_end_even_while_the_state_is_on_its_way() -> None:
    health = HealthService(frozenset({"a.Service"}))
    call: Any = None  # health asks nothing of it
    watch = health.watch(health_pb2.HealthCheckRequest(service="a.Service"), call)
    first = await anext(watch)
    health.stop_serving()
    states = [first.status] + [reply.status async for reply in watch]
    assert states == [first.SERVING, first.NOT_SERVING]


async def test_health_answers_for_the_server_and_its_services() -> None:
    health = HealthService(frozenset({"a.Service"}))
    async with (
        rpc_server(
            wrap(health.methods(), RpcMetrics(CollectorRegistry())), listen="127.0.0.1:0"
        ) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        service = RawService(channel, health_pb2.DESCRIPTOR.services_by_name["Health"])
        serving = health_pb2.HealthCheckResponse.SERVING
        for name in ("", "a.Service"):
            reply = await service.Check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == serving
        unknown = service.Check(health_pb2.HealthCheckRequest(service="other"))
        assert await code_of(unknown) == grpc.StatusCode.NOT_FOUND
        watching = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )(b"")
        assert (await watching.read()).status == serving
        health.stop_serving()
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watching.read() is grpc.aio.EOF


async def test_reflection_describes_services_with_all_that_they_use(served: Served) -> None:
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE.full_name),
        reflection_pb2.ServerReflectionRequest(file_by_filename="no/such.proto"),
    ]
    for version in ("v1", "v1alpha"):
        replies = served.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter(requests))
        listed, described, unknown = [reply async for reply in replies]
        assert SERVICE.full_name in [each.name for each in listed.list_services_response.service]
        files = [
            FileDescriptorProto.FromString(file)
            for file in described.file_descriptor_response.file_descriptor_proto
        ]
        assert {file.name for file in files} >= set(files[0].dependency)
        assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_draining_lets_running_calls_end() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: QueryWriteStatusRequest, call: Call) -> QueryWriteStatusResponse:
        started.set()
        await go_on.wait()
        return QueryWriteStatusResponse(committed_size=5)

    async with (
        rpc_server(bind(SERVICE, {"QueryWriteStatus": slow})) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        client = RawService(channel, SERVICE)
        call = asyncio.create_task(client.QueryWriteStatus(QueryWriteStatusRequest()))
        await started.wait()
        draining = asyncio.create_task(server.drain(30))
        go_on.set()
        assert (await call).committed_size == 5
        await draining
