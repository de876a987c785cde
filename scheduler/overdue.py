"""What becomes of what has waited too long, or has run for too long."""

from google.rpc import code_pb2

from .commands import Outcome
from .deadlines import Deadline, Key
from .lane import Lane
from .model import Choice, Execution, Stage, Trigger, Why
from .placing import Placing, key_of
from .platform import no_worker_fits


class Overdue(Placing):
    """Adds to the state the steps that only time brings about."""

    def is_due(self, at: int, kind: Deadline, key: Key) -> bool:
        """Whether a deadline still is one: things may have changed since it was set."""
        if isinstance(key, tuple):
            lane = self.fleet.lanes.get(key)
            return lane is not None and at == (
                lane.starve_at if kind is Deadline.STARVED else lane.fail_at
            )
        if kind is Deadline.LOST:
            worker = self.fleet.workers.get(key)
            return worker is not None and at == worker.lost_at
        execution = self.executions.get(key)
        if execution is None:
            return False
        if kind is Deadline.ABANDON:
            return at == execution.abandon_at
        return at == (execution.held_until if kind is Deadline.HELD else execution.hedge_at)

    def abandoned(self, execution: Execution) -> None:
        """Nobody has watched for the whole grace time."""
        message = "nobody waited for this operation any more, so it was stopped"
        self.end(execution, Trigger.ABANDON, Outcome(code_pb2.ABORTED, message))

    def hold_is_over(self, execution: Execution) -> None:
        """The preferred worker has not become free in time."""
        lane = execution.lane
        self.unhold(execution)
        if (
            lane.rooms
            and not execution.account.is_at_cap
            and self.fleet.has_tokens(lane)
            and (not lane.length or lane.head() is None)
        ):
            self.lease_best(execution, lane)
        else:
            self.wait(execution, lane)
        self.fleet.set_used(lane)

    def lane_starves(self, lane: Lane) -> None:
        """Keeps the best placed worker free for the head of a lane, if that has waited too long."""
        lane.starve_at = 0
        if not lane.length:
            return
        execution = lane.head()
        again = self.now + self.policy.starvation
        if execution is None:
            self.expect_starvation(lane, again)
        elif execution.enqueued_at + self.policy.starvation > self.now:
            self.expect_starvation(lane, execution.enqueued_at + self.policy.starvation)
        else:
            preferred = lane.ring.preferred(key_of(execution))
            worker = None if preferred is None else self.fleet.workers[preferred]
            if worker is None or worker.reserved_for:
                self.expect_starvation(lane, again)
                return
            worker.reserved_for = execution.execution_id
            lane.reserved = worker.worker_id
            self.fleet.update_rooms(worker)

    def straggles(self, execution: Execution) -> None:
        """Starts an execution that takes long once more elsewhere, if nobody else needs that."""
        execution.hedge_at = 0
        lane = self.fleet.lane(execution.properties, execution.resources, execution.action)
        has_room = execution.worker_id in lane.rooms
        if not self.policy.hedge_percent or lane.owner >= 0 or execution.hedge_epoch:
            return
        if (
            len(lane.rooms) == has_room
            or (lane.length and lane.head() is not None)
            or not self.fleet.has_tokens(lane)
        ):
            self.expect_straggling(execution, 2 * self.now - execution.leased_at + 1)
            return
        if has_room:
            lane.roster.set_room(execution.worker_id, False)
        worker, rank = self.choose(lane, key_of(execution))
        if has_room:
            lane.roster.set_room(execution.worker_id, True)
        execution.hedge_epoch = self.offer(
            execution, worker, Choice(Why.HEDGE, rank, execution.worker_id)
        )
        execution.hedge_worker_id = worker.worker_id
        self.fleet.update_rooms(worker)

    def lane_unmatched(self, lane: Lane) -> None:
        """Nobody could run it for the whole grace time. An empty fleet may still be starting."""
        if self.fleet.is_unknown:
            self.expect_match(lane)
            return
        outcome = no_worker_fits(
            lane.properties, lane.resources, self.fleet.offers(lane), self.policy.fleet_resources
        )
        for execution in self.in_lane(lane):
            self.end(execution, Trigger.REJECT, outcome)

    def in_lane(self, lane: Lane) -> list[Execution]:
        """All that wait in one lane, first come first. Costs a look at every execution."""
        waiting = [
            one
            for one in self.executions.values()
            if one.stage is Stage.QUEUED and one.lane is lane and not one.held_until
        ]
        return sorted(waiting, key=lambda execution: execution.sequence)
