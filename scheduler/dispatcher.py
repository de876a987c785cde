"""The asyncio shell of the core: feeds it events, journals them, and does what it commands.

All state changes happen in `_apply`, without an await in between. Nothing polls: a timer of the
loop is set to the core's next deadline.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Self
from weakref import WeakValueDictionary

from reapi.core.digest import Digest
from reapi.core.errors import ReapiError, ResourceExhausted, Unavailable, status_of
from reapi.core.interfaces import ActionCache, BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
    ExecuteResponse,
    RequestMetadata,
)

from .admission import why_not_queued
from .alarm import Alarm
from .at_hand import AtHand
from .background import Background
from .changes import Changes
from .clock import Clock
from .commands import (
    Command,
    FinishOperations,
    Notice,
    OfferLease,
    RefuseWorker,
    RevokeLease,
    TellWaiters,
    WelcomeWorker,
)
from .config import SchedulerConfig
from .events import (
    CancelOperation,
    CordonWorkers,
    DrainWorker,
    Enqueue,
    Event,
    LeaseCompleted,
    LeaseReturned,
    PolicySet,
    Restarted,
    TimePassed,
    WaiterJoined,
    WaiterLeft,
    WorkerConnected,
    WorkerDisconnected,
)
from .execution_state import ExecutionStates
from .journal import Journal
from .journal_store import JournalStore
from .late_logs import LateLogs
from .lease_builder import LeaseBuilder
from .live_operation import LiveOperation
from .log_reads import LogReads
from .model import LeaseKey, Stage, Worker
from .opened_history import History
from .operation_book import Announcement, OperationBook, Page
from .operation_filter import OperationFilter
from .operation_message import response_of
from .policy import Policy
from .policy_of_config import microseconds, policy_of
from .publishing import Publisher
from .queue import Queue
from .reasons import why_chosen, why_waiting
from .worker_links import WorkerLink, WorkerLinks

logger = logging.getLogger(__name__)

_AT_HAND_MAX_BYTES = 32 << 20
_RETRY_COMMIT_SECONDS = 1.0
_RETRY_AFTER_SECONDS = 1.0


class Dispatcher:
    """Runs one Queue. Use it as an async context manager; the journal belongs to it alone.

    When it is left, all streams of clients and workers end as Unavailable: another one, here or
    elsewhere, may go on from the journal.
    """

    def __init__(
        self,
        config: SchedulerConfig,
        journal: JournalStore,
        blobs: BlobStore,
        action_cache: ActionCache,
        history: History,
    ) -> None:
        self._config = config
        self._journal = Journal(
            journal,
            finished_retention=microseconds(config.finished_retention_seconds),
            max_finished=config.max_finished,
            snapshot_interval=config.snapshot_interval_events,
        )
        states = ExecutionStates()
        self._operations = OperationBook(
            self._journal,
            lambda live, is_asked: states.of(self._queue, live, is_asked=is_asked),
        )
        self._links = WorkerLinks(config.heartbeat_seconds)
        self.log_reads = LogReads(self._links)
        self.late_logs = LateLogs()
        self._leases = LeaseBuilder(
            blobs,
            max_blob_bytes=config.lease_max_blob_bytes,
            max_directories=config.lease_max_directories,
        )
        self._publisher = Publisher(action_cache)
        self.history = history
        self._recorder = history.recorder
        self._is_open = True
        self._queue: Queue
        self._clock: Clock
        self._alarm = Alarm(lambda: self._apply(TimePassed()))
        self._background = Background()
        self._publishing: set[LeaseKey] = set()
        # Of an execution with two leases one result is published, though both may have one.
        self._publishers: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._at_hand = AtHand(_AT_HAND_MAX_BYTES)
        self.changes = Changes()
        """Of the core's state, whatever it is."""

    async def __aenter__(self) -> Self:
        """Recovers from the journal; raises FailedPrecondition if it cannot be read."""
        config = self._config
        recovered = await self._journal.recover(policy_of(config, Policy()))
        self._queue = recovered.queue
        self._clock = Clock(not_before=recovered.now)
        for execution in self._queue.executions.values():
            self._operations.reopen(execution)
        self._recorder.recover(self._queue)
        # Even if nothing is in the journal: leases may have gone out whose events were lost.
        await self._apply(Restarted())
        policy = policy_of(config, self._queue.policy)
        if self._queue.policy != policy:
            await self._apply(PolicySet(policy))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_open = False
        self._alarm.cancel()
        self._links.close_all(_no_longer_active())
        self._operations.close(_no_longer_active())
        await self._background.close()

    # For clients

    async def enqueue(
        self,
        event: Enqueue,
        action_digest: Digest,
        metadata: RequestMetadata,
        at_hand: Mapping[Digest, bytes],
    ) -> LiveOperation:
        """Queues or merges an action; the caller watches it. On return the name is durable.

        `metadata` is the caller's; `at_hand` are blobs that a lease needs and that are there.
        Raises ResourceExhausted when too many actions wait, Unavailable while nothing can be
        journaled.
        Whoever called this must call `leave`, unless it raised.
        """
        self._journal.check()
        refusal = why_not_queued(self._queue, event)
        if refusal is not None:
            raise ResourceExhausted(
                refusal.message, retry_after_seconds=refusal.retry_after_seconds
            )
        name = event.operation_name
        live = self._operations.open(
            name, event.instance_name, action_digest, Stage.QUEUED, metadata
        )
        self._at_hand.put(name, at_hand)
        commit = self._apply(event)
        operation = self._queue.operations.get(name)
        if operation is None or operation.execution_id != name:
            self._at_hand.drop(name)
        if operation is not None:
            self._operations.join(live, self._queue.executions[operation.execution_id])
        try:
            await asyncio.shield(commit)
        except BaseException:
            self.leave(live)
            raise
        return live

    def answer(self, name: str, operation: bytes) -> None:
        """Remembers, in memory, an operation that ended without being queued."""
        self._operations.answer(name, operation)

    def watch(self, name: str) -> LiveOperation | None:
        """Joins a live operation; None if it is not live. Call `leave` at the end."""
        live = self._operations.live(name)
        if live is not None:
            self._apply(WaiterJoined(name))
        return live

    def live(self, name: str) -> LiveOperation | None:
        """A live operation, for one who looks at it without waiting for its end."""
        return self._operations.live(name)

    def lease(self, name: str) -> tuple[str, LeaseKey] | None:
        """The worker that runs an operation now, and the lease that it has."""
        operation = self._queue.operations.get(name)
        if operation is None:
            return None
        execution = self._queue.executions[operation.execution_id]
        key = (execution.execution_id, execution.epoch)
        return (execution.worker_id, key) if execution.epoch else None

    def leave(self, live: LiveOperation) -> None:
        """Stops watching. Streams that outlive the dispatcher may still call this."""
        if self._is_open and live.name in self._queue.operations:
            self._apply(WaiterLeft(live.name))

    async def message(self, name: str) -> bytes:
        """The serialized Operation of that name, live or finished; raises NotFound."""
        return await self._operations.message(name, self._clock.now())

    async def page(
        self, instance_name: str | None, wanted: OperationFilter, after: str, limit: int
    ) -> Page:
        """See OperationBook.page."""
        now = self._clock.now()
        return await self._operations.page(instance_name, wanted, after, limit, now)

    async def cancel(self, name: str) -> None:
        """Ends an operation; a finished one stays as it is. Raises NotFound. Durable on return."""
        if name in self._queue.operations:
            await asyncio.shield(self._apply(CancelOperation(name)))
        else:
            await self.message(name)

    def why_waiting(self, name: str) -> str:
        """Why a live operation is not run yet, in words; empty for all others."""
        operation = self._queue.operations.get(name)
        if operation is None:
            return ""
        execution = self._queue.executions[operation.execution_id]
        is_waiting = execution.stage is Stage.QUEUED
        return why_waiting(self._queue, execution) if is_waiting else ""

    # For workers

    def connect(self, link: WorkerLink, event: WorkerConnected) -> None:
        """A worker's stream opens: it is welcomed and may get leases at once."""
        self._links.open(link)
        self._apply(event)
        self.log_reads.repeat(
            link.worker_id, lambda key: self._queue.is_current(link.worker_id, *key)
        )

    def disconnect(self, link: WorkerLink) -> None:
        """A worker's stream has ended, perhaps after the dispatcher itself."""
        if self._links.close(link) and self._is_open:
            self._apply(WorkerDisconnected(link.worker_id, link.session_id))

    def drain(self, worker_id: str) -> None:
        """No more leases for this worker."""
        self._apply(DrainWorker(worker_id))

    def progress(self, worker_id: str, key: LeaseKey, metadata: ExecutedActionMetadata) -> None:
        """The worker has begun with the action itself; words about a stale lease are ignored."""
        if self._queue.is_current(worker_id, *key):
            for name in self._queue.executions[key[0]].operations:
                live = self._operations.live(name)
                if live is not None:
                    live.progress(metadata)

    def complete(self, worker_id: str, key: LeaseKey, response: ExecuteResponse) -> None:
        """Takes a worker's last word on a lease; it is acknowledged once all is durable."""
        if key not in self._publishing:
            self._publishing.add(key)
            self._background.run(self._complete(worker_id, key, response))

    # For operators

    @property
    def queue(self) -> Queue:
        """The core, to be asked and not to be changed."""
        return self._queue

    def now(self) -> int:
        """The time that the core is told, in microseconds."""
        return self._clock.now()

    async def order(self, event: CordonWorkers | PolicySet) -> None:
        """Does what an operator wants; durable on return."""
        self._journal.check()
        await asyncio.shield(self._apply(event))

    def last_heard(self, worker: Worker) -> int:
        """When a worker spoke last, or, when it is away, was given up; in microseconds."""
        if worker.is_connected:
            return self._links.last_heard(worker.worker_id) or self._clock.now()
        return worker.lost_at - self._queue.policy.reconnect_grace

    # The loop of events and commands

    def _apply(
        self, event: Event, response: ExecuteResponse | None = None
    ) -> "asyncio.Future[None]":
        """Handles one event wholly; the future is done when it is journaled. Shield it.

        `response` is the worker's, with a LeaseCompleted.
        """
        if not self._is_open:
            raise _no_longer_active()
        now = self._clock.now()
        commands = self._queue.handle(event, now)
        commit = self._journal.append(event, now, commands)
        for command in commands:
            if type(command) is FinishOperations:
                announcements = self._finish(command, response, now)
                commit.add_done_callback(partial(self._announce, announcements))
            else:
                self._obey(command)
        self._recorder.note(event, commands, response, self._queue, now)
        self.late_logs.note(commands)
        self._journal.fold(self._queue, now)
        self._alarm.set(self._queue.next_deadline(), now)
        self.changes.tell()
        return commit

    def _obey(self, command: Command) -> None:
        match command:
            case OfferLease(worker_id, execution_id, epoch, choice):
                names = self._queue.executions[execution_id].operations
                self._operations.lease(names, why_chosen(choice, worker_id))
                self._offer(worker_id, (execution_id, epoch))
            case TellWaiters(names, stage):
                self._operations.tell(names, stage)
            case RevokeLease(worker_id, execution_id, epoch):
                self._links.revoke(worker_id, (execution_id, epoch))
            case WelcomeWorker(worker_id, revoked):
                self._links.welcome(worker_id, revoked)
            case RefuseWorker(worker_id, session_id, message):
                self._links.refuse(worker_id, session_id, message)
            case Notice(message):
                logger.warning("%s", message)

    def _finish(
        self, command: FinishOperations, response: ExecuteResponse | None, now: int
    ) -> list[Announcement]:
        if command.outcome is not None:
            response = response_of(command.outcome)
        assert response is not None, "the core finishes without an outcome on LeaseCompleted only"
        story = self._recorder.story_of_failure(command.operation_names, response)
        response.message = response.message or story
        for name in command.operation_names:
            self._at_hand.drop(name)
        return self._operations.finish(command.operation_names, response, now)

    def _announce(self, announcements: list[Announcement], commit: "asyncio.Future[None]") -> None:
        """Tells the waiters the end, now that it is durable; if it is not, tries again later."""
        if commit.cancelled() or commit.exception() is None:
            self._operations.announce(announcements)
            return
        logger.error("cannot journal the end of %d operations", len(announcements))
        loop = asyncio.get_running_loop()
        loop.call_later(_RETRY_COMMIT_SECONDS, self._journal_again, announcements)

    def _journal_again(self, announcements: list[Announcement]) -> None:
        if self._is_open:
            self._journal.commit().add_done_callback(partial(self._announce, announcements))

    # Leases

    def _offer(self, worker_id: str, key: LeaseKey) -> None:
        """Sends a lease; at once if nothing must be read for it."""
        at_hand = self._at_hand.take(key[0])
        template = self._queue.executions[key[0]].lease_template
        lease = self._leases.build_at_once(template, key, at_hand)
        if lease is not None:
            self._links.send(worker_id, lease)
        else:
            self._background.run(self._build_and_send(worker_id, key, template, at_hand))

    async def _build_and_send(
        self, worker_id: str, key: LeaseKey, template: bytes, at_hand: Mapping[Digest, bytes]
    ) -> None:
        try:
            lease = await self._leases.build(template, key, at_hand)
        except ReapiError as error:
            # The worker never hears of this lease; its slot is free again.
            response = ExecuteResponse(status=status_of(error))
            await asyncio.shield(self._apply(LeaseCompleted(worker_id, *key), response))
            return
        # It may have been lost, cancelled or given to another while the blobs were read.
        if self._queue.is_current(worker_id, *key):
            self._links.send(worker_id, lease)
        else:
            self._apply(LeaseReturned(worker_id, *key))

    async def _complete(self, worker_id: str, key: LeaseKey, response: ExecuteResponse) -> None:
        lock = self._publishers.setdefault(key[0], asyncio.Lock())
        try:
            async with lock:
                is_outcome = await self._publish(worker_id, key, response)
                event = LeaseCompleted if is_outcome else LeaseReturned
                await asyncio.shield(self._apply(event(worker_id, *key), response))
            if response.HasField("result"):
                names = self.late_logs.operations(key)
                await self._operations.add_logs(names, response.result, self._clock.now())
            self._links.acknowledge(worker_id, key)
        finally:
            self._publishing.discard(key)
            self.late_logs.told(key)

    async def _publish(self, worker_id: str, key: LeaseKey, response: ExecuteResponse) -> bool:
        """Stores what is to be cached; False if the worker's words are no outcome of the action."""
        if not self._queue.is_current(worker_id, *key):
            return True
        execution = self._queue.executions[key[0]]
        live = self._operations.live(execution.operations[0])
        assert live is not None, "operations of an execution are live"
        return await self._publisher.publish(
            live.instance_name,
            live.action_digest,
            response,
            is_cacheable=execution.is_mergeable,
        )


def _no_longer_active() -> Unavailable:
    return Unavailable(
        "this scheduler is no longer active", retry_after_seconds=_RETRY_AFTER_SECONDS
    )
