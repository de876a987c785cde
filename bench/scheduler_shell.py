"""The scheduler with its shell, in one process: no-op actions through dispatcher and journal."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from reapi.core.cache_state import CacheFinding, CacheState
from reapi.core.database import Database
from reapi.core.digest import digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease
from reapi.scheduler.action_traits import traits_of
from reapi.scheduler.config import SchedulerConfig
from reapi.scheduler.dispatcher import Dispatcher
from reapi.scheduler.events import Enqueue, WorkerConnected
from reapi.scheduler.opened_history import open_history
from reapi.scheduler.sqlite_history import MIGRATIONS as HISTORY_MIGRATIONS
from reapi.scheduler.sqlite_history import SqliteHistory
from reapi.scheduler.sqlite_journal import MIGRATIONS as JOURNAL_MIGRATIONS
from reapi.scheduler.sqlite_journal import SqliteJournal
from reapi.scheduler.worker_links import WorkerLink
from tests.fakes.memory_store import MemoryActionCache, MemoryBlobStore

from .comparison import Comparison, compare
from .load import Operation, measure

_WORKERS = 8
_SLOTS = 8
_IN_FLIGHT = _WORKERS * _SLOTS
_ROUNDS = 3
_SECONDS = 2.0
_ACTIONS_PER_SECOND = 5_000


async def measure_shell(folder: Path) -> list[Comparison]:
    """Workers and clients are tasks that call the dispatcher."""
    async with _dispatcher(folder) as dispatcher, _in_process_workers(dispatcher):
        run = _enqueued(dispatcher)
        rounds = [
            await measure(run, in_flight=_IN_FLIGHT, seconds=_SECONDS) for _ in range(_ROUNDS)
        ]
    return [
        compare(
            "scheduler: journal on SQLite, in-process fake workers",
            "actions/s",
            [one.per_second for one in rounds],
            aim=_ACTIONS_PER_SECOND,
            is_ratio=False,
        )
    ]


@asynccontextmanager
async def _dispatcher(folder: Path) -> AsyncIterator[Dispatcher]:
    """Journal and history are on disk; no blob is read and no result cached, so those are fakes."""
    config = SchedulerConfig()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        journal = await enter(Database(folder / "scheduler.db", JOURNAL_MIGRATIONS))
        past = await enter(Database(folder / "history.db", HISTORY_MIGRATIONS))
        history = await enter(open_history(config, SqliteHistory(past)))
        blobs, results = MemoryBlobStore(), MemoryActionCache()
        yield await enter(Dispatcher(config, SqliteJournal(journal), blobs, results, history))


@asynccontextmanager
async def _in_process_workers(dispatcher: Dispatcher) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        links = []
        for number in range(_WORKERS):
            link = WorkerLink(f"worker-{number}", "session")
            dispatcher.connect(link, WorkerConnected(link.worker_id, "session", _SLOTS, (), ()))
            links.append(link)
            group.create_task(_complete(dispatcher, link))
        yield
        for link in links:
            dispatcher.disconnect(link)
            link.close()


async def _complete(dispatcher: Dispatcher, link: WorkerLink) -> None:
    while (message := await link.next()) is not None:
        if message.HasField("lease"):
            key = (message.lease.key.operation_name, message.lease.key.epoch)
            response = re_pb2.ExecuteResponse()
            response.result.SetInParent()
            dispatcher.complete(link.worker_id, key, response)


def _enqueued(dispatcher: Dispatcher) -> Operation:
    """What Execution does with an action that it has read and checked."""
    command = re_pb2.Command(arguments=["/bin/true"])
    command_bytes = command.SerializeToString()
    command_digest = digest_of(command_bytes)
    salt = os.urandom(8)
    metadata = re_pb2.RequestMetadata()
    names = itertools.count()

    async def run(_: int) -> None:
        number = next(names)
        action = re_pb2.Action(
            command_digest=command_digest.to_message(),
            input_root_digest=digest_of(b"").to_message(),
            salt=salt + number.to_bytes(4, "big"),
            do_not_cache=True,
        ).SerializeToString()
        digest = digest_of(action)
        template = Lease(action_digest=digest.to_message(), digest_function=digest.function.number)
        name = f"operations/{number:032x}"
        traits = traits_of("", digest, metadata, command)
        dispatcher.history.recorder.describe(name, traits, CacheFinding(CacheState.NOT_CACHEABLE))
        live = await dispatcher.enqueue(
            Enqueue(name, "", digest.subject, False, (), 0, template.SerializeToString()),
            digest,
            metadata,
            {digest: action, command_digest: command_bytes},
        )
        while not live.is_done:
            version = live.version
            live.message()
            await live.changed(version, interval_seconds=20)
        live.message()
        dispatcher.leave(live)

    return run
