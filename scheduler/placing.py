"""Which worker gets which execution, and when; the rules are in docs/ARCHITECTURE.md."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from xxhash import xxh3_64_intdigest

from .commands import OfferLease, TellWaiters
from .deadlines import Deadline
from .lane import Lane
from .model import Choice, Execution, Stage, Trigger, Why, Worker
from .order import Order, Rank
from .resources import fits
from .state import State

_MOST_BEYOND_BOUND = 4
_TURN = Choice(Why.TURN)
_SEQUENCE = attrgetter("sequence")


class Placing(State):
    """Adds to the state the decisions on who runs what.

    While events of an older version are read, which decided otherwise, `gives_leases` is False.
    """

    gives_leases = True

    def place(self, execution: Execution) -> None:
        """Leases a queued execution that waits nowhere to the best worker, or has it wait."""
        fleet = self.fleet
        lane = fleet.lane(execution.properties, execution.resources, execution.action)
        execution.lane = lane
        # Whoever waits there already has found no room, unless caps keep it from running.
        if (
            not lane.rooms
            or not self.gives_leases
            or (lane.length and lane.head() is not None)
            or execution.account.is_at_cap
            or not fleet.has_tokens(lane)
        ):
            self.wait(execution, lane)
            return
        preferred = lane.ring.preferred(key_of(execution))
        if preferred is not None and preferred not in lane.rooms and self._may_hold(execution):
            self.hold(execution, lane, preferred)
        else:
            self.lease_best(execution, lane, preferred)

    def _may_hold(self, execution: Execution) -> bool:
        """Whether it is new: what has waited once for a preferred worker does not do so again."""
        return self.policy.preferred_wait > 0 and not execution.losses

    def lease_best(self, execution: Execution, lane: Lane, preferred: str | None = None) -> None:
        """Leases to the best placed worker with room, of which there must be one."""
        key = key_of(execution)
        if preferred is None:
            preferred = lane.ring.preferred(key)
        worker, rank = self.choose(lane, key, preferred)
        if lane.owner >= 0:
            why = Why.OWNER
        elif worker.worker_id == preferred:
            why, rank = Why.PREFERRED, 1
        else:
            why = Why.SPILL
        self.lease(execution, worker, Choice(why, rank, preferred or ""))
        self.fleet.update_rooms(worker)

    def choose(self, lane: Lane, key: int, preferred: str | None = None) -> tuple[Worker, int]:
        """The first worker with room that has not much more to do than the average, and its rank.

        If none of the first few is so, the first. `preferred` is as in Ring.choose.
        """
        ring, workers = lane.ring, self.fleet.workers
        beyond: list[tuple[Worker, int]] = []
        found: tuple[Worker, int] | None = None
        while len(beyond) < _MOST_BEYOND_BOUND:
            choice = ring.choose(key, preferred)
            if choice is None:
                break
            worker, rank = workers[choice[0]], choice[1]
            if self._is_below_bound(lane, worker):
                found = worker, rank
                break
            beyond.append((worker, rank))
            ring.set_free(worker.worker_id, False)
        for worker, _ in beyond:
            ring.set_free(worker.worker_id, True)
        return found or beyond[0]

    def _is_below_bound(self, lane: Lane, worker: Worker) -> bool:
        """Whether one more lease leaves the worker within its bound of the average load."""
        if not worker.leases:
            return True
        leases = sum(pool.leases for pool in lane.pools) + 1
        slots = sum(pool.slots for pool in lane.pools)
        allowed = -(-self.policy.load_percent * worker.slots * leases // (100 * slots))
        return len(worker.leases) < allowed

    def lease(self, execution: Execution, worker: Worker, choice: Choice) -> None:
        """Gives a queued execution that waits nowhere to a worker; rooms are not updated."""
        execution.advance(Trigger.LEASE)
        execution.epoch = self.offer(execution, worker, choice)
        execution.worker_id = worker.worker_id
        execution.leased_at = self.now
        self.accounts.start(execution)
        self.queued -= 1
        if self.policy.hedge_percent and execution.expected:
            self.expect_straggling(
                execution, self.now + execution.expected * self.policy.hedge_percent // 100 + 1
            )
        self.commands.append(TellWaiters(tuple(execution.operations), Stage.EXECUTING))

    def offer(self, execution: Execution, worker: Worker, choice: Choice) -> int:
        epoch = self.next_epoch
        self.next_epoch = epoch + 1
        self.fleet.book(worker, execution, epoch)
        self.commands.append(OfferLease(worker.worker_id, execution.execution_id, epoch, choice))
        return epoch

    def expect_straggling(self, execution: Execution, at: int) -> None:
        execution.hedge_at = at
        self.deadlines.add(at, Deadline.HEDGE, execution.execution_id)

    # A worker with room

    def fill(self, worker: Worker) -> None:
        """Gives a worker as much as it has room for, the most deserving first."""
        while self.queued and len(worker.leases) < worker.slots and worker.takes_leases:
            if not self.gives_leases:
                break
            if worker.reserved_for:
                if not self._lease_reserved(worker):
                    break
                continue
            execution = self._held_for(worker) if worker.worker_id in self.held else None
            if execution is not None:
                choice = Choice(Why.PREFERRED, 1, worker.worker_id)
            else:
                execution, choice = self.next_for(worker), _TURN
                if execution is None and not worker.leases and self.held:
                    execution = self._stolen_by(worker)
                    if execution is not None:
                        choice = Choice(Why.STOLEN, 0, execution.held_for)
            if execution is None:
                break
            if execution.lane.owner >= 0:
                choice = Choice(Why.OWNER, 1, worker.worker_id)
            self.unwait(execution)
            self.lease(execution, worker, choice)
        self.fleet.update_rooms(worker)

    def _lease_reserved(self, worker: Worker) -> bool:
        """Gives a worker what it is reserved for; False if that does not fit yet."""
        execution = self.executions[worker.reserved_for]
        lane = execution.lane
        if execution.account.is_at_cap or not self.fleet.has_tokens(lane):
            # The worker is not to stand idle for what may not run.
            self.unreserve(worker)
            return True
        if not fits(lane.needs, worker.free):
            return False
        self.unwait(execution)
        self.lease(execution, worker, Choice(Why.RESERVED, 0, worker.worker_id))
        return True

    def _may_start(self, execution: Execution, worker: Worker) -> bool:
        return (
            not execution.account.is_at_cap
            and self.fleet.has_tokens(execution.lane)
            and fits(execution.lane.needs, worker.free)
        )

    def _held_for(self, worker: Worker) -> Execution | None:
        """The oldest execution that is held for this worker and fits."""
        held = [self.executions[execution_id] for execution_id in self.held[worker.worker_id]]
        able = [execution for execution in held if self._may_start(execution, worker)]
        return min(able, key=_SEQUENCE, default=None)

    def _stolen_by(self, worker: Worker) -> Execution | None:
        """The oldest execution that is held for another worker and fits this one."""
        able = [
            self.executions[execution_id]
            for roster in worker.pool.rosters
            for lane in roster.lanes.values()
            for execution_id in lane.held
            if self._may_start(self.executions[execution_id], worker)
        ]
        return min(able, key=_SEQUENCE, default=None)

    def next_for(self, worker: Worker) -> Execution | None:
        """The most deserving of all waiting executions that fit now."""
        return _most_deserving(
            roster.order
            for roster in worker.pool.rosters
            if roster.order.length
            and (not roster.needs or fits(roster.needs, worker.free))
            and self.fleet.has_tokens(roster)
        )

    # At the end of an event

    def bring_together(self) -> None:
        """Fills the workers that got room, and starts what caps and tokens kept from running."""
        while self.refill or self.unblocked or self.tokens_freed:
            workers, self.refill = self.refill, []
            for worker in workers:
                if self.fleet.workers.get(worker.worker_id) is worker:
                    self.fill(worker)
            lanes: dict[Lane, None] = {}
            accounts, self.unblocked = self.unblocked, []
            for account in accounts:
                for order in account.tenant.branches:
                    if isinstance(order, Lane):
                        lanes[order] = None
            if self.tokens_freed:
                self.tokens_freed = False
                lanes.update(dict.fromkeys(self.fleet.token_lanes.values()))
            self._spread(lanes)

    def _spread(self, lanes: Iterable[Lane]) -> None:
        """Leases what waits in these lanes as long as there is room."""
        while True:
            execution = _most_deserving(
                lane for lane in lanes if lane.length and lane.rooms and self.fleet.has_tokens(lane)
            )
            if execution is None:
                return
            lane = execution.lane
            self.unwait(execution)
            self.lease_best(execution, lane)


def key_of(execution: Execution) -> int:
    """What an action is called in rings."""
    return xxh3_64_intdigest(execution.action.encode())


def _most_deserving(orders: Iterable[Order[Any]]) -> Execution | None:
    """The head of the first of these orders; None if caps keep all in them from running."""
    best: Execution | None = None
    best_order: Order[Any] | None = None
    best_rank: Rank | None = None
    for order in orders:
        execution = order.head()
        if execution is None:
            continue
        if best is None or best_order is None:
            best, best_order = execution, order
            continue
        if best_order.heap[0] < order.heap[0]:
            continue
        rank = order.rank(execution)
        if best_rank is None:
            best_rank = best_order.rank(best)
        if rank < best_rank:
            best, best_order, best_rank = execution, order, rank
    return best
