"""Who is let in: which actions may be queued, and which workers may join the fleet."""

from google.rpc import code_pb2

from .commands import Outcome
from .events import Enqueue, WorkerConnected
from .platform import no_worker_fits
from .policy import MODULO
from .state import State

_RETRY_AFTER_SECONDS = 10


def why_not_queued(state: State, event: Enqueue) -> Outcome | None:
    """The outcome of an action that must not be queued; None for one that may be."""
    if event.is_mergeable and (event.instance_name, event.action) in state.in_flight:
        return None
    policy = state.policy
    if policy.max_queued and state.queued >= policy.max_queued:
        return _exhausted(f"{policy.max_queued} actions wait for a worker already")
    tenant = state.accounts.tenants.get(event.tenant)
    if tenant is not None and 0 < tenant.max_queued <= tenant.queued:
        return _exhausted(f"{tenant.queued} actions of {event.tenant or 'the tenant'} wait already")
    most = policy.max_queued_per_invocation
    if most:
        invocation = state.accounts.invocations.get((event.tenant, event.invocation))
        if invocation is not None and invocation.queued >= most:
            return _exhausted(f"{most} actions of this invocation wait already")
    return None


def _exhausted(what: str) -> Outcome:
    return Outcome(
        code_pb2.RESOURCE_EXHAUSTED,
        f"{what}; try again later",
        retry_after_seconds=_RETRY_AFTER_SECONDS,
    )


def why_impossible(state: State, event: Enqueue) -> Outcome | None:
    """The outcome of an action that nobody can ever run; None if somebody may."""
    fleet = state.fleet
    lane = fleet.lane(event.properties, event.resources, event.action)
    if fleet.is_possible(lane) or fleet.is_unknown:
        return None
    return no_worker_fits(
        event.properties, event.resources, fleet.offers(lane), state.policy.fleet_resources
    )


def why_refused(state: State, event: WorkerConnected) -> str:
    """What is wrong with the ordinal of a worker under placement by modulo; empty if nothing is."""
    policy = state.policy
    if policy.placement != MODULO:
        return ""
    expected = policy.expected_workers
    advice = (
        f"set executor.worker_id to a name that ends in -0 to -{expected - 1}, one for each "
        f"worker, or change scheduler.expected_workers, which is {expected}"
    )
    if event.ordinal < 0:
        return f"{event.worker_id} has no ordinal, which placement by modulo needs: {advice}"
    if event.ordinal >= expected:
        return f"{event.worker_id} has ordinal {event.ordinal}, which is too high: {advice}"
    other = state.fleet.ordinals.get(event.ordinal, event.worker_id)
    if other != event.worker_id:
        return f"{event.worker_id} has ordinal {event.ordinal}, as {other} has already: {advice}"
    return ""
