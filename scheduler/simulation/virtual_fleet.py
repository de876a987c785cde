"""Plays a trace to the real core: what clients ask for, and what workers do.

Clients wait for what they have asked for, and are always there. What an action takes is what the
trace says, wherever it runs; leases and completions travel in no time. How long actions will take
is guessed from the last one of the same target and mnemonic.
"""

from collections import deque
from dataclasses import replace
from functools import partial
from hashlib import sha256

from reapi.scheduler.commands import Command, FinishOperations, OfferLease, RevokeLease
from reapi.scheduler.events import (
    DrainWorker,
    Enqueue,
    LeaseCompleted,
    PolicySet,
    WorkerConnected,
    WorkerDisconnected,
)
from reapi.scheduler.model import Execution
from reapi.scheduler.placing import key_of
from reapi.scheduler.policy import MODULO, Policy

from .measurements import Measurements
from .trace import FleetResized, Trace, TraceAction, WorkerFails
from .virtual_time import VirtualTime
from .virtual_worker import VirtualWorker

_MOST_RECENT = 2_000
"""Actions of which it is asked, when the fleet is resized, whether they prefer another worker."""


class VirtualFleet(VirtualTime):
    """One simulation, to be run once."""

    def __init__(
        self, trace: Trace, policy: Policy, *, workers: int, slots: int, measured: Measurements
    ) -> None:
        super().__init__(policy, measured)
        self._trace = trace
        self._slots = slots
        self._properties = trace.properties
        self._workers: dict[str, VirtualWorker] = {}
        self._actions: dict[str, TraceAction] = {}
        self._learned: dict[tuple[str, str], int] = {}
        self._recent: deque[Execution] = deque(maxlen=_MOST_RECENT)
        self._resize(workers)

    def run(self) -> None:
        """Until all has ended that can end."""
        for number, step in enumerate(self._trace.steps):
            self.run_until(step.at)
            match step:
                case TraceAction():
                    self._enqueue(f"action-{number}", step)
                case WorkerFails():
                    self._fail(step)
                case FleetResized():
                    self._change_size(step.workers)
        self.measured.last_step(self.now)
        self.run_until(None)
        self.measured.end(self.now)

    # What happens to the core

    def obey(self, command: Command) -> None:
        match command:
            case OfferLease():
                self._start(command)
            case FinishOperations((execution_id,), outcome):
                action = self._actions.pop(execution_id)
                self.measured.ended(action, self.now, is_success=outcome is None)
            case RevokeLease(worker_id, execution_id, epoch):
                worker = self._workers[worker_id]
                self.plan(0, partial(self._complete, worker, worker.session, execution_id, epoch))

    def _enqueue(self, name: str, action: TraceAction) -> None:
        self._actions[name] = action
        self.measured.queued(action)
        self.apply(
            Enqueue(
                operation_name=name,
                instance_name="",
                action=f"blobs/{sha256(action.inputs.encode()).hexdigest()}/1",
                is_mergeable=False,  # each ran in reality
                properties=action.properties,
                priority=action.priority,
                lease_template=b"",
                tenant=action.tenant,
                invocation=action.invocation,
                expected=self._learned.get((action.target, action.mnemonic), 0),
            )
        )

    def _start(self, offer: OfferLease) -> None:
        name, epoch = offer.execution_id, offer.epoch
        worker = self._workers[offer.worker_id]
        action, execution = self._actions[name], self.queue.executions[name]
        worker.leases[epoch] = name
        self._recent.append(execution)
        preferred = offer.choice.preferred or execution.lane.ring.preferred(key_of(execution))
        self.measured.started(
            action,
            worker.number,
            self.now,
            is_preferred=preferred == worker.worker_id,
            is_first=not execution.losses,
        )
        then = partial(self._complete, worker, worker.session, name, epoch)
        self.plan(action.duration, then)

    def _complete(self, worker: VirtualWorker, session: int, execution_id: str, epoch: int) -> None:
        if worker.session != session or worker.leases.pop(epoch, None) is None:
            return
        self.measured.stopped(self.now)
        action = self._actions.get(execution_id)
        if action is not None and action.target:
            self._learned[action.target, action.mnemonic] = action.duration
        self.apply(LeaseCompleted(worker.worker_id, execution_id, epoch))
        if not worker.is_wanted and not worker.leases:
            self._disconnect(worker)

    # What happens to workers

    def _connect(self, worker: VirtualWorker) -> None:
        if worker.is_connected or not worker.is_wanted:
            return
        worker.is_connected = True
        self.measured.slots_changed(self.now, self._slots)
        self.apply(
            WorkerConnected(
                worker.worker_id,
                worker.session_id,
                self._slots,
                self._properties,
                (),
                (),
                worker.number,
            )
        )

    def _disconnect(self, worker: VirtualWorker) -> None:
        session_id = worker.session_id
        worker.session += 1
        worker.is_connected = False
        self.measured.slots_changed(self.now, -self._slots)
        for _ in worker.leases:
            self.measured.stopped(self.now)
        worker.leases.clear()
        self.apply(WorkerDisconnected(worker.worker_id, session_id))
        # It may have been wanted again while it was drained.
        self._connect(worker)

    def _fail(self, step: WorkerFails) -> None:
        worker = self._workers.get(f"worker-{step.number}")
        if worker is None or not worker.is_connected:
            return
        is_wanted, worker.is_wanted = worker.is_wanted, False
        self._disconnect(worker)
        worker.is_wanted = is_wanted
        self.plan(step.away, partial(self._connect, worker))

    def _change_size(self, workers: int) -> None:
        recent = list(self._recent)
        former = self._size()
        before = [self._preferred(execution) for execution in recent]
        self._resize(workers)
        moved = sum(
            self._preferred(execution) != preferred
            for execution, preferred in zip(recent, before, strict=True)
        )
        self.measured.resized(self.now, former, workers, moved, len(recent))

    def _resize(self, workers: int) -> None:
        policy = self.queue.policy
        if policy.placement == MODULO and policy.expected_workers != workers:
            self.apply(PolicySet(replace(policy, expected_workers=workers)))
        for number in range(len(self._workers), workers):
            self._workers[f"worker-{number}"] = VirtualWorker(number)
        for worker in list(self._workers.values()):
            was_wanted, worker.is_wanted = worker.is_wanted, worker.number < workers
            if worker.is_wanted:
                self._connect(worker)
            elif was_wanted and worker.is_connected:
                self.apply(DrainWorker(worker.worker_id))
                if not worker.leases:
                    self._disconnect(worker)

    def _size(self) -> int:
        return sum(worker.is_wanted for worker in self._workers.values())

    def _preferred(self, execution: Execution) -> str | None:
        lane = self.queue.fleet.lane(execution.properties, execution.resources, execution.action)
        return lane.ring.preferred(key_of(execution))
