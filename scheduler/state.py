"""The state of the scheduler core and the steps of which every event's effect is made.

Each step keeps the indexes in line with each other and appends the commands that it implies; which
worker gets what is in placing.py, which steps an event takes in queue.py.
"""

from .accounts import Accounts, Invocation
from .commands import (
    Command,
    FinishOperations,
    OfferLease,
    Outcome,
    RevokeLease,
    TellWaiters,
)
from .cordons import Cordons
from .deadlines import Deadline, Deadlines
from .fleet import Fleet
from .lane import Lane
from .model import Execution, Operation, Stage, Trigger, Worker
from .policy import Policy
from .priority import clamped


class State:
    """All executions that have not ended and all workers that are known.

    What has ended is forgotten at once: keeping responses is the shell's part. `now` is the time of
    the event that is being handled. `refill` and `unblocked` collect during an event who has room,
    and whose executions may run, so that the end of the event can bring them together.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.now = 0
        self.executions: dict[str, Execution] = {}
        self.operations: dict[str, Operation] = {}
        self.accounts = Accounts(policy)
        self.fleet = Fleet(policy, self.executions, self.accounts.falls)
        self.cordons = Cordons()
        self.deadlines = Deadlines()
        self.in_flight: dict[tuple[str, str], str] = {}  # (instance_name, action) -> execution_id
        self.held: dict[str, dict[str, None]] = {}  # preferred worker -> executions held for it
        self.queued = 0
        self.next_sequence = 1
        self.next_epoch = 1
        self.first_epoch = 1  # of the event that is being handled
        self.commands: list[Command] = []
        self.refill: list[Worker] = []
        self.unblocked: list[Invocation] = []
        self.tokens_freed = False

    def index(self) -> None:
        """Builds all indexes anew from executions, workers and the policy."""
        policy = self.policy
        self.accounts = Accounts(policy, self.accounts)
        self.held.clear()
        self.queued = 0
        workers = sorted(self.fleet.workers.items())
        self.fleet = Fleet(policy, self.executions, self.accounts.falls)
        for _, worker in workers:
            self.fleet.add(worker)
        for execution in sorted(self.executions.values(), key=lambda one: one.sequence):
            self._index_execution(execution)
        for _, worker in workers:
            if worker.reserved_for:
                self.executions[worker.reserved_for].lane.reserved = worker.worker_id

    def _index_execution(self, execution: Execution) -> None:
        execution.account = self.accounts.open(execution.tenant, execution.invocation)
        if execution.stage is Stage.EXECUTING:
            execution.account.running += 1
            execution.account.tenant.running += 1
            return
        self.accounts.queue(execution)
        self.queued += 1
        self.set_urgency(execution)
        lane = execution.lane = self.fleet.lane(
            execution.properties, execution.resources, execution.action
        )
        if execution.held_until:
            self.hold_again(execution, lane)
        else:
            lane.push(execution)
        self.fleet.set_used(lane)

    def set_urgency(self, execution: Execution) -> None:
        """When its turn comes inside its invocation, as if all had the same priority and length.

        It does not depend on what time it is: all that waits ages alike.
        """
        execution.urgency = (
            execution.enqueued_at
            + clamped(execution.priority) * self.policy.ageing
            - execution.expected
        )

    def is_current(self, worker_id: str, execution_id: str, epoch: int) -> bool:
        """Whether this lease is one whose outcome counts."""
        execution = self.executions.get(execution_id)
        return (
            execution is not None
            and execution.stage is Stage.EXECUTING
            and (
                (execution.epoch == epoch and execution.worker_id == worker_id)
                or (execution.hedge_epoch == epoch and execution.hedge_worker_id == worker_id)
            )
        )

    def add_operation(self, execution: Execution, name: str) -> None:
        self.operations[name] = Operation(name, execution.execution_id, 1)
        execution.operations.append(name)
        execution.waiters += 1
        execution.abandon_at = 0

    def watch_for_abandonment(self, execution: Execution) -> None:
        if not execution.waiters and not execution.abandon_at:
            execution.abandon_at = self.now + self.policy.unwatched_grace
            self.deadlines.add(execution.abandon_at, Deadline.ABANDON, execution.execution_id)

    def end(
        self, execution: Execution, trigger: Trigger, outcome: Outcome | None, epoch: int = 0
    ) -> None:
        """Finishes all operations of an execution and forgets it; revokes leases but `epoch`."""
        account = execution.account
        if execution.stage is Stage.QUEUED:
            self.unwait(execution)
            self.accounts.unqueue(execution)
            self.queued -= 1
            execution.advance(trigger)
        else:
            execution.advance(trigger)
            if execution.epoch and execution.epoch != epoch:
                self._revoke(execution, execution.worker_id, execution.epoch)
            if execution.hedge_epoch and execution.hedge_epoch != epoch:
                self._revoke(execution, execution.hedge_worker_id, execution.hedge_epoch)
            self.stop_running(execution)
        del self.executions[execution.execution_id]
        if execution.is_mergeable:
            del self.in_flight[execution.instance_name, execution.action]
        for name in execution.operations:
            del self.operations[name]
        self.accounts.close(account)
        self.commands.append(FinishOperations(tuple(execution.operations), outcome))

    def _revoke(self, execution: Execution, worker_id: str, epoch: int) -> None:
        if epoch < self.first_epoch:
            self.commands.append(RevokeLease(worker_id, execution.execution_id, epoch))
            return
        # It was given in this very event: the worker need never hear of it.
        self.commands[:] = [
            command
            for command in self.commands
            if not (isinstance(command, OfferLease) and command.epoch == epoch)
        ]
        worker = self.fleet.workers[worker_id]
        self.fleet.release(worker, epoch)
        self.tokens_freed = bool(self.fleet.token_lanes)
        self.refill.append(worker)

    def stop_running(self, execution: Execution) -> None:
        """The accounts of an execution run one less, which may let others run."""
        if self.accounts.stop(execution):
            self.unblocked.append(execution.account)

    # Waiting

    def wait(self, execution: Execution, lane: Lane) -> None:
        """Has a queued execution wait in its lane."""
        lane.push(execution)
        if lane.length == 1:
            self.fleet.set_used(lane)
        if not lane.fail_at and not self.fleet.is_possible(lane):
            self.expect_match(lane)
        if lane.needs and not lane.starve_at and not lane.reserved:
            self.expect_starvation(lane, self.now + self.policy.starvation)
        self.commands.append(TellWaiters(tuple(execution.operations), Stage.QUEUED))

    def unwait(self, execution: Execution) -> None:
        """Takes an execution out of where it waits, before its stage changes."""
        lane = execution.lane
        if execution.held_until:
            self.unhold(execution)
        else:
            lane.remove(execution)
            if lane.reserved:
                worker = self.fleet.workers[lane.reserved]
                if worker.reserved_for == execution.execution_id:
                    self.unreserve(worker)
        if not lane.length:
            lane.fail_at = 0
            self.fleet.set_used(lane)

    def hold(self, execution: Execution, lane: Lane, worker_id: str) -> None:
        """Has a queued execution wait for its preferred worker for a while."""
        execution.held_until = self.now + self.policy.preferred_wait
        execution.held_for = worker_id
        self.hold_again(execution, lane)
        self.fleet.set_used(lane)
        self.commands.append(TellWaiters(tuple(execution.operations), Stage.QUEUED))

    def hold_again(self, execution: Execution, lane: Lane) -> None:
        """The indexes of an execution that is held."""
        execution_id = execution.execution_id
        lane.held[execution_id] = None
        self.held.setdefault(execution.held_for, {})[execution_id] = None
        self.deadlines.add(execution.held_until, Deadline.HELD, execution_id)

    def unhold(self, execution: Execution) -> None:
        """An execution is no longer held; it waits nowhere."""
        execution_id = execution.execution_id
        del execution.lane.held[execution_id]
        held = self.held[execution.held_for]
        del held[execution_id]
        if not held:
            del self.held[execution.held_for]
        execution.held_until = 0
        execution.held_for = ""

    def unreserve(self, worker: Worker) -> None:
        """The worker is no longer kept free; what it was kept for may get another one later."""
        lane = self.executions[worker.reserved_for].lane
        lane.reserved = worker.reserved_for = ""
        self.refill.append(worker)
        if lane.length:
            self.expect_starvation(lane, self.now + self.policy.starvation)

    def expect_starvation(self, lane: Lane, at: int) -> None:
        if self.policy.starvation:
            lane.starve_at = at
            self.deadlines.add(at, Deadline.STARVED, lane.key)

    def expect_match(self, lane: Lane) -> None:
        lane.fail_at = self.now + self.policy.unmatched_grace
        self.deadlines.add(lane.fail_at, Deadline.UNMATCHED, lane.key)

    def expect_return(self, worker: Worker) -> None:
        worker.lost_at = self.now + self.policy.reconnect_grace
        self.deadlines.add(worker.lost_at, Deadline.LOST, worker.worker_id)

    def review_lanes(self) -> None:
        """To be called when a worker was added or removed: what waits may have become possible."""
        for lane in self.fleet.lanes.values():
            if lane.length and bool(lane.fail_at) == self.fleet.is_possible(lane):
                if lane.fail_at:
                    lane.fail_at = 0
                else:
                    self.expect_match(lane)
