"""What is measured while a simulation runs; results.py makes numbers for people of it."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from reapi.scheduler.accounts import Tenant
from reapi.scheduler.queue import Queue

from .trace import TraceAction


class Sample(NamedTuple):
    """A moment, in microseconds, and what there is then."""

    at: int
    queued: int
    running: int
    slots: int


class Resize(NamedTuple):
    """A change of the fleet: now `moved` of `asked` recent actions prefer another worker."""

    at: int
    before: int
    after: int
    moved: int
    asked: int


@dataclass(slots=True)
class Build:
    """One invocation. It would end at `ideal_end` if all of it began at once."""

    begins: int
    ideal_end: int
    ends: int = 0
    actions: int = 0


@dataclass(slots=True)
class Share:
    """What a tenant ran while it and others waited for more, and its part by weight of what these
    ran together; of which it is not due more than it has."""

    had: int = 0
    due: float = 0.0


@dataclass
class Measurements:
    """Fed by VirtualFleet. Sums of slots and time are in slot-microseconds."""

    sample_interval: int
    next_sample_at: int = 0
    slots: int = 0
    running: int = 0
    busy: int = 0
    offered: int = 0
    actions: int = 0
    finished: int = 0
    failed: int = 0
    attempts: int = 0
    preferred: int = 0
    recurring: int = 0
    local: int = 0
    most_queued: int = 0
    ended_at: int = 0
    is_over: bool = False
    waits: "array[int]" = field(default_factory=lambda: array("q"))
    samples: list[Sample] = field(default_factory=list)
    resizes: list[Resize] = field(default_factory=list)
    builds: dict[tuple[str, str], Build] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    _ran_on: dict[str, set[int]] = field(default_factory=dict)
    _counted_to: int = 0

    def queued(self, action: TraceAction) -> None:
        """An action comes."""
        self.actions += 1
        build = self.builds.get((action.tenant, action.invocation))
        if build is None:
            build = self.builds[action.tenant, action.invocation] = Build(action.at, 0)
        build.actions += 1
        build.ideal_end = max(build.ideal_end, action.at + action.duration)

    def started(
        self, action: TraceAction, worker: int, now: int, *, is_preferred: bool, is_first: bool
    ) -> None:
        """A worker begins with it; for the first time, or because another one was lost."""
        self._count(now)
        self.running += 1
        self.attempts += 1
        self.preferred += is_preferred
        if is_first:
            self.waits.append(now - action.at)
        workers = self._ran_on.get(action.inputs)
        if workers is None:
            self._ran_on[action.inputs] = {worker}
        else:
            self.recurring += 1
            self.local += worker in workers
            workers.add(worker)

    def stopped(self, now: int) -> None:
        """A worker is done with an action, or has died with it."""
        self._count(now)
        self.running -= 1

    def ended(self, action: TraceAction, now: int, *, is_success: bool) -> None:
        """An action has ended for its client."""
        self.finished += 1
        self.failed += not is_success
        build = self.builds[action.tenant, action.invocation]
        build.ends = max(build.ends, now)

    def slots_changed(self, now: int, difference: int) -> None:
        """Workers have come or gone."""
        self._count(now)
        self.slots += difference

    def resized(self, now: int, before: int, after: int, moved: int, asked: int) -> None:
        """The fleet was made larger or smaller on purpose."""
        if before != after:
            self.resizes.append(Resize(now, before, after, moved, asked))

    def sample(self, now: int, queue: Queue) -> None:
        """To be called at `next_sample_at` or as soon as anything happens after that."""
        self.next_sample_at = now - now % self.sample_interval + self.sample_interval
        self.samples.append(Sample(now, queue.queued, self.running, self.slots))
        self.most_queued = max(self.most_queued, queue.queued)
        waiting = [one for one in queue.accounts.tenants.values() if one.queued]
        if len(waiting) > 1:
            dues = _dues(waiting)
            for tenant in waiting:
                share = self.shares.setdefault(tenant.name, Share())
                share.had += tenant.running
                share.due += dues[tenant.name]

    def last_step(self, now: int) -> None:
        """The trace is over: utilisation is that of the time up to here."""
        self._count(now)
        self.is_over = True

    def end(self, now: int) -> None:
        """All that can end has ended."""
        self.ended_at = now

    def _count(self, now: int) -> None:
        if not self.is_over:
            passed = now - self._counted_to
            self.busy += passed * self.running
            self.offered += passed * self.slots
            self._counted_to = now


def _dues(tenants: Sequence[Tenant]) -> dict[str, float]:
    """Whose how many of all that they run would be; what one cannot use is for the others."""
    dues: dict[str, float] = {}
    left = float(sum(tenant.running for tenant in tenants))
    weights = sum(tenant.weight for tenant in tenants)
    # In this order whoever wants less than its part comes before all who want more.
    for tenant in sorted(tenants, key=lambda one: (one.running + one.queued) / one.weight):
        due = min(float(tenant.running + tenant.queued), left * tenant.weight / weights)
        dues[tenant.name] = due
        left -= due
        weights -= tenant.weight
    return dues
