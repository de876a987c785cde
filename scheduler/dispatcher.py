"""The asyncio shell of the core: feeds it events, journals them, and does what it commands.

All state changes happen in `_apply`, without an await in between. Nothing polls: a timer of the
loop is set to the core's next deadline.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Self

from reapi.core.digest import Digest
from reapi.core.errors import ReapiError, ResourceExhausted, status_of
from reapi.core.interfaces import ActionCache, BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
    ExecuteResponse,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease

from .alarm import Alarm
from .at_hand import AtHand
from .background import Background
from .clock import Clock
from .commands import Command, FinishOperations, OfferLease, RevokeLease, TellWaiters, WelcomeWorker
from .config import SchedulerConfig
from .events import (
    CancelOperation,
    DrainWorker,
    Enqueue,
    Event,
    LeaseCompleted,
    LeaseReturned,
    Restarted,
    TimePassed,
    WaiterJoined,
    WaiterLeft,
    WorkerConnected,
    WorkerDisconnected,
)
from .journal import Journal
from .journal_store import JournalStore
from .lease_builder import LeaseBuilder, action_digest_of
from .live_operation import LiveOperation
from .model import LeaseKey, Stage, Worker
from .operation_book import Announcement, OperationBook
from .operation_message import response_of
from .publishing import Publisher
from .queue import Queue
from .state import Limits
from .worker_links import WorkerLink, WorkerLinks

logger = logging.getLogger(__name__)

_AT_HAND_MAX_BYTES = 32 << 20
_RETRY_COMMIT_SECONDS = 1.0


class Dispatcher:
    """Runs one Queue. Use it as an async context manager; the journal belongs to it alone."""

    def __init__(
        self,
        config: SchedulerConfig,
        journal: JournalStore,
        blobs: BlobStore,
        action_cache: ActionCache,
    ) -> None:
        self._config = config
        self._journal = Journal(
            journal,
            finished_retention=_microseconds(config.finished_retention_seconds),
            max_finished=config.max_finished,
            snapshot_interval=config.snapshot_interval_events,
        )
        self._operations = OperationBook(self._journal)
        self._links = WorkerLinks(config.heartbeat_seconds)
        self._leases = LeaseBuilder(
            blobs,
            max_blob_bytes=config.lease_max_blob_bytes,
            max_directories=config.lease_max_directories,
        )
        self._publisher = Publisher(action_cache)
        self._is_open = True
        self._queue: Queue
        self._clock: Clock
        self._alarm = Alarm(lambda: self._apply(TimePassed()))
        self._background = Background()
        self._publishing: set[LeaseKey] = set()
        self._at_hand = AtHand(_AT_HAND_MAX_BYTES)

    async def __aenter__(self) -> Self:
        """Recovers from the journal; raises FailedPrecondition if it cannot be read."""
        config = self._config
        recovered = await self._journal.recover(
            Limits(
                reconnect_grace=_microseconds(config.worker_timeout_seconds / 2),
                unwatched_grace=_microseconds(config.unwatched_seconds),
                unmatched_grace=_microseconds(config.unmatched_seconds),
                max_attempts=config.max_attempts,
            )
        )
        self._queue = recovered.queue
        self._clock = Clock(not_before=recovered.now)
        for execution in self._queue.executions.values():
            digest = action_digest_of(Lease.FromString(execution.lease_template))
            for name in execution.operations:
                self._operations.open(name, execution.instance_name, digest, execution.stage)
        if recovered.now:
            await self._apply(Restarted())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_open = False
        self._alarm.cancel()
        await self._background.close()

    # For clients

    async def enqueue(
        self, event: Enqueue, action_digest: Digest, at_hand: Mapping[Digest, bytes]
    ) -> LiveOperation:
        """Queues or merges an action; the caller watches it. On return the name is durable.

        `at_hand` are blobs that a lease needs and that the caller happens to have. Raises
        ResourceExhausted when too many actions wait, Unavailable while nothing can be journaled.
        Whoever called this must call `leave`, unless it raised.
        """
        self._journal.check()
        if self._queue.waiting.length >= self._config.max_queued:
            raise ResourceExhausted(
                f"{self._config.max_queued} actions wait for a worker already; try again later",
                retry_after_seconds=10,
            )
        name = event.operation_name
        live = self._operations.open(name, event.instance_name, action_digest, Stage.QUEUED)
        self._at_hand.put(name, at_hand)
        commit = self._apply(event)
        if name not in self._queue.executions:
            self._at_hand.drop(name)
        try:
            await asyncio.shield(commit)
        except BaseException:
            self.leave(live)
            raise
        return live

    def watch(self, name: str) -> LiveOperation | None:
        """Joins a live operation; None if it is not live. Call `leave` at the end."""
        live = self._operations.live(name)
        if live is not None:
            self._apply(WaiterJoined(name))
        return live

    def leave(self, live: LiveOperation) -> None:
        """Stops watching. Streams that outlive the dispatcher may still call this."""
        if self._is_open and live.name in self._queue.operations:
            self._apply(WaiterLeft(live.name))

    async def message(self, name: str) -> bytes:
        """The serialized Operation of that name, live or finished; raises NotFound."""
        return await self._operations.message(name, self._clock.now())

    async def page(
        self, instance_name: str | None, after: str, limit: int
    ) -> list[tuple[str, bytes]]:
        """See OperationBook.page."""
        return await self._operations.page(instance_name, after, limit, self._clock.now())

    async def cancel(self, name: str) -> None:
        """Ends an operation; a finished one stays as it is. Raises NotFound. Durable on return."""
        if name in self._queue.operations:
            await asyncio.shield(self._apply(CancelOperation(name)))
        else:
            await self.message(name)

    # For workers

    def connect(self, link: WorkerLink, event: WorkerConnected) -> None:
        """A worker's stream opens: it is welcomed and may get leases at once."""
        self._links.open(link)
        self._apply(event)

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

    def workers(self) -> list[Worker]:
        """All that are known, in the order of their ids. Not to be changed."""
        return [worker for _, worker in sorted(self._queue.fleet.workers.items())]

    def operations_of(self, worker: Worker) -> list[str]:
        """The operations that the worker runs."""
        executions = self._queue.executions
        return sorted(
            name
            for execution_id in worker.leases.values()
            if execution_id in executions and executions[execution_id].worker_id == worker.worker_id
            for name in executions[execution_id].operations
        )

    # The loop of events and commands

    def _apply(
        self, event: Event, response: ExecuteResponse | None = None
    ) -> "asyncio.Future[None]":
        """Handles one event wholly; the future is done when it is journaled. Shield it.

        `response` is the worker's, with a LeaseCompleted.
        """
        now = self._clock.now()
        commands = self._queue.handle(event, now)
        commit = self._journal.append(event, now)
        for command in commands:
            if type(command) is FinishOperations:
                announcements = self._finish(command, response, now)
                commit.add_done_callback(partial(self._announce, announcements))
            else:
                self._obey(command)
        self._journal.fold(self._queue, now)
        self._alarm.set(self._queue.deadlines.next, now)
        return commit

    def _obey(self, command: Command) -> None:
        match command:
            case OfferLease(worker_id, execution_id, epoch):
                self._offer(worker_id, (execution_id, epoch))
            case TellWaiters(names, stage):
                self._operations.tell(names, stage)
            case RevokeLease(worker_id, execution_id, epoch):
                self._links.revoke(worker_id, (execution_id, epoch))
            case WelcomeWorker(worker_id, revoked):
                self._links.welcome(worker_id, revoked)

    def _finish(
        self, command: FinishOperations, response: ExecuteResponse | None, now: int
    ) -> list[Announcement]:
        if command.outcome is not None:
            response = response_of(command.outcome)
        assert response is not None, "the core finishes without an outcome on LeaseCompleted only"
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
        try:
            is_outcome = True
            if self._queue.is_current(worker_id, *key):
                execution = self._queue.executions[key[0]]
                live = self._operations.live(execution.operations[0])
                assert live is not None, "operations of an execution are live"
                is_outcome = await self._publisher.publish(
                    live.instance_name,
                    live.action_digest,
                    response,
                    is_cacheable=execution.is_mergeable,
                )
            event = LeaseCompleted if is_outcome else LeaseReturned
            await asyncio.shield(self._apply(event(worker_id, *key), response))
            self._links.acknowledge(worker_id, key)
        finally:
            self._publishing.discard(key)


def _microseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000_000))
