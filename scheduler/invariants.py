"""What must be true of the core after every event. For tests and simulations: it looks at all."""

from .model import Stage
from .platform import matches
from .queue import Queue


def check_invariants(queue: Queue) -> None:
    """Raises AssertionError with a sentence about the first thing that is not as it must be."""
    _check_operations(queue)
    _check_executions(queue)
    _check_waiting(queue)
    _check_workers(queue)
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


def _check_executions(queue: Queue) -> None:
    epochs: set[int] = set()
    mergeable = {}
    for execution_id, execution in queue.executions.items():
        waiters = sum(queue.operations[name].waiters for name in execution.operations)
        _require(bool(execution.operations), f"{execution_id} has no operation")
        _require(execution.waiters == waiters, f"{execution_id} miscounts its waiters")
        _require((waiters == 0) == (execution.abandon_at > 0), f"{execution_id}: abandon_at")
        _require(execution.losses < queue.limits.max_attempts, f"{execution_id}: losses")
        _require(execution.stage is not Stage.COMPLETED, f"{execution_id} ended and is kept")
        if execution.is_mergeable:
            mergeable[execution.instance_name, execution.action] = execution_id
        if execution.stage is Stage.QUEUED:
            _require(execution.epoch == 0 and not execution.worker_id, f"{execution_id}: lease")
            continue
        worker = queue.fleet.workers.get(execution.worker_id)
        _require(
            worker is not None and worker.leases.get(execution.epoch) == execution_id,
            f"{execution_id} is executed by a worker that has no lease of it",
        )
        _require(execution.epoch not in epochs, f"epoch {execution.epoch} is used twice")
        _require(execution.epoch < queue.next_epoch, f"epoch {execution.epoch} is of the future")
        epochs.add(execution.epoch)
    _require(queue.in_flight == mergeable, "the index of mergeable executions is wrong")


def _check_waiting(queue: Queue) -> None:
    queued = [one for one in queue.executions.values() if one.stage is Stage.QUEUED]
    _require(queue.waiting.length == len(queued), "the number of waiting executions is wrong")
    for properties, lane in queue.waiting.lanes.items():
        in_lane = {
            (one.priority, one.sequence, one.execution_id)
            for one in queued
            if one.properties == properties
        }
        _require(lane.length == len(in_lane) > 0, f"the lane {properties} miscounts")
        _require(in_lane <= set(lane.heap), f"the lane {properties} has lost somebody")
        is_matched = any(matches(properties, offered) for offered in queue.fleet.pools)
        _require(is_matched == (not lane.fail_at), f"the lane {properties}: fail_at")


def _check_workers(queue: Queue) -> None:
    for worker_id, worker in queue.fleet.workers.items():
        pool = queue.fleet.pools[worker.properties]
        _require(worker_id in pool.worker_ids, f"{worker_id} is in no pool")
        _require(len(worker.leases) <= worker.slots, f"{worker_id} has more leases than slots")
        _require(worker.is_connected == (not worker.lost_at), f"{worker_id}: lost_at")
        _require(worker.takes_leases == (worker_id in pool.placement), f"{worker_id}: placement")
        if worker.takes_leases:
            is_free = len(worker.leases) < worker.slots
            _require(pool.placement.is_free(worker_id) == is_free, f"{worker_id}: free slots")
    pooled = [worker_id for pool in queue.fleet.pools.values() for worker_id in pool.worker_ids]
    _require(sorted(pooled) == sorted(queue.fleet.workers), "workers and pools disagree")


def _check_nothing_waits_in_vain(queue: Queue) -> None:
    for worker_id, worker in queue.fleet.workers.items():
        if worker.takes_leases and len(worker.leases) < worker.slots:
            for properties in queue.waiting.lanes:
                _require(
                    not matches(properties, worker.properties),
                    f"{worker_id} is idle though {properties} waits",
                )
