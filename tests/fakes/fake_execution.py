"""Execution and Operations whose outcomes stand in a table; part of the fake server."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty

from reapi.core.digest import Digest, parse_digest
from reapi.core.errors import BlobsMissing, Cancelled, NotFound, ReapiError, Unavailable, status_of
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.memory_store import MemoryBlobStore


class Arrived(Protocol):
    """Told of each call, which it may fail; knows the instance names."""

    def __call__(self, name: str, call: Call, instance_name: str | None = None) -> None: ...


@dataclass
class FakeRun:
    """What comes of a command: outputs by path (bytes, or a symlink's target as str)."""

    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    executables: frozenset[str] = frozenset()
    symlinks: dict[str, str] = field(default_factory=dict)
    trees: dict[str, re_pb2.Tree] = field(default_factory=dict)
    error: ReapiError | None = None
    hangs: bool = False
    prints: bytes | None = None
    """To stdout, as a log that can be read until the test ends the command by `finish`."""
    cached: bool = False


@dataclass
class _Operation:
    name: str
    action_digest: Digest
    metadata: re_pb2.ExecuteOperationMetadata
    run: FakeRun
    response: re_pb2.ExecuteResponse | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class FakeExecution:
    """Answers from `runs`, by the arguments of the command; a command not in it just succeeds."""

    def __init__(self, blobs: MemoryBlobStore, arrived: Arrived) -> None:
        self.blobs = blobs
        self._arrived = arrived
        self.runs: dict[tuple[str, ...], FakeRun] = {}
        self.executed: list[tuple[re_pb2.ExecuteRequest, re_pb2.Action, re_pb2.Command]] = []
        self.execute_arrived = asyncio.Event()
        self.operations: dict[str, _Operation] = {}
        self.cancelled_names: list[str] = []
        self.drop_after_messages: list[int] = []
        """The next streams break off after so many messages."""
        self._numbers = itertools.count(1)

    def methods(self) -> list[Method]:
        """The rows of both services."""
        execution = re_pb2.DESCRIPTOR.services_by_name["Execution"]
        operations = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
        return bind(
            execution, {"Execute": self._execute, "WaitExecution": self._wait_execution}
        ) + bind(
            operations,
            {
                "GetOperation": self._get_operation,
                "ListOperations": self._list_operations,
                "CancelOperation": self._cancel_operation,
            },
        )

    async def _execute(
        self, request: re_pb2.ExecuteRequest, call: Call
    ) -> AsyncIterator[operations_pb2.Operation]:
        self._arrived("Execute", call, request.instance_name)
        action_digest = parse_digest(request.action_digest)
        action = re_pb2.Action.FromString(self._required(action_digest))
        command = re_pb2.Command.FromString(self._required(parse_digest(action.command_digest)))
        self.executed.append((request, action, command))
        run = self.runs.get(tuple(command.arguments), FakeRun())
        operation = _Operation(
            name=f"operations/{next(self._numbers)}",
            action_digest=action_digest,
            metadata=re_pb2.ExecuteOperationMetadata(
                stage=re_pb2.ExecutionStage.EXECUTING, action_digest=action_digest.to_message()
            ),
            run=run,
        )
        if run.prints is not None:
            operation.metadata.stdout_stream_name = f"{operation.name}/stdout"
        self.operations[operation.name] = operation
        self.execute_arrived.set()
        if not run.hangs and run.prints is None:
            self._complete(operation, self._response(run))
        async for message in self._watch(operation):
            yield message

    def _required(self, digest: Digest) -> bytes:
        data = self.blobs.blobs.get(digest)
        if data is None:
            raise BlobsMissing([digest.subject])
        return data

    def _response(self, run: FakeRun) -> re_pb2.ExecuteResponse:
        if run.error is not None:
            return re_pb2.ExecuteResponse(status=status_of(run.error))
        result = re_pb2.ActionResult(exit_code=run.exit_code)
        result.execution_metadata.worker = "fake-worker"
        result.execution_metadata.execution_start_timestamp.FromSeconds(100)
        result.execution_metadata.execution_completed_timestamp.FromSeconds(103)
        result.stdout_digest.CopyFrom(self.blobs.add(run.stdout).to_message())
        result.stderr_digest.CopyFrom(self.blobs.add(run.stderr).to_message())
        for path, data in run.files.items():
            result.output_files.add(
                path=path,
                digest=self.blobs.add(data).to_message(),
                is_executable=path in run.executables,
            )
        for path, target in run.symlinks.items():
            result.output_symlinks.add(path=path, target=target)
        for path, tree in run.trees.items():
            tree_digest = self.blobs.add(tree.SerializeToString()).to_message()
            result.output_directories.add(path=path, tree_digest=tree_digest)
        return re_pb2.ExecuteResponse(result=result, cached_result=run.cached)

    def _complete(self, operation: _Operation, response: re_pb2.ExecuteResponse) -> None:
        operation.response = response
        operation.metadata.stage = re_pb2.ExecutionStage.COMPLETED
        operation.changed.set()

    async def _watch(self, operation: _Operation) -> AsyncIterator[operations_pb2.Operation]:
        """The states of an operation until it is done, or until a knob breaks the stream."""
        drops = self.drop_after_messages
        drop_after = drops.pop(0) if drops else None
        if drop_after == 0:
            raise Unavailable("dropped")
        queued = operations_pb2.Operation(name=operation.name)
        queued.metadata.Pack(
            re_pb2.ExecuteOperationMetadata(
                stage=re_pb2.ExecutionStage.QUEUED,
                action_digest=operation.action_digest.to_message(),
            )
        )
        yield queued
        if drop_after == 1:
            raise Unavailable("dropped")
        if operation.run.prints is not None and not operation.changed.is_set():
            yield self._message(operation)
        await operation.changed.wait()
        yield self._message(operation)

    def log(self, resource_name: str) -> bytes | None:
        """What was printed so far; None for what is not the name of a log."""
        operation = self.operations.get(resource_name.removesuffix("/stdout"))
        return operation.run.prints if operation else None

    async def finished(self, resource_name: str) -> None:
        """Returns at the end of the operation whose log that is."""
        await self.operations[resource_name.removesuffix("/stdout")].changed.wait()

    def finish(self, name: str) -> None:
        """Ends the command of an operation."""
        operation = self.operations[name]
        self._complete(operation, self._response(operation.run))

    def _message(self, operation: _Operation) -> operations_pb2.Operation:
        message = operations_pb2.Operation(name=operation.name)
        message.metadata.Pack(operation.metadata)
        if operation.response is not None:
            message.done = True
            message.response.Pack(operation.response)
        return message

    async def _wait_execution(
        self, request: re_pb2.WaitExecutionRequest, call: Call
    ) -> AsyncIterator[operations_pb2.Operation]:
        self._arrived("WaitExecution", call)
        async for message in self._watch(self._operation(request.name)):
            yield message

    def _operation(self, name: str) -> _Operation:
        if name not in self.operations:
            raise NotFound(f"no operation {name!r}")
        return self.operations[name]

    async def _get_operation(
        self, request: operations_pb2.GetOperationRequest, call: Call
    ) -> operations_pb2.Operation:
        self._arrived("GetOperation", call)
        return self._message(self._operation(request.name))

    async def _list_operations(
        self, request: operations_pb2.ListOperationsRequest, call: Call
    ) -> operations_pb2.ListOperationsResponse:
        """Pages of at most two, so that clients must follow the tokens."""
        self._arrived("ListOperations", call)
        names = sorted(self.operations)
        start = int(request.page_token or 0)
        reply = operations_pb2.ListOperationsResponse(
            operations=[self._message(self.operations[name]) for name in names[start : start + 2]]
        )
        if start + 2 < len(names):
            reply.next_page_token = str(start + 2)
        return reply

    async def _cancel_operation(
        self, request: operations_pb2.CancelOperationRequest, call: Call
    ) -> Empty:
        self._arrived("CancelOperation", call)
        operation = self._operation(request.name)
        self.cancelled_names.append(request.name)
        if operation.response is None:
            status = status_of(Cancelled("cancelled on request"))
            self._complete(operation, re_pb2.ExecuteResponse(status=status))
        return Empty()
