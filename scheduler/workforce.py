"""What events about workers and about the policy do to the state."""

from .admission import why_refused
from .commands import Notice, RefuseWorker, WelcomeWorker
from .events import CordonWorkers, DrainWorker, PolicySet, WorkerConnected, WorkerDisconnected
from .losing import Losing
from .model import Execution, Stage, Worker
from .policy import MODULO, Policy

GENERATION_BITS = 32
_SCALING = "SCALING DETECTED: "


class Workforce(Losing):
    """Adds to the state how workers come and go, and under which rules."""

    def next_generation(self) -> None:
        """No epoch from now on is one that was given out before, journaled or not."""
        self.next_epoch = ((self.next_epoch >> GENERATION_BITS) + 1 << GENERATION_BITS) + 1

    def worker_connected(self, event: WorkerConnected) -> None:
        """A worker is welcomed with what it still holds, or refused."""
        known = self.fleet.workers.get(event.worker_id)
        unheard: list[tuple[int, Execution]] = []
        if known is not None and known.session_id == event.session_id:
            worker = known
            unheard = self._settle_leases(worker, event)
            self._welcome(worker, event)
            worker.is_connected = True
            worker.lost_at = 0
            self.fleet.refresh(worker)
        else:
            refusal = why_refused(self, event)
            finished: dict[int, str] = {}
            if known is not None:
                if not refusal:
                    finished = self._take_finished(known, event)
                self.remove_worker(known)
            if refusal:
                self._refuse(event, refusal)
                return
            worker = Worker(
                event.worker_id,
                event.session_id,
                event.slots,
                event.properties,
                leases=finished,
                resources=event.resources,
                ordinal=event.ordinal,
                is_cordoned=self.cordons.covers(event.worker_id),
            )
            self._welcome(worker, event)
            self.fleet.add(worker)
            self.review_lanes()
        self.fill(worker)
        for epoch, execution in unheard:
            self.lose(execution, worker.worker_id, epoch, counts=False)

    def _refuse(self, event: WorkerConnected, message: str) -> None:
        self.commands.append(RefuseWorker(event.worker_id, event.session_id, message))
        expected = self.policy.expected_workers
        if event.ordinal >= expected:
            self.commands.append(
                Notice(
                    f"{_SCALING}{expected} workers are expected, but {event.worker_id} is number "
                    f"{event.ordinal + 1}; it is refused until scheduler.expected_workers says so"
                )
            )

    def _welcome(self, worker: Worker, event: WorkerConnected) -> None:
        revoked = tuple(key for key in event.held if worker.leases.get(key[1]) != key[0])
        self.commands.append(WelcomeWorker(worker.worker_id, revoked))

    def _take_finished(self, known: Worker, event: WorkerConnected) -> dict[int, str]:
        """Takes off a worker that died what it had finished, so that it is not lost with it.

        Its next life holds these leases until it has reported them; they book no resources, since
        nothing runs any more. What is beyond its slots is lost.
        """
        finished: dict[int, str] = {}
        for execution_id, epoch in event.held:
            if len(finished) == event.slots:
                break
            if self.is_current(event.worker_id, execution_id, epoch):
                self.release(event.worker_id, epoch)
                finished[epoch] = execution_id
        return finished

    def _settle_leases(self, worker: Worker, event: WorkerConnected) -> list[tuple[int, Execution]]:
        """Takes off a returning worker what does not go on: the executions whose offer got lost.

        A lease that nobody wants is dropped in silence, whether the worker holds it or not.
        """
        held = {epoch: execution_id for execution_id, epoch in event.held}
        unheard = []
        for epoch, execution_id in sorted(worker.leases.items()):
            is_current = self.is_current(worker.worker_id, execution_id, epoch)
            if is_current and held.get(epoch) == execution_id:
                continue
            self.release(worker.worker_id, epoch)
            if is_current:
                unheard.append((epoch, self.executions[execution_id]))
        return unheard

    def worker_disconnected(self, event: WorkerDisconnected) -> None:
        """A worker is away; it is lost unless it returns in time."""
        worker = self.fleet.workers.get(event.worker_id)
        if worker is None or worker.session_id != event.session_id or not worker.is_connected:
            return
        worker.is_connected = False
        if worker.is_draining and not worker.leases:
            self.remove_worker(worker)
            return
        self.set_aside(worker)
        self.expect_return(worker)

    def drain_worker(self, event: DrainWorker) -> None:
        """A worker gets no more leases."""
        worker = self.fleet.workers.get(event.worker_id)
        if worker is not None:
            worker.is_draining = True
            self.set_aside(worker)

    def cordon_workers(self, event: CordonWorkers) -> None:
        """Some workers get no more leases for now, or get some again."""
        self.cordons.set(event.pattern, event.is_cordoned)
        for _, worker in sorted(self.fleet.workers.items()):
            is_cordoned = self.cordons.covers(worker.worker_id)
            if is_cordoned != worker.is_cordoned:
                worker.is_cordoned = is_cordoned
                if is_cordoned:
                    self.set_aside(worker)
                else:
                    self.fleet.refresh(worker)
                    self.fill(worker)

    def policy_set(self, event: PolicySet) -> None:
        """Everything that waits is ordered anew; what runs goes on."""
        old, self.policy = self.policy, event.policy
        if MODULO in (old.placement, event.policy.placement):
            self._tell_scaling(old, event.policy)
        for worker in self.fleet.workers.values():
            worker.reserved_for = ""
            if worker.lost_at and old.reconnect_grace != event.policy.reconnect_grace:
                self.expect_return(worker)
        for execution in self.executions.values():
            execution.held_until, execution.held_for = 0, ""
        self.index()
        self.review_lanes()
        for lane in self.fleet.lanes.values():
            if lane.length and lane.needs:
                self.expect_starvation(lane, self.now + self.policy.starvation)
        for _, worker in sorted(self.fleet.workers.items()):
            self.fill(worker)

    def _tell_scaling(self, old: Policy, new: Policy) -> None:
        if (old.placement, old.expected_workers) == (new.placement, new.expected_workers):
            return
        self.next_generation()
        if old.placement != new.placement:
            return
        running = sum(one.stage is Stage.EXECUTING for one in self.executions.values())
        self.commands.append(
            Notice(
                f"{_SCALING}placement by modulo goes from {old.expected_workers} to "
                f"{new.expected_workers} workers; {self.queued} queued actions are mapped anew, "
                f"{running} that run finish where they are"
            )
        )
