"""The whole service in this process, as a client meets it: real composition, worker and sockets."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.longrunning.operations_pb2 import Operation
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status
from prometheus_client import CollectorRegistry

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.methods import EXECUTE, GET_ACTION_RESULT, WAIT_EXECUTION
from reapi.core.digest import SHA256, Digest, DigestFunction, digest_of
from reapi.core.middleware import wrap
from reapi.core.rpc_metrics import RpcMetrics
from reapi.executor.sandbox_choice import SandboxSetting
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.server.compose import compose
from reapi.server.config import ServerConfig
from reapi.server.executor_role import run_executor
from reapi.server.executor_section import ExecutorSection
from reapi.server.limits_section import LimitsSection
from tests.fakes.memory_store import MemoryBlobStore
from tests.transport import rpc_server
from tests.unit.executor.harness import Tree, add_tree
from tests.unit.scheduler.harness import metadata_of, response_of

PLATFORM = {"OSFamily": "linux", "ISA": "x86-64"}
"""What the worker of a system offers unless a test says otherwise."""


@dataclass
class System:
    """A server with frontend and scheduler, a client's channel to it, and the stores behind."""

    config: ServerConfig
    address: str
    channel: Channel
    folder: Path

    def __post_init__(self) -> None:
        self.blobs = RemoteBlobStore(self.channel, "")

    async def add_blobs(self, *blobs: bytes) -> None:
        failures = await self.blobs.write_many({digest_of(blob): blob for blob in blobs})
        assert not failures

    async def add(
        self,
        command: re_pb2.Command,
        tree: Tree | None = None,
        action: Mapping[str, Any] | None = None,
        function: DigestFunction = SHA256,
    ) -> Digest:
        """Uploads an Action with all that it needs; `action` are further fields of it."""
        store = MemoryBlobStore(function)
        root = add_tree(store, tree or {})
        message = re_pb2.Action(
            command_digest=store.add(command.SerializeToString()).to_message(),
            input_root_digest=root.to_message(),
            **(action or {}),
        )
        digest = store.add(message.SerializeToString())
        assert not await self.blobs.write_many(store.blobs)
        return digest

    def stream(self, action: Digest, **request: Any) -> AsyncGenerator[Operation, None]:
        """The Operations of one Execute call; closing it early is a client that goes away."""
        message = re_pb2.ExecuteRequest(action_digest=action.to_message(), **request)
        return self.channel.server_stream(EXECUTE, message)

    async def execute(self, action: Digest, **request: Any) -> list[Operation]:
        """All Operations of one Execute call."""
        return checked([operation async for operation in self.stream(action, **request)])

    async def wait(self, name: str) -> list[Operation]:
        """All Operations of one WaitExecution call."""
        request = re_pb2.WaitExecutionRequest(name=name)
        stream = self.channel.server_stream(WAIT_EXECUTION, request)
        return checked([operation async for operation in stream])

    async def run_action(self, action: Digest, **request: Any) -> re_pb2.ExecuteResponse:
        return response_of((await self.execute(action, **request))[-1])

    async def run(
        self, command: re_pb2.Command, tree: Tree | None = None, **request: Any
    ) -> re_pb2.ExecuteResponse:
        """What executing this command in this tree answers."""
        return await self.run_action(await self.add(command, tree), **request)

    async def sh(
        self, script: str, tree: Tree | None = None, **fields: Any
    ) -> re_pb2.ExecuteResponse:
        """As `run`, for a shell script; `fields` are of its Command."""
        return await self.run(sh(script, **fields), tree)

    async def run_cached(self, script: str, **fields: Any) -> re_pb2.ActionResult:
        """The result of a script, which must be in the ActionCache and complete afterwards."""
        action = await self.add(sh(script, **fields))
        response = await self.run_action(action)
        assert response.status.code == 0, response.status
        assert await self.cached(action) == response.result
        assert (await self.run_action(action)).cached_result
        return response.result

    async def read(self, digest: re_pb2.Digest, function: DigestFunction = SHA256) -> bytes:
        """A blob that must be in the CAS."""
        wanted = Digest(digest.hash, digest.size_bytes, function)
        return (await self.blobs.read_many([wanted]))[wanted]

    async def stdout(self, response: re_pb2.ExecuteResponse) -> str:
        assert response.status.code == 0, response.status
        digest = response.result.stdout_digest
        return (await self.read(digest)).decode() if digest.hash else ""

    async def cached(self, action: Digest) -> re_pb2.ActionResult:
        """The ActionCache's entry; raises NotFound."""
        request = re_pb2.GetActionResultRequest(action_digest=action.to_message())
        return await self.channel.unary(GET_ACTION_RESULT, request)

    @asynccontextmanager
    async def worker(
        self,
        worker_id: str = "worker-1",
        *,
        slots: int = 2,
        platform: Mapping[str, str] = PLATFORM,
        scheduler_address: str | None = None,
        sandbox: SandboxSetting = "auto",
        sandbox_paths: list[str] | None = None,
        limits: Mapping[str, Any] | None = None,
        registry: CollectorRegistry | None = None,
    ) -> AsyncIterator[asyncio.Task[None]]:
        """A worker that has joined. Leaving the context drains it; cancel the task to kill it.

        Actions see gates and notes, unless `sandbox_paths` are given.
        Its blobs go through this server, also if its scheduler is at another address.
        """
        executor = ExecutorSection(
            worker_id=worker_id,
            slots=slots,
            platform=dict(platform),
            cache_dir=self.folder / worker_id,
            cache_max_size_bytes=1 << 30,
            frontend_endpoint=self.address,
            sandbox=sandbox,
            sandbox_paths=[str(gates_of(self.folder))] if sandbox_paths is None else sandbox_paths,
            limits=LimitsSection(**(limits or {})),
        )
        endpoint = scheduler_address or self.address
        scheduler = self.config.scheduler.model_copy(update={"endpoint": endpoint})
        config = self.config.model_copy(update={"executor": executor, "scheduler": scheduler})
        stop, joined = asyncio.Event(), asyncio.Event()
        registry = registry or CollectorRegistry()
        running = asyncio.create_task(
            run_executor(config, stop, joined.set, registry, config.auth.read_token())
        )
        joining = asyncio.create_task(joined.wait())
        try:
            await asyncio.wait((running, joining), return_when=asyncio.FIRST_COMPLETED)
            yield running
        finally:
            joining.cancel()
            stop.set()
            await asyncio.wait([running])
        if not running.cancelled():
            running.result()

    async def check_alive(self) -> None:
        """Whatever happened before, the same server still runs an action."""
        response = await self.run(sh("echo alive"), skip_cache_lookup=True)
        assert await self.stdout(response) == "alive\n"


@asynccontextmanager
async def open_system(folder: Path, **sections: Mapping[str, Any]) -> AsyncIterator[System]:
    """A system without workers; `sections` are settings such as `storage={...}`."""
    config = ServerConfig.model_validate(
        {
            "data_dir": folder / "data",
            "server": {
                "listen": "127.0.0.1:0",
                "roles": ("frontend", "scheduler"),
                "instance_names": ("", "main", "buck2"),
            },
            "instances": {"buck2": {"digest_function": "BLAKE3"}},
            **sections,
        }
    )
    registry = CollectorRegistry()
    async with AsyncExitStack() as stack:
        api = await compose(config, registry, stack)
        methods = wrap(api.methods, RpcMetrics(registry))
        server = await stack.enter_async_context(rpc_server(methods, listen=config.server.listen))
        address = f"127.0.0.1:{server.port}"
        channel = await stack.enter_async_context(Channel(address))
        yield System(config, address, channel, folder)


def sh(script: str, **fields: Any) -> re_pb2.Command:
    return re_pb2.Command(arguments=["/bin/sh", "-c", script], **fields)


def checked(operations: list[Operation]) -> list[Operation]:
    """What holds for every stream (EX1, EX2, EX3, Q-ANY), whatever it is about."""
    assert operations
    for operation in operations:
        assert operation.name == operations[0].name
        assert operation.metadata.type_url == f"type.googleapis.com/{_V2}.ExecuteOperationMetadata"
        is_completed = metadata_of(operation).stage == re_pb2.ExecutionStage.COMPLETED
        assert is_completed == operation.done == (operation is operations[-1])
        assert not operation.HasField("error")
    last = operations[-1]
    assert last.response.type_url == f"type.googleapis.com/{_V2}.ExecuteResponse"
    response = response_of(last)
    assert response.status.code or response.HasField("result")  # EX6
    return operations


_V2 = "build.bazel.remote.execution.v2"


def codes(responses: Iterable[re_pb2.ExecuteResponse]) -> set[int]:
    return {response.status.code for response in responses}


def violations(status: Status) -> list[error_details_pb2.PreconditionFailure.Violation]:
    """Those of the one detail that there must be (Q-DETAIL, Q-ANY)."""
    assert status.code == code_pb2.FAILED_PRECONDITION, status
    (detail,) = status.details
    assert detail.type_url == "type.googleapis.com/google.rpc.PreconditionFailure"
    failure = error_details_pb2.PreconditionFailure()
    assert detail.Unpack(failure)
    return list(failure.violations)


def gates_of(folder: Path) -> Path:
    """Where gates are, which actions see."""
    gates = folder / "gates"
    gates.mkdir(exist_ok=True)
    gates.chmod(0o711)
    return gates


class Notes:
    """Lines that actions leave for the test, out of whatever sandbox they run in."""

    def __init__(self, folder: Path) -> None:
        self.path = gates_of(folder) / "notes"
        os.mkfifo(self.path)
        self.path.chmod(0o666)
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._text = ""

    def lines(self) -> list[str]:
        """All so far, in their order."""
        with suppress(BlockingIOError):
            while chunk := os.read(self._fd, 1 << 16):
                self._text += chunk.decode()
        return self._text.splitlines()

    def close(self) -> None:
        os.close(self._fd)


class Gate:
    """Lets a test hold actions: each says that it has begun, and ends no sooner than `open`."""

    def __init__(self, folder: Path) -> None:
        self._begun = gates_of(folder) / "begun"
        self._gate = gates_of(folder) / "gate"
        for path in (self._begun, self._gate):
            os.mkfifo(path)
            path.chmod(0o666)
        self._begun_fd = os.open(self._begun, os.O_RDWR | os.O_NONBLOCK)
        self._gate_fd = os.open(self._gate, os.O_RDWR)

    def script(self, after: str = "") -> str:
        """Shell text; every use of it takes one `open`."""
        return f"echo >'{self._begun}'; read line <'{self._gate}'; {after}"

    async def begun(self) -> None:
        """Returns when one more action has begun."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._begun_fd, readable.set)
        try:
            await readable.wait()
            os.read(self._begun_fd, 1)
        finally:
            loop.remove_reader(self._begun_fd)

    def open(self) -> None:
        """Lets one action go on."""
        os.write(self._gate_fd, b"\n")

    def close(self) -> None:
        os.close(self._begun_fd)
        os.close(self._gate_fd)
