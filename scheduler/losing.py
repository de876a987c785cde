"""What becomes of executions whose lease is gone, and of workers that are."""

from google.rpc import code_pb2

from .commands import Outcome
from .deadlines import Deadline, Key
from .model import Execution, Trigger, Worker
from .overdue import Overdue


class Losing(Overdue):
    """Adds to the state the steps back: from a lease to the queue, or to an end."""

    def lose(self, execution: Execution, worker_id: str, epoch: int, *, counts: bool) -> None:
        """A lease is gone. Without another one the execution is queued again, unless that has
        happened too often.

        ABORTED lets clients try again a bounded number of times. UNAVAILABLE would stop a whole
        Bazel build for one bad action (B4), and INTERNAL is for our own bugs.
        """
        if execution.hedge_epoch == epoch:
            execution.hedge_epoch, execution.hedge_worker_id = 0, ""
        else:
            execution.epoch, execution.worker_id = execution.hedge_epoch, execution.hedge_worker_id
            execution.hedge_epoch, execution.hedge_worker_id = 0, ""
        if counts:
            execution.losses += 1
            execution.lost_on.append(worker_id)
        if execution.losses >= self.policy.max_attempts:
            message = (
                f"gave up after {execution.losses} workers were lost while they ran this action "
                f"({', '.join(execution.lost_on)}): it may use up their memory or kill them"
            )
            self.end(execution, Trigger.GIVE_UP, Outcome(code_pb2.ABORTED, message))
        elif not execution.epoch:
            execution.advance(Trigger.LOSE)
            execution.leased_at = execution.hedge_at = 0
            self.stop_running(execution)
            self.accounts.queue(execution)
            self.queued += 1
            self.place(execution)

    def release(self, worker_id: str, epoch: int) -> Worker | None:
        """Takes a lease off its worker; None if the worker does not hold it."""
        worker = self.fleet.workers.get(worker_id)
        if worker is None or not self.fleet.release(worker, epoch):
            return None
        if self.fleet.token_lanes:
            self.tokens_freed = True
        return worker

    def set_aside(self, worker: Worker) -> None:
        """A worker takes no leases for now: nothing is kept for it."""
        if worker.reserved_for:
            self.unreserve(worker)
        self.fleet.refresh(worker)

    def remove_worker(self, worker: Worker) -> None:
        """Forgets a worker for good; what it ran is queued again, oldest lease first."""
        if worker.reserved_for:
            self.unreserve(worker)
        self.fleet.remove(worker)
        self.tokens_freed = bool(self.fleet.token_lanes)
        self.review_lanes()
        for epoch, execution_id in sorted(worker.leases.items()):
            if self.is_current(worker.worker_id, execution_id, epoch):
                self.lose(self.executions[execution_id], worker.worker_id, epoch, counts=True)

    def meet(self, kind: Deadline, key: Key) -> None:
        """Does what is due."""
        if isinstance(key, tuple):
            lane = self.fleet.lanes[key]
            if kind is Deadline.STARVED:
                self.lane_starves(lane)
            else:
                self.lane_unmatched(lane)
        elif kind is Deadline.LOST:
            self.remove_worker(self.fleet.workers[key])
        elif kind is Deadline.ABANDON:
            self.abandoned(self.executions[key])
        elif kind is Deadline.HELD:
            self.hold_is_over(self.executions[key])
        else:
            self.straggles(self.executions[key])
