"""What operators see of the core: workers, queues, and who is missing. Questions only."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from itertools import islice

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Platform
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2

from .model import Execution, Properties, Resources, Stage, Worker
from .platform import amount, matches
from .policy import MODULO
from .queue import Queue
from .reasons import why_waiting
from .resource_properties import PREFIX
from .workforce import GENERATION_BITS

_MOST_QUEUES = 200
_MOST_ABSENT = 1000
_MOST_WALKED = 20_000

Requirement = tuple[Properties, Resources]


def workers(queue: Queue) -> list[Worker]:
    """All that are known, in the order of their ids. Not to be changed."""
    return [worker for _, worker in sorted(queue.fleet.workers.items())]


def matching_workers(queue: Queue, pattern: str) -> list[Worker]:
    """Those whose ids match a pattern as a shell has them."""
    return [worker for worker in workers(queue) if fnmatchcase(worker.worker_id, pattern)]


def worker_message(queue: Queue, worker: Worker, last_heard: int) -> worker_pb2.Worker:
    """What ListWorkers says of one."""
    message = worker_pb2.Worker(
        worker_id=worker.worker_id,
        slots=worker.slots,
        busy=len(worker.leases),
        platform=_platform(worker.properties),
        draining=worker.is_draining,
        connected=worker.is_connected,
        operations=_operations_of(queue, worker),
        resources=_resources(worker.resources),
        booked=_resources(_booked(worker)),
        cordoned=worker.is_cordoned,
        ordinal=worker.ordinal if worker.ordinal >= 0 else None,
    )
    message.last_heard.FromMicroseconds(last_heard)
    return message


def drain_progress(queue: Queue, pattern: str) -> scheduler_pb2.DrainWorkersResponse:
    """What still runs on the workers that match."""
    matching = matching_workers(queue, pattern)
    return scheduler_pb2.DrainWorkersResponse(
        worker_ids=[worker.worker_id for worker in matching],
        busy_worker_ids=[worker.worker_id for worker in matching if worker.leases],
        running=sum(len(worker.leases) for worker in matching),
    )


def cluster(queue: Queue, now: int) -> scheduler_pb2.GetClusterResponse:
    """The queues, fullest first and a bounded number of them, and what the fleet lacks."""
    found = _found(queue)
    fullest = sorted(found.items(), key=lambda item: (-item[1].queued, item[0]))
    return scheduler_pb2.GetClusterResponse(
        queues=[
            _queue_message(queue, requirement, counts, now)
            for requirement, counts in fullest[:_MOST_QUEUES]
        ],
        queued=queue.queued,
        executing=len(queue.executions) - queue.queued,
        expected_workers=queue.policy.expected_workers,
        absent_workers=_absent_workers(queue)[:_MOST_ABSENT],
        generation=queue.next_epoch >> GENERATION_BITS,
    )


class _Found:
    """The executions of one requirement; `oldest` is the first of those that wait."""

    def __init__(self) -> None:
        self.executing = 0
        self.queued = 0
        self.oldest: Execution | None = None


def _found(queue: Queue) -> dict[Requirement, _Found]:
    """By what is waiting in lanes and running on workers: a long queue is not walked through."""
    found: defaultdict[Requirement, _Found] = defaultdict(_Found)
    for lane in queue.fleet.lanes.values():
        if lane.is_used:
            found[lane.properties, lane.resources].queued += lane.length + len(lane.held)
    wanted = len(found)
    for worker in queue.fleet.workers.values():
        for epoch, execution_id in worker.leases.items():
            execution = queue.executions.get(execution_id)
            if execution is not None and execution.epoch == epoch:
                found[execution.properties, execution.resources].executing += 1
    # They are in the order in which they came.
    for execution in islice(queue.executions.values(), _MOST_WALKED):
        if not wanted:
            break
        if execution.stage is Stage.QUEUED:
            one = found[execution.properties, execution.resources]
            if one.oldest is None:
                one.oldest = execution
                wanted -= 1
    return found


def _queue_message(
    queue: Queue, requirement: Requirement, found: _Found, now: int
) -> scheduler_pb2.Queue:
    properties, resources = requirement
    shared = {name for name, _ in queue.policy.fleet_resources}
    needed = [one for one in resources if one[0] not in shared]
    able = [
        worker
        for worker in queue.fleet.workers.values()
        if matches(properties, worker.properties) and _has(worker.resources, needed)
    ]
    booked = ((f"{PREFIX}{name}", amount(name, value)) for name, value in resources)
    message = scheduler_pb2.Queue(
        platform=_platform((*properties, *booked)),
        queued=found.queued,
        executing=found.executing,
        workers=len(able),
        slots=sum(worker.slots for worker in able),
        free_slots=sum(
            max(0, worker.slots - len(worker.leases)) for worker in able if worker.takes_leases
        ),
    )
    if found.oldest is not None:
        message.oldest_wait.FromMicroseconds(max(0, now - found.oldest.enqueued_at))
        message.reason = why_waiting(queue, found.oldest)
    return message


def _has(offered: Resources, needed: Iterable[tuple[str, int]]) -> bool:
    totals = dict(offered)
    return all(totals.get(name, 0) >= value for name, value in needed)


def _absent_workers(queue: Queue) -> list[str]:
    """Ordinals by which actions are placed; otherwise workers that are away and may come back."""
    away = [worker.worker_id for worker in workers(queue) if not worker.is_connected]
    if queue.policy.placement != MODULO:
        return away
    present = {worker.ordinal for worker in queue.fleet.workers.values() if worker.is_connected}
    return [str(one) for one in range(queue.policy.expected_workers) if one not in present]


def _operations_of(queue: Queue, worker: Worker) -> list[str]:
    """What it runs, but for what is being stopped."""
    return sorted(
        name
        for epoch, execution_id in worker.leases.items()
        if queue.is_current(worker.worker_id, execution_id, epoch)
        for name in queue.executions[execution_id].operations
    )


def _booked(worker: Worker) -> Resources:
    total: Counter[str] = Counter()
    for resources in worker.booked.values():
        total.update(dict(resources))
    return tuple(sorted(total.items()))


def _platform(properties: Iterable[tuple[str, str]]) -> Platform:
    return Platform(
        properties=[Platform.Property(name=name, value=value) for name, value in properties]
    )


def _resources(resources: Resources) -> list[worker_pb2.Resource]:
    return [worker_pb2.Resource(name=name, amount=value) for name, value in resources]
