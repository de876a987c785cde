"""A server that asks who calls: what each role may do, by its real services."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2
from grpc_health.v1 import health_pb2

from reapi.clients.action_cache import RemoteActionCache
from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.client import Client
from reapi.clients.methods import (
    CANCEL_OPERATION,
    CONNECT,
    DRAIN_WORKERS,
    GET_CAPABILITIES,
    GET_CLUSTER,
    LIST_HISTORY,
    LIST_OPERATIONS,
    LIST_RESULTS,
    LIST_WORKERS,
    WAIT_EXECUTION,
)
from reapi.core.digest import digest_of
from reapi.core.errors import NotFound, PermissionDenied, Unauthenticated
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult
from reapi.protos.reapi.admin.v1 import admin_pb2
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2
from tests.integration.system import System, open_system

ROLES = ("reader", "runner", "writer", "executor", "operator")
BLOB = b"a blob of somebody"
ACTION = digest_of(b"an action")
ABSENT = "operations/00000000-0000-0000-0000-000000000000"


def token_of(role: str) -> str:
    return f"the-token-of-{role}-0123456789"


def write_tokens(folder: Path) -> Path:
    """A file with a token for each role, and one of a reader of a single instance."""
    tables = [(role, role, "*") for role in ROLES] + [("only-main", "reader", "main")]
    file = folder / "tokens.toml"
    file.write_text(
        "\n".join(
            f'[{name}]\ntoken_sha256 = "{hashlib.sha256(token_of(name).encode()).hexdigest()}"\n'
            f'roles = ["{role}"]\ninstances = ["{instance}"]'
            for name, role, instance in tables
        )
    )
    return file


def auth(folder: Path, **more: Any) -> dict[str, Any]:
    """Settings of a server that asks, and whose own processes show an executor's token."""
    own = folder / "own-token"
    own.write_text(token_of("executor"))
    settings = {"mode": "tokens", "tokens_file": write_tokens(folder), "token_file": own}
    return settings | more


@pytest.fixture
async def guarded(open_path: Path) -> AsyncIterator[System]:
    async with open_system(open_path, auth=auth(open_path)) as system, system.worker():
        yield system


@asynccontextmanager
async def channel_of(system: System, role: str | None) -> AsyncIterator[Channel]:
    token = None if role is None else token_of(role)
    async with Channel(system.address, token=token) as channel:
        yield channel


async def refusal_of(work: Awaitable[Any]) -> PermissionDenied | None:
    """Why it may not be done; None when it was done, or there was nothing to do it to."""
    try:
        await work
    except PermissionDenied as refusal:
        return refusal
    except NotFound:
        pass
    return None


async def raw_call(
    system: System, path: str, request: bytes, headers: Sequence[str]
) -> grpc.StatusCode:
    """How a call ends that a client of any kind makes, with these authorization headers."""
    metadata = tuple(("authorization", header) for header in headers)
    async with grpc.aio.insecure_channel(system.address) as channel:
        call = channel.unary_unary(path)(request, metadata=metadata)
        return await call.code()


async def store(channel: Channel) -> None:
    failures = await RemoteBlobStore(channel, "").write_many({digest_of(BLOB): BLOB})
    for failure in failures.values():
        raise failure


async def store_in_a_stream(channel: Channel) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield BLOB

    await RemoteBlobStore(channel, "").write(digest_of(BLOB), chunks())


async def read(channel: Channel) -> None:
    await RemoteBlobStore(channel, "").find_missing([digest_of(BLOB)])


async def look_up(channel: Channel) -> None:
    await RemoteActionCache(channel).get("", ACTION)


async def publish(channel: Channel) -> None:
    await RemoteActionCache(channel).put("", ACTION, ActionResult(stdout_raw=b"made"))


async def cancel(channel: Channel) -> None:
    await channel.unary(CANCEL_OPERATION, operations_pb2.CancelOperationRequest(name=ABSENT))


async def drain(channel: Channel) -> None:
    request = scheduler_pb2.DrainWorkersRequest(pattern="nobody")
    _ = [each async for each in channel.server_stream(DRAIN_WORKERS, request)]


async def list_results(channel: Channel) -> None:
    _ = [each async for each in channel.server_stream(LIST_RESULTS, admin_pb2.ListResultsRequest())]


async def list_workers(channel: Channel) -> None:
    await channel.unary(LIST_WORKERS, worker_pb2.ListWorkersRequest())


async def wait(channel: Channel) -> None:
    request = re_pb2.WaitExecutionRequest(name=ABSENT)
    _ = [each async for each in channel.server_stream(WAIT_EXECUTION, request)]


@pytest.mark.parametrize(
    ("call", "roles"),
    [
        (read, ROLES),
        (look_up, ROLES),
        (list_workers, ROLES),
        (wait, ROLES),
        (store, ("runner", "writer", "executor")),
        (store_in_a_stream, ("runner", "writer", "executor")),
        (publish, ("writer",)),
        (cancel, ("runner", "writer", "operator")),
        (drain, ("operator",)),
        (list_results, ("operator",)),
    ],
)
async def test_each_role_may_do_its_part_and_nothing_else(
    guarded: System, call: Any, roles: tuple[str, ...]
) -> None:
    able = []
    for role in ROLES:
        async with channel_of(guarded, role) as channel:
            refusal = await refusal_of(call(channel))
        if refusal is None:
            able.append(role)
            continue
        assert f"{role} ({role}) may not" in refusal.message
        assert token_of(role) not in refusal.message
    assert able == list(roles)


async def test_who_shows_no_token_or_a_wrong_one_is_told_what_to_do(guarded: System) -> None:
    for token, words in ((None, "asks who calls"), ("wrong", "not one of this server's")):
        async with Channel(guarded.address, token=token) as channel:
            for call in (read, look_up, store, publish, drain, list_workers, wait):
                with pytest.raises(Unauthenticated, match=rf"{words}.*REAPI_TOKEN_FILE"):
                    await call(channel)


async def test_health_and_reflection_are_open(guarded: System) -> None:
    async with grpc.aio.insecure_channel(guarded.address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        reply = await check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        call = channel.stream_stream(path)(iter([b"\x3a\x00"]))
        assert b"ContentAddressableStorage" in await call.read()


async def test_runners_have_actions_executed_and_everybody_may_take_the_results(
    guarded: System,
) -> None:
    async with Client(guarded.address, token=token_of("runner"), remembers_digests=False) as client:
        result = await client.run(["sh", "-c", "echo made by the executor"])
        assert (result.exit_code, result.cached) == (0, False)
    async with Client(guarded.address, token=token_of("writer"), remembers_digests=False) as client:
        result = await client.run(["sh", "-c", "echo made by the executor"])
        assert (result.exit_code, result.cached) == (0, True)


async def test_a_reader_has_nothing_executed(guarded: System) -> None:
    async with channel_of(guarded, "reader") as channel:
        system = System(guarded.config, guarded.address, channel, guarded.folder)
        with pytest.raises(PermissionDenied, match="may not execute actions"):
            await system.execute(ACTION)


@pytest.mark.parametrize(
    ("role", "may_update", "may_execute"),
    [
        ("reader", False, False),
        ("runner", False, True),
        ("writer", True, True),
        ("executor", False, False),
        ("operator", False, False),
    ],
)
async def test_capabilities_say_what_the_caller_may_do(
    guarded: System, role: str, may_update: bool, may_execute: bool
) -> None:
    async with channel_of(guarded, role) as channel:
        found = await channel.unary(GET_CAPABILITIES, re_pb2.GetCapabilitiesRequest())
    updates = found.cache_capabilities.action_cache_update_capabilities
    assert updates.update_enabled is may_update
    assert found.execution_capabilities.exec_enabled is may_execute


async def test_a_token_of_one_instance_opens_no_other(guarded: System) -> None:
    async with channel_of(guarded, "only-main") as channel:
        digests = [digest_of(BLOB)]
        assert await RemoteBlobStore(channel, "main").find_missing(digests) == digests
        stream = RemoteBlobStore(channel, "main").read(digests[0])
        with pytest.raises(NotFound):
            _ = [chunk async for chunk in stream]
        with pytest.raises(PermissionDenied, match="may not use instance ''"):
            await RemoteBlobStore(channel, "").find_missing(digests)
        stream = RemoteBlobStore(channel, "").read(digests[0])
        with pytest.raises(PermissionDenied, match="may not use instance ''"):
            _ = [chunk async for chunk in stream]
        with pytest.raises(PermissionDenied, match="may not use instance ''"):
            await look_up(channel)
        await channel.unary(LIST_OPERATIONS, operations_pb2.ListOperationsRequest(name="main"))
        history = scheduler_pb2.ListHistoryRequest
        await channel.unary(LIST_HISTORY, history(instance_name="main"))
        for method, request in (
            (LIST_OPERATIONS, operations_pb2.ListOperationsRequest()),
            (LIST_OPERATIONS, operations_pb2.ListOperationsRequest(name="operations")),
            (LIST_HISTORY, history()),
            (GET_CLUSTER, scheduler_pb2.GetClusterRequest()),
        ):
            with pytest.raises(PermissionDenied, match="all instances"):
                await channel.unary(method, request)


async def test_the_last_of_two_instance_names_in_a_request_counts(guarded: System) -> None:
    """As everywhere in protobuf: what is checked is what is served."""
    name = re_pb2.FindMissingBlobsRequest(instance_name="main").SerializeToString()
    other = re_pb2.FindMissingBlobsRequest(
        instance_name="buck2", blob_digests=[digest_of(BLOB).to_message()]
    ).SerializeToString()
    path = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
    headers = [f"Bearer {token_of('only-main')}"]
    codes = [await raw_call(guarded, path, both, headers) for both in (name + other, other + name)]
    assert codes == [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.OK]


@pytest.mark.parametrize(
    ("headers", "is_in"),
    [
        (["Bearer wrong", f"Bearer {token_of('reader')}"], True),
        ([f"Bearer {token_of('reader')}", "Bearer wrong"], False),
        ([f"Bearer {token_of('reader')}", ""], False),
        (["Bearer " + "x" * 12_000], False),
        (["Basic dXNlcjpwYXNz"], False),
    ],
)
async def test_of_several_headers_the_last_counts_and_nonsense_is_refused(
    guarded: System, headers: list[str], is_in: bool
) -> None:
    path = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
    expected = grpc.StatusCode.OK if is_in else grpc.StatusCode.UNAUTHENTICATED
    assert await raw_call(guarded, path, b"", headers) is expected


async def test_readers_without_a_token_may_be_let_in(open_path: Path) -> None:
    async with open_system(open_path, auth=auth(open_path, anonymous=("reader",))) as system:
        async with channel_of(system, "writer") as channel:
            await publish(channel)
        async with channel_of(system, None) as channel:
            await look_up(channel)
            with pytest.raises(
                PermissionDenied, match=r"anonymous \(reader\) may not store results"
            ):
                await publish(channel)


async def test_a_result_is_marked_with_the_name_of_its_writer(guarded: System) -> None:
    async with channel_of(guarded, "writer") as channel:
        await publish(channel)
    async with channel_of(guarded, "operator") as channel:
        replies = channel.server_stream(LIST_RESULTS, admin_pb2.ListResultsRequest())
        (writer,) = [each.writer async for reply in replies for each in reply.results]
    assert writer == "writer@127.0.0.1 reapi-client"


async def test_a_caller_who_is_no_executor_does_not_join_as_a_worker(guarded: System) -> None:
    async with channel_of(guarded, "writer") as channel, channel.bidirectional(CONNECT) as call:
        with pytest.raises(PermissionDenied, match="may not run actions as a worker"):
            _ = [reply async for reply in call]
