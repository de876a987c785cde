"""The scheduler core: a pure function of state, event and time to commands.

Nothing here awaits, reads a clock, draws a random number or logs, and no order of a set or hash
decides anything: the same events at the same times give the same commands, byte for byte.
"""

from collections.abc import Callable
from typing import Any

from google.rpc import code_pb2

from .commands import (
    Command,
    FinishOperations,
    Outcome,
    TellWaiters,
    WelcomeWorker,
)
from .deadlines import Deadline
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
from .model import Execution, Properties, Stage, Trigger, Worker
from .platform import no_worker_fits
from .state import Limits, State

GENERATION_BITS = 32


class DuplicateOperation(Exception):
    """A bug of the shell: operation names are new for every Enqueue."""


class Queue(State):
    """What each event does to the state. Not thread-safe."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._handlers: dict[type[Event], Callable[[Any, int], None]] = {
            Enqueue: self._enqueue,
            WaiterJoined: self._waiter_joined,
            WaiterLeft: self._waiter_left,
            CancelOperation: self._cancel_operation,
            WorkerConnected: self._worker_connected,
            WorkerDisconnected: self._worker_disconnected,
            DrainWorker: self._drain_worker,
            LeaseCompleted: self._lease_completed,
            LeaseReturned: self._lease_returned,
            TimePassed: self._time_passed,
            Restarted: self._restarted,
        }

    def handle(self, event: Event, now: int) -> list[Command]:
        """Applies one event at `now`, in microseconds; the commands are to be run in order.

        Words about what has ended meanwhile (a stale lease, a finished operation, an old session)
        change nothing. Raises DuplicateOperation or IllegalTransition for bugs.
        """
        commands = self.commands = []
        self._handlers[type(event)](event, now)
        return commands

    # Operations and their waiters

    def _enqueue(self, event: Enqueue, now: int) -> None:
        if event.operation_name in self.operations:
            raise DuplicateOperation(event.operation_name)
        flight = (event.instance_name, event.action)
        running = self.in_flight.get(flight) if event.is_mergeable else None
        if running is not None:
            self._join(self.executions[running], event)
            return
        if self.fleet.workers and not self.fleet.matching(event.properties):
            outcome = no_worker_fits(event.properties, sorted(self.fleet.pools))
            self.commands.append(FinishOperations((event.operation_name,), outcome))
            return
        execution = Execution(
            execution_id=event.operation_name,
            instance_name=event.instance_name,
            action=event.action,
            is_mergeable=event.is_mergeable,
            properties=event.properties,
            priority=event.priority,
            sequence=self.next_sequence,
            lease_template=event.lease_template,
        )
        self.next_sequence += 1
        self.executions[execution.execution_id] = execution
        if event.is_mergeable:
            self.in_flight[flight] = execution.execution_id
        self.add_operation(execution, event.operation_name)
        self.place(execution, now)

    def _join(self, execution: Execution, event: Enqueue) -> None:
        """Merges a caller into what runs or waits already; the most urgent priority counts."""
        self.add_operation(execution, event.operation_name)
        if event.priority < execution.priority:
            execution.priority = event.priority
            if execution.stage is Stage.QUEUED:
                self.waiting.reprioritize(execution)
        self.commands.append(TellWaiters((event.operation_name,), execution.stage))

    def _waiter_joined(self, event: WaiterJoined, now: int) -> None:
        operation = self.operations.get(event.operation_name)
        if operation is None:
            return
        operation.waiters += 1
        execution = self.executions[operation.execution_id]
        execution.waiters += 1
        execution.abandon_at = 0

    def _waiter_left(self, event: WaiterLeft, now: int) -> None:
        operation = self.operations.get(event.operation_name)
        if operation is None or not operation.waiters:
            return
        operation.waiters -= 1
        execution = self.executions[operation.execution_id]
        execution.waiters -= 1
        self.watch_for_abandonment(execution, now)

    def _cancel_operation(self, event: CancelOperation, now: int) -> None:
        operation = self.operations.get(event.operation_name)
        if operation is None:
            return
        execution = self.executions[operation.execution_id]
        outcome = Outcome(code_pb2.CANCELLED, "the operation was cancelled on request")
        if len(execution.operations) == 1:
            self.end(execution, Trigger.CANCEL, outcome)
            return
        # Others wait for the same action: only this caller's share of it ends (OP2).
        del self.operations[operation.name]
        execution.operations.remove(operation.name)
        execution.waiters -= operation.waiters
        self.commands.append(FinishOperations((operation.name,), outcome))
        self.watch_for_abandonment(execution, now)

    # Leases

    def _lease_completed(self, event: LeaseCompleted, now: int) -> None:
        is_current = self.is_current(event.worker_id, event.execution_id, event.epoch)
        worker = self.release(event.worker_id, event.epoch)
        if is_current:
            self.end(self.executions[event.execution_id], Trigger.COMPLETE, None)
        if worker is not None:
            self.fill(worker)

    def _lease_returned(self, event: LeaseReturned, now: int) -> None:
        is_current = self.is_current(event.worker_id, event.execution_id, event.epoch)
        worker = self.release(event.worker_id, event.epoch)
        if is_current:
            self.lose(self.executions[event.execution_id], now, counts=True)
        if worker is not None:
            self.fill(worker)

    # Workers

    def _worker_connected(self, event: WorkerConnected, now: int) -> None:
        known = self.fleet.workers.get(event.worker_id)
        if known is not None and known.session_id != event.session_id:
            self.remove_worker(known, now)
            known = None
        worker = known or Worker(event.worker_id, event.session_id, event.slots, event.properties)
        kept, unheard = self._settle_leases(worker, dict((e, x) for x, e in event.held))
        revoked = tuple(key for key in event.held if key[1] not in kept)
        self.commands.append(WelcomeWorker(worker.worker_id, revoked))
        worker.leases = kept
        worker.is_connected = True
        worker.lost_at = 0
        if known is None:
            self.fleet.add(worker)
            self.lanes_matched(worker.properties)
        self.fill(worker)
        for execution in unheard:
            self.lose(execution, now, counts=False)

    def _settle_leases(
        self, worker: Worker, held: dict[int, str]
    ) -> tuple[dict[int, str], list[Execution]]:
        """Which leases of a returning worker go on, and the executions whose offer got lost.

        A lease that neither the worker holds nor anybody wants is dropped in silence.
        """
        kept: dict[int, str] = {}
        unheard: list[Execution] = []
        for epoch, execution_id in sorted(worker.leases.items()):
            if self.is_current(worker.worker_id, execution_id, epoch):
                if held.get(epoch) == execution_id:
                    kept[epoch] = execution_id
                else:
                    unheard.append(self.executions[execution_id])
        return kept, unheard

    def _worker_disconnected(self, event: WorkerDisconnected, now: int) -> None:
        worker = self.fleet.workers.get(event.worker_id)
        if worker is None or worker.session_id != event.session_id or not worker.is_connected:
            return
        worker.is_connected = False
        if worker.is_draining and not worker.leases:
            self.remove_worker(worker, now)
            return
        self.expect_return(worker, now)

    def _drain_worker(self, event: DrainWorker, now: int) -> None:
        worker = self.fleet.workers.get(event.worker_id)
        if worker is not None:
            worker.is_draining = True
            self.fleet.refresh(worker)

    # Time

    def _time_passed(self, event: TimePassed, now: int) -> None:
        for at, (kind, key) in self.deadlines.pop_due(now):
            if kind is Deadline.ABANDON:
                execution = self.executions.get(str(key))
                if execution is not None and execution.abandon_at == at:
                    message = "nobody waited for this operation any more, so it was stopped"
                    self.end(execution, Trigger.ABANDON, Outcome(code_pb2.ABORTED, message))
            elif kind is Deadline.LOST:
                worker = self.fleet.workers.get(str(key))
                if worker is not None and worker.lost_at == at:
                    self.remove_worker(worker, now)
            elif isinstance(key, tuple):
                lane = self.waiting.lanes.get(key)
                if lane is not None and lane.fail_at == at:
                    self._lane_unmatched(key, now)

    def _lane_unmatched(self, properties: Properties, now: int) -> None:
        """No worker has matched for the whole grace time. An empty fleet may still be starting."""
        if not self.fleet.workers:
            self.expect_match(properties, now)
            return
        outcome = no_worker_fits(properties, sorted(self.fleet.pools))
        for execution in self.waiting.in_lane(properties):
            self.end(execution, Trigger.REJECT, outcome)

    def _restarted(self, event: Restarted, now: int) -> None:
        """Every stream is gone. Epochs jump, since offers may have been sent but not journaled."""
        self.next_epoch = ((self.next_epoch >> GENERATION_BITS) + 1 << GENERATION_BITS) + 1
        for operation in self.operations.values():
            operation.waiters = 0
        for execution in self.executions.values():
            execution.waiters = 0
            self.watch_for_abandonment(execution, now)
        for worker in self.fleet.workers.values():
            worker.is_connected = False
            self.expect_return(worker, now)
