"""A whole scheduler without gRPC; only the stores and the workers are fakes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from google.longrunning.operations_pb2 import Operation

from reapi.core.database import Database
from reapi.core.digest import Digest
from reapi.core.identity import EVERYBODY
from reapi.core.interfaces import Call
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.pool import PostgresqlPool
from reapi.core.postgresql.term import in_office
from reapi.core.request_metadata import REQUEST_METADATA_KEY
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    ActionResult,
    Command,
    Directory,
    ExecutedActionMetadata,
    ExecuteOperationMetadata,
    ExecuteRequest,
    ExecuteResponse,
    Platform,
    RequestMetadata,
    WaitExecutionRequest,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    Completion,
    ConnectRequest,
    ConnectResponse,
    Drain,
    Heartbeat,
    Lease,
    LeaseKey,
    Progress,
    Register,
    Resource,
)
from reapi.scheduler.config import SchedulerConfig
from reapi.scheduler.dispatcher import Dispatcher
from reapi.scheduler.execution_service import ExecutionService
from reapi.scheduler.journal_store import JournalStore
from reapi.scheduler.opened_history import open_history
from reapi.scheduler.operations_service import OperationsService
from reapi.scheduler.postgresql_journal import PostgresqlJournal
from reapi.scheduler.scheduler_service import SchedulerService
from reapi.scheduler.sqlite_journal import MIGRATIONS, SqliteJournal
from reapi.scheduler.worker_service import WorkerService
from tests.fakes.instances import INSTANCES
from tests.fakes.memory_history import MemoryHistory
from tests.fakes.memory_store import MemoryActionCache, MemoryBlobStore

CONFIG = SchedulerConfig(heartbeat_seconds=30, worker_timeout_seconds=120)


class FakeCall:
    """A call from nowhere, without a deadline."""

    peer = "test"
    seconds_left = None
    identity = EVERYBODY

    def __init__(self, metadata: Mapping[str, str | bytes]) -> None:
        self.metadata = metadata


CALL = FakeCall({})


def call_with(metadata: RequestMetadata) -> FakeCall:
    """A call of a client that says so much about itself."""
    return FakeCall({REQUEST_METADATA_KEY: metadata.SerializeToString()})


JournalPlace = Path | Dsn
"""Of a journal in SQLite, or in PostgreSQL."""


@asynccontextmanager
async def open_journal(
    place: JournalPlace, office: AsyncExitStack | None = None
) -> AsyncIterator[JournalStore]:
    """Leaving `office`, if there is one, ends the term of a journal in PostgreSQL early."""
    if isinstance(place, Path):
        async with Database(place, MIGRATIONS) as database:
            yield SqliteJournal(database)
    else:
        async with PostgresqlPool(place) as pool, office or AsyncExitStack() as term:
            tenure = await term.enter_async_context(in_office(pool, "scheduler", lambda: None))
            async with PostgresqlJournal(pool, tenure, "") as journal:
                yield journal


class Scheduler:
    """Use it as an async context manager; `successor` leaves its journal as a crash does."""

    def __init__(self, place: JournalPlace, **settings: Any) -> None:
        self.config = replace(CONFIG, **settings)
        self.place = place
        self.blobs = MemoryBlobStore()
        self.action_cache = MemoryActionCache()
        self.history_store = MemoryHistory()
        self._stack = AsyncExitStack()
        self._office = AsyncExitStack()
        self._streams: list[Stream] = []
        self.streams_of_workers: list[Any] = []
        self._former: Scheduler | None = None

    async def __aenter__(self) -> Self:
        if self._former is not None:
            await self._former._crash()
        self.journal = await self._stack.enter_async_context(open_journal(self.place, self._office))
        self.history = await self._stack.enter_async_context(
            open_history(self.config, self.history_store)
        )
        self.dispatcher = await self._stack.enter_async_context(
            Dispatcher(self.config, self.journal, self.blobs, self.action_cache, self.history)
        )
        self.execution = ExecutionService(
            self.config, self.dispatcher, self.blobs, self.action_cache, INSTANCES
        )
        self.operations = OperationsService(self.dispatcher)
        self.workers = WorkerService(self.config, self.dispatcher)
        self.orders = SchedulerService(self.config, self.dispatcher)
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            await stream.close()
        for replies in self.streams_of_workers:
            await replies.aclose()
        await self._stack.aclose()

    def successor(self, **settings: Any) -> "Scheduler":
        """Another process on the same journal and stores, while this one was never closed."""
        other = Scheduler(self.place, **settings)
        other._former = self
        other.blobs, other.action_cache = self.blobs, self.action_cache
        other.history_store = self.history_store
        return other

    async def _crash(self) -> None:
        if isinstance(self.journal, PostgresqlJournal):
            # It writes nothing more, and its sessions end without a word: none is had again.
            self.journal._writer.cancel()
            await asyncio.wait([self.journal._writer])
            await self._office.aclose()
        else:
            # Leases are sent before they are journaled; what is told here happened long ago.
            await self.journal.commit()

    def add_action(
        self,
        *arguments: str,
        outputs: Sequence[str] = (),
        platform: dict[str, str] | None = None,
        root: Directory | None = None,
        action: Action | None = None,
    ) -> Digest:
        """Stores an Action with its Command and root directory; says its digest."""
        command = Command(arguments=arguments or ("true",), output_paths=outputs)
        command_digest = self.blobs.add(command.SerializeToString())
        root_digest = self.blobs.add((root or Directory()).SerializeToString())
        message = Action()
        if action is not None:
            message.CopyFrom(action)
        message.command_digest.CopyFrom(command_digest.to_message())
        message.input_root_digest.CopyFrom(root_digest.to_message())
        for name, value in (platform or {}).items():
            message.platform.properties.add(name=name, value=value)
        return self.blobs.add(message.SerializeToString())

    def execute(self, action_digest: Digest, *, call: Call = CALL, **fields: Any) -> "Stream":
        request = ExecuteRequest(action_digest=action_digest.to_message(), **fields)
        return self._serve(self.execution.execute(request, call))

    def wait(self, name: str) -> "Stream":
        return self._serve(self.execution.wait_execution(WaitExecutionRequest(name=name), CALL))

    def _serve(self, replies: AsyncIterator[bytes]) -> "Stream":
        self._streams.append(Stream(replies))
        return self._streams[-1]


class Stream:
    """The operations of one Execute or WaitExecution call, served by a task of its own."""

    def __init__(self, replies: AsyncIterator[bytes]) -> None:
        self._received: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._serve(replies))

    async def _serve(self, replies: AsyncIterator[bytes]) -> None:
        try:
            async for reply in replies:
                self._received.put_nowait(reply)
            self._received.put_nowait(None)
        except Exception as error:
            self._received.put_nowait(error)

    async def next(self) -> Operation:
        reply = await self._received.get()
        if isinstance(reply, Exception):
            raise reply
        assert reply is not None, "the stream has ended"
        return Operation.FromString(reply)

    async def rest(self) -> list[Operation]:
        operations = [await self.next()]
        while not operations[-1].done:
            operations.append(await self.next())
        assert await self._received.get() is None, "words after the last one"
        return operations

    async def last(self) -> Operation:
        return (await self.rest())[-1]

    async def close(self) -> None:
        """The client goes away, which cancels the handler."""
        self._task.cancel()
        await asyncio.wait([self._task])


def metadata_of(operation: Operation) -> ExecuteOperationMetadata:
    metadata = ExecuteOperationMetadata()
    assert operation.metadata.Unpack(metadata)
    return metadata


def response_of(operation: Operation) -> ExecuteResponse:
    response = ExecuteResponse()
    assert operation.done
    assert operation.response.Unpack(response)
    return response


def success(worker: str = "w1", **fields: Any) -> ExecuteResponse:
    return ExecuteResponse(
        result=ActionResult(execution_metadata=ExecutedActionMetadata(worker=worker), **fields)
    )


class FakeWorker:
    """The worker's side of the protocol, over plain async iterators."""

    def __init__(
        self,
        scheduler: Scheduler,
        worker_id: str = "w1",
        *,
        session_id: str = "s1",
        slots: int = 1,
        platform: dict[str, str] | None = None,
        resources: dict[str, int] | None = None,
        ordinal: int | None = None,
    ) -> None:
        self.worker_id = worker_id
        self._scheduler = scheduler
        properties = [
            Platform.Property(name=name, value=value) for name, value in (platform or {}).items()
        ]
        self._register = Register(
            worker_id=worker_id,
            session_id=session_id,
            slots=slots,
            platform=Platform(properties=properties),
            resources=[
                Resource(name=name, amount=amount) for name, amount in (resources or {}).items()
            ],
            ordinal=ordinal,
        )

    async def connect(self, *held: LeaseKey) -> ConnectResponse:
        """Opens a stream and returns the first reply."""
        self._outgoing: asyncio.Queue[ConnectRequest | None] = asyncio.Queue()
        del self._register.held[:]
        self._register.held.extend(held)
        self.say(ConnectRequest(register=self._register))
        self.replies = self._scheduler.workers.connect(self._requests(), CALL)
        self._scheduler.streams_of_workers.append(self.replies)
        return await self.next()

    async def _requests(self) -> AsyncIterator[ConnectRequest]:
        while (request := await self._outgoing.get()) is not None:
            yield request

    def say(self, request: ConnectRequest) -> None:
        self._outgoing.put_nowait(request)

    async def next(self) -> ConnectResponse:
        return await anext(self.replies)

    async def lease(self) -> Lease:
        """The next reply, which must be a lease."""
        reply = await self.next()
        assert reply.WhichOneof("message") == "lease", reply
        return reply.lease

    def complete(self, lease: Lease, response: ExecuteResponse | None = None) -> None:
        response = response or success(self.worker_id)
        self.say(ConnectRequest(completion=Completion(key=lease.key, response=response)))

    async def run(self, lease: Lease, response: ExecuteResponse | None = None) -> None:
        """Completes a lease and waits for the acknowledgement."""
        self.complete(lease, response)
        reply = await self.next()
        assert reply.completion_received.key == lease.key, reply

    def progress(self, lease: Lease, metadata: ExecutedActionMetadata) -> None:
        self.say(ConnectRequest(progress=Progress(key=lease.key, metadata=metadata)))

    def drain(self) -> None:
        self.say(ConnectRequest(drain=Drain()))

    def heartbeat(self) -> None:
        self.say(ConnectRequest(heartbeat=Heartbeat()))

    async def leave(self) -> None:
        """Ends the stream and waits until the scheduler has seen it."""
        self._outgoing.put_nowait(None)
        async for _ in self.replies:
            pass
