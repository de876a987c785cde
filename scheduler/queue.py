"""The scheduler core: a pure function of state, event and time to commands.

Nothing here awaits, reads a clock, draws a random number or logs, and no order of a set or hash
decides anything: the same events at the same times give the same commands, byte for byte.
"""

from collections.abc import Callable
from typing import Any

from google.rpc import code_pb2

from .admission import why_impossible, why_not_queued
from .commands import Command, FinishOperations, Outcome, TellWaiters
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
from .model import Execution, Stage, Trigger
from .policy import Policy
from .workforce import Workforce


class DuplicateOperation(Exception):
    """A bug of the shell: operation names are new for every Enqueue."""


class Queue(Workforce):
    """What each event does to the state. Not thread-safe."""

    def __init__(self, policy: Policy | None = None) -> None:
        super().__init__(policy or Policy())
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            Enqueue: self._enqueue,
            WaiterJoined: self._waiter_joined,
            WaiterLeft: self._waiter_left,
            CancelOperation: self._cancel_operation,
            WorkerConnected: self.worker_connected,
            WorkerDisconnected: self.worker_disconnected,
            DrainWorker: self.drain_worker,
            CordonWorkers: self.cordon_workers,
            LeaseCompleted: self._lease_completed,
            LeaseReturned: self._lease_returned,
            PolicySet: self.policy_set,
            TimePassed: self._time_passed,
            Restarted: self._restarted,
        }

    def handle(self, event: Event, now: int) -> list[Command]:
        """Applies one event at `now`, in microseconds; the commands are to be run in order.

        Words about what has ended meanwhile (a stale lease, a finished operation, an old session)
        change nothing. Raises DuplicateOperation or IllegalTransition for bugs.
        """
        commands = self.commands = []
        self.now = now
        self.first_epoch = self.next_epoch
        self._handlers[type(event)](event)
        if self.refill or self.unblocked or self.tokens_freed:
            self.bring_together()
        return commands

    # Operations and their waiters

    def _enqueue(self, event: Enqueue) -> None:
        name = event.operation_name
        if name in self.operations:
            raise DuplicateOperation(name)
        flight = (event.instance_name, event.action)
        running = self.in_flight.get(flight) if event.is_mergeable else None
        if running is not None:
            self._join(self.executions[running], event)
            return
        outcome = why_impossible(self, event) or why_not_queued(self, event)
        if outcome is not None:
            self.commands.append(FinishOperations((name,), outcome))
            return
        execution = Execution(
            name,
            event.instance_name,
            event.action,
            event.is_mergeable,
            event.properties,
            event.priority,
            self.next_sequence,
            event.lease_template,
            tenant=event.tenant,
            invocation=event.invocation,
            resources=event.resources,
            expected=event.expected,
            enqueued_at=self.now,
        )
        self.next_sequence += 1
        self.executions[name] = execution
        if event.is_mergeable:
            self.in_flight[flight] = name
        self.add_operation(execution, name)
        self.set_urgency(execution)
        execution.account = self.accounts.open(event.tenant, event.invocation)
        self.accounts.queue(execution)
        self.queued += 1
        self.place(execution)

    def _join(self, execution: Execution, event: Enqueue) -> None:
        """Merges a caller into what runs or waits already; the most urgent priority counts."""
        self.add_operation(execution, event.operation_name)
        if event.priority < execution.priority:
            execution.priority = event.priority
            self.set_urgency(execution)
            if execution.stage is Stage.QUEUED and not execution.held_until:
                execution.lane.reprioritize(execution)
        self.commands.append(TellWaiters((event.operation_name,), execution.stage))

    def _waiter_joined(self, event: WaiterJoined) -> None:
        operation = self.operations.get(event.operation_name)
        if operation is None:
            return
        operation.waiters += 1
        execution = self.executions[operation.execution_id]
        execution.waiters += 1
        execution.abandon_at = 0

    def _waiter_left(self, event: WaiterLeft) -> None:
        operation = self.operations.get(event.operation_name)
        if operation is None or not operation.waiters:
            return
        operation.waiters -= 1
        execution = self.executions[operation.execution_id]
        execution.waiters -= 1
        self.watch_for_abandonment(execution)

    def _cancel_operation(self, event: CancelOperation) -> None:
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
        self.watch_for_abandonment(execution)

    def forget(self, operation_name: str) -> None:
        """Drops an operation of which is known from elsewhere that it has ended."""
        operation = self.operations.get(operation_name)
        if operation is not None:
            execution = self.executions[operation.execution_id]
            running = execution.stage is Stage.EXECUTING
            self.end(execution, Trigger.COMPLETE if running else Trigger.REJECT, None)

    # Leases

    def _lease_completed(self, event: LeaseCompleted) -> None:
        is_current = self.is_current(event.worker_id, event.execution_id, event.epoch)
        worker = self.release(event.worker_id, event.epoch)
        if is_current:
            execution = self.executions[event.execution_id]
            self.end(execution, Trigger.COMPLETE, None, event.epoch)
        if worker is not None:
            self.fill(worker)

    def _lease_returned(self, event: LeaseReturned) -> None:
        is_current = self.is_current(event.worker_id, event.execution_id, event.epoch)
        worker = self.release(event.worker_id, event.epoch)
        if is_current:
            execution = self.executions[event.execution_id]
            self.lose(execution, event.worker_id, event.epoch, counts=True)
        if worker is not None:
            self.fill(worker)

    # Time

    def next_deadline(self) -> int | None:
        """The next moment at which time alone changes something, in microseconds."""
        return self.deadlines.next_of(self.is_due)

    def _time_passed(self, event: TimePassed) -> None:
        for at, kind, key in self.deadlines.pop_due(self.now):
            if self.is_due(at, kind, key):
                self.meet(kind, key)

    def _restarted(self, event: Restarted) -> None:
        """Every stream is gone. Epochs jump, since offers may have been sent but not journaled.

        Whatever time has passed, on whatever clock, everybody has a grace time to come back.
        """
        self.next_generation()
        for operation in self.operations.values():
            operation.waiters = 0
        for execution in self.executions.values():
            execution.waiters = 0
            self.watch_for_abandonment(execution)
        for worker in self.fleet.workers.values():
            worker.is_connected = False
            self.set_aside(worker)
            self.expect_return(worker)
        for lane in self.fleet.lanes.values():
            if lane.fail_at:
                self.expect_match(lane)
