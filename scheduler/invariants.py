"""What must be true of the core after every event. For tests and simulations: it looks at all."""

from collections import Counter
from collections.abc import Iterator

from .lane import Lane
from .model import Execution, Stage
from .queue import Queue
from .resources import fits


def check_invariants(queue: Queue) -> None:
    """Raises AssertionError with a sentence about the first thing that is not as it must be."""
    _check_operations(queue)
    _check_executions(queue)
    _check_accounts(queue)
    _check_waiting(queue)
    _check_workers(queue)
    _check_rosters(queue)
    _check_books(queue)
    _check_nothing_waits_in_vain(queue)


def _require(truth: bool, what: str) -> None:
    if not truth:
        raise AssertionError(what)


def _check_operations(queue: Queue) -> None:
    listed = [name for one in queue.executions.values() for name in one.operations]
    _require(sorted(listed) == sorted(queue.operations), "operations and executions disagree")
    for name, operation in queue.operations.items():
        execution = queue.executions.get(operation.execution_id)
        _require(execution is not None and name in execution.operations, f"{name} is nobody's")
        _require(operation.waiters >= 0, f"{name} has fewer waiters than none")


def _leases(execution: Execution) -> Iterator[tuple[int, str]]:
    if execution.stage is Stage.EXECUTING:
        yield execution.epoch, execution.worker_id
    if execution.hedge_epoch:
        yield execution.hedge_epoch, execution.hedge_worker_id


def _check_executions(queue: Queue) -> None:
    epochs: set[int] = set()
    mergeable = {}
    for execution_id, execution in queue.executions.items():
        waiters = sum(queue.operations[name].waiters for name in execution.operations)
        _require(bool(execution.operations), f"{execution_id} has no operation")
        _require(execution.waiters == waiters, f"{execution_id} miscounts its waiters")
        _require((waiters == 0) == (execution.abandon_at > 0), f"{execution_id}: abandon_at")
        _require(execution.stage is not Stage.COMPLETED, f"{execution_id} ended and is kept")
        if execution.is_mergeable:
            mergeable[execution.instance_name, execution.action] = execution_id
        if execution.stage is Stage.QUEUED:
            _require(execution.epoch == 0 and not execution.worker_id, f"{execution_id}: lease")
            _require(not execution.hedge_epoch, f"{execution_id} waits and runs")
        for epoch, worker_id in _leases(execution):
            worker = queue.fleet.workers.get(worker_id)
            _require(
                worker is not None and worker.leases.get(epoch) == execution_id,
                f"{execution_id} is executed by a worker that has no lease of it",
            )
            _require(epoch not in epochs, f"epoch {epoch} is used twice")
            _require(epoch < queue.next_epoch, f"epoch {epoch} is of the future")
            epochs.add(epoch)
        _require(
            execution.worker_id != execution.hedge_worker_id or not execution.worker_id,
            f"{execution_id} has two leases of one worker",
        )
    _require(queue.in_flight == mergeable, "the index of mergeable executions is wrong")


def _check_accounts(queue: Queue) -> None:
    numbers: Counter[tuple[str, str, str]] = Counter()
    for execution in queue.executions.values():
        stage = "queued" if execution.stage is Stage.QUEUED else "running"
        numbers[execution.tenant, execution.invocation, stage] += 1
        account = queue.accounts.invocations.get((execution.tenant, execution.invocation))
        _require(execution.account is account, f"{execution.execution_id} has no account")
    for (tenant, name), account in queue.accounts.invocations.items():
        _require(account.queued == numbers[tenant, name, "queued"], f"{name} miscounts its queue")
        _require(account.running == numbers[tenant, name, "running"], f"{name} miscounts")
        _require(account.queued + account.running > 0, f"{name} is kept in vain")
    for tenant, one in queue.accounts.tenants.items():
        of_it = [other for other in queue.accounts.invocations.values() if other.tenant is one]
        _require(bool(of_it), f"{tenant} is kept in vain")
        _require(one.queued == sum(other.queued for other in of_it), f"{tenant} miscounts")
        _require(one.running == sum(other.running for other in of_it), f"{tenant} miscounts")


def _check_waiting(queue: Queue) -> None:
    queued = [one for one in queue.executions.values() if one.stage is Stage.QUEUED]
    _require(queue.queued == len(queued), "the number of waiting executions is wrong")
    held = {one.execution_id for one in queued if one.held_until}
    _require(held == {one for of in queue.held.values() for one in of}, "held executions")
    in_lanes = 0
    for lane in queue.fleet.lanes.values():
        inside = {
            (one.urgency, one.sequence, one.execution_id)
            for one in queued
            if one.lane is lane and not one.held_until
        }
        in_lanes += len(inside) + len(lane.held)
        _require(lane.length == len(inside), f"the lane {lane.key} miscounts")
        lines = [line for branch in lane.branches.values() for line in branch.lines.values()]
        listed = {entry for line in lines for entry in line.heap}
        _require(inside <= listed, f"the lane {lane.key} has lost somebody")
        _require(all(line.length > 0 for line in lines), f"the lane {lane.key} has an empty line")
        expects = bool(lane.length) and not queue.fleet.is_possible(lane)
        _require(expects == (lane.fail_at > 0), f"the lane {lane.key}: fail_at")
        _check_starvation(queue, lane)
    _require(in_lanes == len(queued), "something waits in no lane")


def _check_starvation(queue: Queue, lane: Lane) -> None:
    expected = bool(lane.length and lane.needs and queue.policy.starvation)
    _require(expected <= bool(lane.starve_at or lane.reserved), f"{lane.key}: starvation")
    if lane.reserved:
        worker = queue.fleet.workers.get(lane.reserved)
        execution = queue.executions.get(worker.reserved_for) if worker else None
        _require(
            execution is not None and execution.lane is lane and execution.stage is Stage.QUEUED,
            f"{lane.reserved} is kept for nothing",
        )


def _check_workers(queue: Queue) -> None:
    for worker_id, worker in queue.fleet.workers.items():
        pool = worker.pool
        _require(pool.workers.get(worker_id) is worker, f"{worker_id} is in no pool")
        _require(len(worker.leases) <= worker.slots, f"{worker_id} has more leases than slots")
        _require(worker.is_connected == (not worker.lost_at), f"{worker_id}: lost_at")
        for lane in queue.fleet.lanes.values():
            could = lane.roster in pool.rosters
            _require(could == pool.could_run(lane) == (pool in lane.pools), "pools and lanes")
            is_in = could and worker.takes_leases
            _require((worker_id in lane.ring) == is_in, f"{worker_id}: ring of {lane.key}")
            has_room = (
                is_in
                and len(worker.leases) < worker.slots
                and not worker.reserved_for
                and fits(lane.needs, worker.free)
            )
            _require((worker_id in lane.rooms) == has_room, f"{worker_id}: room of {lane.key}")
            if is_in:
                _require(lane.ring.is_free(worker_id) == has_room, f"{worker_id}: ring")
    pooled = [worker_id for pool in queue.fleet.pools.values() for worker_id in pool.workers]
    _require(sorted(pooled) == sorted(queue.fleet.workers), "workers and pools disagree")


def _check_rosters(queue: Queue) -> None:
    for lane in queue.fleet.lanes.values():
        roster = lane.roster
        _require(roster.lanes.get(lane.number) is lane, f"{lane.key} is not in its roster")
        same = (lane.needs, lane.tokens, lane.pools) == (roster.needs, roster.tokens, roster.pools)
        _require(same and lane.ring is roster.ring, f"{lane.key} is in a wrong roster")
    lanes = [lane for roster in queue.fleet.rosters for lane in roster.lanes.values()]
    _require(len(lanes) == len(queue.fleet.lanes), "rosters have lanes that are gone")
    for roster in queue.fleet.rosters:
        _require(all(roster in pool.rosters for pool in roster.pools), "pools and rosters")
        bundled = [
            line
            for branch in roster.branches.values()
            for bundle in branch.lines.values()
            for line in bundle.lines.values()
        ]
        waiting = [
            line
            for lane in roster.lanes.values()
            for branch in lane.branches.values()
            for line in branch.lines.values()
        ]
        _require(roster.length == len(bundled), "a roster miscounts its lines")
        expected = {id(line) for line in waiting} if roster.is_joint else set()
        _require({id(line) for line in bundled} == expected, "lines and rosters disagree")


def _check_books(queue: Queue) -> None:
    """What is free is what there is, less what the leases of workers take."""
    tokens = Counter(dict(queue.policy.fleet_resources))
    for worker_id, worker in queue.fleet.workers.items():
        free = Counter(dict(worker.resources))
        _require(worker.booked.keys() <= worker.leases.keys(), f"{worker_id} books what has ended")
        for resources in worker.booked.values():
            for name, amount in resources:
                (tokens if name in tokens else free)[name] -= amount
        for name in free | Counter(worker.free):
            _require(worker.free.get(name, 0) == free[name], f"{worker_id} miscounts its {name}")
    _require(dict(tokens) == queue.fleet.tokens, "the shared tokens are miscounted")
    for pool in queue.fleet.pools.values():
        of_it = pool.workers.values()
        _require(pool.slots == sum(one.slots for one in of_it), "slots of a pool")
        _require(pool.leases == sum(len(one.leases) for one in of_it), "leases of a pool")


def _check_nothing_waits_in_vain(queue: Queue) -> None:
    """But for caps, shared tokens, a preferred worker, or one that is kept free for another."""
    for execution in queue.executions.values():
        if execution.stage is Stage.QUEUED and not execution.held_until:
            lane = execution.lane
            _require(
                not lane.rooms or execution.account.is_at_cap or not queue.fleet.has_tokens(lane),
                f"{execution.execution_id} waits though {sorted(lane.rooms)} have room",
            )
