"""The whole state of the core as one record, and back. Indexes are not saved but built anew."""

import gc
from typing import Any

from .codec import encode, read, revive
from .cordons import Cordons
from .deadlines import Deadline
from .policy import Policy
from .queue import Queue


def take_snapshot(queue: Queue) -> str:
    """From it `restore` makes a core that answers the same events with the same commands."""
    lanes = [(*lane.key, lane.fail_at, lane.starve_at) for lane in queue.fleet.known_lanes()]
    return encode(
        queue.next_sequence,
        queue.next_epoch,
        list(queue.executions.values()),
        list(queue.operations.values()),
        [worker for _, worker in sorted(queue.fleet.workers.items())],
        lanes,
        queue.policy,
        queue.cordons.rows,
        queue.accounts.turns,
        queue.accounts.rows(),
    )


def restore(record: str, policy: Policy | None = None) -> Queue:
    """The core as it was. `policy` is that of a snapshot of version 1, which does not say it.

    Raises ValueError for a snapshot that this version cannot read.
    """
    was_enabled = gc.isenabled()
    # Nothing that is made here is garbage, and to look for some takes longer than all the rest.
    gc.disable()
    try:
        return _restore(record, policy)
    finally:
        if was_enabled:
            gc.enable()


def _restore(record: str, policy: Policy | None) -> Queue:
    version, values = read(record)
    next_sequence, next_epoch, executions, operations, workers, lanes, *more = values
    queue = Queue(revive(more[0]) if more else policy)
    queue.next_sequence, queue.next_epoch = next_sequence, next_epoch
    if version > 1:
        queue.cordons = Cordons([(pattern, is_cordoned) for pattern, is_cordoned in more[1]])
        queue.accounts.restore(more[2], more[3])
    for worker in map(revive, workers):
        queue.fleet.workers[worker.worker_id] = worker
        if worker.lost_at:
            queue.deadlines.add(worker.lost_at, Deadline.LOST, worker.worker_id)
    for operation in map(revive, operations):
        queue.operations[operation.name] = operation
    for execution in map(revive, executions):
        queue.executions[execution.execution_id] = execution
        if execution.is_mergeable:
            queue.in_flight[execution.instance_name, execution.action] = execution.execution_id
        if execution.abandon_at:
            queue.deadlines.add(execution.abandon_at, Deadline.ABANDON, execution.execution_id)
        if execution.hedge_at:
            queue.deadlines.add(execution.hedge_at, Deadline.HEDGE, execution.execution_id)
    queue.index()
    if version == 1:
        lanes = [(properties, (), -1, fail_at, 0) for properties, fail_at in lanes]
    _restore_lanes(queue, lanes)
    return queue


def _restore_lanes(queue: Queue, rows: list[Any]) -> None:
    for properties, resources, owner, fail_at, starve_at in rows:
        key = (_pairs(properties), _pairs(resources), owner)
        lane = queue.fleet.lane_of(key)
        lane.fail_at, lane.starve_at = fail_at, starve_at
        if fail_at:
            queue.deadlines.add(fail_at, Deadline.UNMATCHED, key)
        if starve_at:
            queue.deadlines.add(starve_at, Deadline.STARVED, key)


def _pairs(rows: list[Any]) -> tuple[tuple[Any, Any], ...]:
    return tuple((name, value) for name, value in rows)
