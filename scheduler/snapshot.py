"""The whole state of the core as one record, and back. Indexes are not saved but built anew."""

from .codec import decode, encode, revive
from .deadlines import Deadline
from .model import Stage
from .queue import Queue
from .state import Limits


def take_snapshot(queue: Queue) -> str:
    """From it `restore` makes a core that answers the same events with the same commands."""
    lanes = [(properties, lane.fail_at) for properties, lane in sorted(queue.waiting.lanes.items())]
    return encode(
        queue.next_sequence,
        queue.next_epoch,
        list(queue.executions.values()),
        list(queue.operations.values()),
        list(queue.fleet.workers.values()),
        lanes,
    )


def restore(record: str, limits: Limits) -> Queue:
    """Raises ValueError for a snapshot that this version cannot read."""
    queue = Queue(limits)
    queue.next_sequence, queue.next_epoch, executions, operations, workers, lanes = decode(record)
    for worker in map(revive, workers):
        queue.fleet.add(worker)
        if worker.lost_at:
            queue.deadlines.add(worker.lost_at, Deadline.LOST, worker.worker_id)
    for operation in map(revive, operations):
        queue.operations[operation.name] = operation
    for execution in map(revive, executions):
        queue.executions[execution.execution_id] = execution
        if execution.is_mergeable:
            queue.in_flight[execution.instance_name, execution.action] = execution.execution_id
        if execution.stage is Stage.QUEUED:
            queue.waiting.push(execution)
        if execution.abandon_at:
            queue.deadlines.add(execution.abandon_at, Deadline.ABANDON, execution.execution_id)
    for pairs, fail_at in lanes:
        properties = tuple((name, value) for name, value in pairs)
        queue.waiting.lanes[properties].fail_at = fail_at
        if fail_at:
            queue.deadlines.add(fail_at, Deadline.UNMATCHED, properties)
    return queue
