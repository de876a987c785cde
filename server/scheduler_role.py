"""The scheduler of this process: makes the objects of one term of office from the settings."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from reapi.cas.storage import Storage
from reapi.clients.patient_blobs import PatientBlobStore
from reapi.core.database import Database
from reapi.core.instances import Instances
from reapi.core.interfaces import ActionCache
from reapi.scheduler.cluster import cluster
from reapi.scheduler.dispatcher import Dispatcher
from reapi.scheduler.execution_service import ExecutionService
from reapi.scheduler.explain_service import ExplainService
from reapi.scheduler.explainer import Explainer
from reapi.scheduler.history import HistoryStore
from reapi.scheduler.journal_store import JournalStore
from reapi.scheduler.opened_history import open_history
from reapi.scheduler.operations_service import OperationsService
from reapi.scheduler.recorded_journal import RecordedJournal
from reapi.scheduler.scheduler_service import SchedulerService
from reapi.scheduler.sqlite_history import MIGRATIONS as HISTORY_MIGRATIONS
from reapi.scheduler.sqlite_history import SqliteHistory
from reapi.scheduler.sqlite_journal import MIGRATIONS as JOURNAL_MIGRATIONS
from reapi.scheduler.sqlite_journal import SqliteJournal
from reapi.scheduler.worker_service import WorkerService, worker_messages

from .cluster_health import ClusterView
from .config import ServerConfig
from .office import InOffice, Listeners
from .scheduler_config import scheduler_config

_JOURNAL_GATHERING_TURNS = 16
"""While calls come in, most turns bring an event or two: a fifth more actions in each second."""
_PATIENCE_SECONDS = 300.0
"""How long a lease waits for a storage that is away and has the action."""


@asynccontextmanager
async def open_term(
    config: ServerConfig, storage: Storage, instances: Instances, listeners: Listeners
) -> AsyncIterator[InOffice]:
    """A scheduler, once it is its turn."""
    settings = scheduler_config(config)
    async with AsyncExitStack() as stack:
        journal, action_cache, over = await _journal(config, storage, listeners, stack)
        record_dir = config.scheduler.record_dir
        if record_dir is not None:
            most = config.scheduler.record_max_size_bytes
            journal = await stack.enter_async_context(RecordedJournal(journal, record_dir, most))
        store = await _history_store(config, storage, stack)
        history = await stack.enter_async_context(open_history(settings, store))
        dispatcher = await stack.enter_async_context(
            Dispatcher(
                settings,
                journal,
                PatientBlobStore(storage.reads, patience_seconds=_PATIENCE_SECONDS),
                action_cache,
                history,
            )
        )
        execution = ExecutionService(
            settings, dispatcher, storage.reads, storage.action_cache, instances
        )
        explainer = Explainer(dispatcher, storage.reads, storage.action_cache)
        methods = [
            *storage.invocations.watched(execution.methods()),
            *OperationsService(dispatcher).methods(),
            *SchedulerService(settings, dispatcher).methods(),
            *WorkerService(settings, dispatcher).methods(),
            *ExplainService(explainer, dispatcher.history, instances).methods(),
        ]

        def view() -> ClusterView:
            return ClusterView(
                worker_messages(dispatcher), cluster(dispatcher.queue, dispatcher.now())
            )

        yield InOffice(methods, over, view)


async def _journal(
    config: ServerConfig, storage: Storage, listeners: Listeners, stack: AsyncExitStack
) -> tuple[JournalStore, ActionCache, Callable[[], Awaitable[None]]]:
    """Where the state is, there is the journal; and the results, for one who is in office."""
    pool = storage.postgresql
    if pool is None:
        database = await stack.enter_async_context(
            Database(
                config.data_dir / "scheduler.db",
                JOURNAL_MIGRATIONS,
                gathering_turns=_JOURNAL_GATHERING_TURNS,
            )
        )
        return SqliteJournal(database), storage.action_cache, _never
    from reapi.core.postgresql.term import in_office
    from reapi.scheduler.postgresql_journal import PostgresqlJournal

    shard = config.scheduler.shard_name
    tenure = await stack.enter_async_context(
        in_office(pool, f"scheduler {shard}".strip(), listeners.standing_by, listeners.on_renewal)
    )
    journal = await stack.enter_async_context(PostgresqlJournal(pool, tenure, shard))
    action_cache = await stack.enter_async_context(storage.action_cache_in(tenure.term))
    return journal, action_cache, tenure.over


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def _history_store(
    config: ServerConfig, storage: Storage, stack: AsyncExitStack
) -> HistoryStore:
    """Beside the journal."""
    if storage.postgresql is None:
        database = await stack.enter_async_context(
            Database(config.data_dir / "history.db", HISTORY_MIGRATIONS)
        )
        return SqliteHistory(database)
    from reapi.scheduler.postgresql_history import PostgresqlHistory

    return await stack.enter_async_context(PostgresqlHistory(storage.postgresql))
