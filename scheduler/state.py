"""The state of the scheduler core and the steps of which every event's effect is made.

Each step keeps the indexes in line with each other and appends the commands that it implies; which
steps an event takes is in queue.py.
"""

from dataclasses import dataclass

from google.rpc import code_pb2

from .commands import (
    Command,
    FinishOperations,
    OfferLease,
    Outcome,
    RevokeLease,
    TellWaiters,
)
from .deadlines import Deadline, Deadlines
from .fleet import Fleet
from .model import Execution, Operation, Properties, Stage, Trigger, Worker
from .platform import matches
from .waiting import Waiting


@dataclass(frozen=True)
class Limits:
    """The numbers that the core's decisions depend on; times in microseconds, all positive."""

    reconnect_grace: int
    unwatched_grace: int
    unmatched_grace: int
    max_attempts: int


class State:
    """All executions that have not ended and all workers that are known.

    What has ended is forgotten at once: keeping responses is the shell's part.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.executions: dict[str, Execution] = {}
        self.operations: dict[str, Operation] = {}
        self.fleet = Fleet()
        self.waiting = Waiting(self.executions)
        self.deadlines = Deadlines()
        self.in_flight: dict[tuple[str, str], str] = {}  # (instance_name, action) -> execution_id
        self.next_sequence = 1
        self.next_epoch = 1
        self.commands: list[Command] = []

    def is_current(self, worker_id: str, execution_id: str, epoch: int) -> bool:
        """Whether this lease is the one whose outcome counts."""
        execution = self.executions.get(execution_id)
        return (
            execution is not None
            and execution.epoch == epoch
            and execution.worker_id == worker_id
            and execution.stage is Stage.EXECUTING
        )

    def add_operation(self, execution: Execution, name: str) -> None:
        self.operations[name] = Operation(name, execution.execution_id, waiters=1)
        execution.operations.append(name)
        execution.waiters += 1
        execution.abandon_at = 0

    def watch_for_abandonment(self, execution: Execution, now: int) -> None:
        if not execution.waiters and not execution.abandon_at:
            execution.abandon_at = now + self.limits.unwatched_grace
            self.deadlines.add(execution.abandon_at, Deadline.ABANDON, execution.execution_id)

    def end(self, execution: Execution, trigger: Trigger, outcome: Outcome | None) -> None:
        """Finishes all operations of an execution and forgets it; revokes its lease."""
        was_queued = execution.stage is Stage.QUEUED
        execution.advance(trigger)
        if was_queued:
            self.waiting.remove(execution)
        elif trigger in (Trigger.CANCEL, Trigger.ABANDON):
            self.commands.append(
                RevokeLease(execution.worker_id, execution.execution_id, execution.epoch)
            )
        del self.executions[execution.execution_id]
        if execution.is_mergeable:
            del self.in_flight[execution.instance_name, execution.action]
        for name in execution.operations:
            del self.operations[name]
        self.commands.append(FinishOperations(tuple(execution.operations), outcome))

    def place(self, execution: Execution, now: int) -> None:
        """Leases a queued execution that is in no lane to the best worker, or puts it in a lane."""
        worker = self.fleet.choose(execution.properties, execution.action)
        if worker is not None:
            self.lease(execution, worker)
            return
        lane = self.waiting.push(execution)
        if not lane.fail_at and not self.fleet.matching(lane.properties):
            self.expect_match(lane.properties, now)
        self.commands.append(TellWaiters(tuple(execution.operations), Stage.QUEUED))

    def lease(self, execution: Execution, worker: Worker) -> None:
        execution.advance(Trigger.LEASE)
        execution.epoch = self.next_epoch
        execution.worker_id = worker.worker_id
        self.next_epoch += 1
        worker.leases[execution.epoch] = execution.execution_id
        self.fleet.refresh(worker)
        self.commands.append(OfferLease(worker.worker_id, execution.execution_id, execution.epoch))
        self.commands.append(TellWaiters(tuple(execution.operations), Stage.EXECUTING))

    def fill(self, worker: Worker) -> None:
        """Gives the free slots of a worker to the most urgent executions that it can run."""
        self.fleet.refresh(worker)
        offered = self.fleet.pools[worker.properties].offered
        while worker.takes_leases and len(worker.leases) < worker.slots and self.waiting.length:
            execution = self.waiting.best(lambda required: matches(required, offered))
            if execution is None:
                return
            self.waiting.remove(execution)
            self.lease(execution, worker)

    def release(self, worker_id: str, epoch: int) -> Worker | None:
        """Takes a lease off its worker; None if the worker does not hold it."""
        worker = self.fleet.workers.get(worker_id)
        if worker is None or worker.leases.pop(epoch, None) is None:
            return None
        return worker

    def lose(self, execution: Execution, now: int, *, counts: bool) -> None:
        """Queues an execution again whose lease is gone, unless that has happened too often.

        ABORTED lets clients try again a bounded number of times. UNAVAILABLE would stop a whole
        Bazel build for one bad action (B4), and INTERNAL is for our own bugs.
        """
        execution.losses += counts
        if execution.losses >= self.limits.max_attempts:
            message = (
                f"gave up after {execution.losses} workers were lost while they ran this action: "
                "it may use up their memory or kill them"
            )
            self.end(execution, Trigger.GIVE_UP, Outcome(code_pb2.ABORTED, message))
            return
        execution.advance(Trigger.LOSE)
        execution.epoch = 0
        execution.worker_id = ""
        self.place(execution, now)

    def remove_worker(self, worker: Worker, now: int) -> None:
        """Forgets a worker for good; what it ran is queued again, oldest lease first."""
        self.fleet.remove(worker)
        for properties in sorted(self.waiting.lanes):
            if not self.waiting.lanes[properties].fail_at and not self.fleet.matching(properties):
                self.expect_match(properties, now)
        for epoch, execution_id in sorted(worker.leases.items()):
            if self.is_current(worker.worker_id, execution_id, epoch):
                self.lose(self.executions[execution_id], now, counts=True)

    def expect_return(self, worker: Worker, now: int) -> None:
        worker.lost_at = now + self.limits.reconnect_grace
        self.deadlines.add(worker.lost_at, Deadline.LOST, worker.worker_id)
        self.fleet.refresh(worker)

    def expect_match(self, properties: Properties, now: int) -> None:
        lane = self.waiting.lanes[properties]
        lane.fail_at = now + self.limits.unmatched_grace
        self.deadlines.add(lane.fail_at, Deadline.UNMATCHED, properties)

    def lanes_matched(self, offered: Properties) -> None:
        for lane in self.waiting.lanes.values():
            if lane.fail_at and matches(lane.properties, offered):
                lane.fail_at = 0
