"""Why an execution waits, how long still, and why a worker was chosen, in words for people.

Pure queries: nothing here changes the state. None costs more than a look at each worker that could
run the execution, or at each invocation that waits beside it.
"""

from collections import Counter

from .lane import Lane
from .line import Line
from .model import Choice, Execution, Resources, Stage, Why, Worker
from .platform import amount, shown
from .state import State

_MOST_LOOKED_AT = 1000


def why_waiting(state: State, execution: Execution) -> str:
    """A sentence without its full stop; empty for an execution that does not wait."""
    if execution.stage is not Stage.QUEUED:
        return ""
    if execution.held_until:
        milliseconds = state.policy.preferred_wait // 1000
        return (
            f"it waits up to {milliseconds} ms for {execution.held_for}, its preferred worker, "
            "which has no room at the moment"
        )
    lane = execution.lane
    return (
        _why_capped(execution)
        or _why_without_tokens(state, lane)
        or _why_without_workers(state, lane)
        or _why_without_room(state, execution, lane)
    )


def why_chosen(choice: Choice, worker_id: str) -> str:
    """A sentence without its full stop."""
    sentence = f"{worker_id} was chosen: {choice.why.value}"
    if choice.why is Why.SPILL and choice.preferred:
        place = f", number {choice.rank} in the order of this action" if choice.rank else ""
        return f"{sentence}{place}; {choice.preferred} would have been the first"
    if choice.why is Why.STOLEN:
        return f"{sentence}, which is {choice.preferred}"
    if choice.why is Why.HEDGE:
        return f"{sentence}, which is on {choice.preferred}"
    return sentence


def position(execution: Execution) -> int:
    """About so many of its lane start before it, and itself; 0 for one that does not wait."""
    if execution.stage is not Stage.QUEUED:
        return 0
    if execution.held_until:
        return 1
    lane = execution.lane
    line = execution.account.lines[lane]
    rank = _rank(execution, line)
    own = line.branch
    before = rank
    for branch in lane.branches.values():
        for other in branch.lines.values():
            if other is not line:
                # While it advances by one, others advance by what their shares are to its own.
                share = branch.tenant.weight * len(own.lines)
                own_share = own.tenant.weight * len(branch.lines)
                before += min(other.length, (rank - 1) * share // own_share)
    return before


def expected_start(state: State, execution: Execution) -> int:
    """When it may start, by the times that are expected of what waits; 0 if nothing is known.

    In microseconds, like the time of events.
    """
    if execution.stage is not Stage.QUEUED or execution.held_until:
        return execution.held_until
    lane = execution.lane
    slots = sum(pool.slots for pool in lane.pools)
    if not slots or not lane.expected_length:
        return 0
    mean = lane.expected // lane.expected_length
    return state.now + position(execution) * mean // slots


def _rank(execution: Execution, line: Line) -> int:
    """Its place in its line, from 1; of a long line a part is looked at."""
    entry = (execution.urgency, execution.sequence, execution.execution_id)
    step = len(line.heap) // _MOST_LOOKED_AT + 1
    before = step * sum(other < entry for other in line.heap[::step])
    return min(before, line.length - 1) + 1


def _why_capped(execution: Execution) -> str:
    account = execution.account
    tenant = account.tenant
    if tenant.is_at_cap:
        return f"tenant {tenant.name!r} runs {tenant.running} actions, as many as it may"
    if account.is_at_cap:
        return f"its invocation runs {account.running} actions, as many as it may"
    return ""


def _why_without_tokens(state: State, lane: Lane) -> str:
    for name, needed in lane.tokens:
        free = state.fleet.tokens.get(name, 0)
        if free < needed:
            total = dict(state.policy.fleet_resources).get(name, 0)
            return f"it needs {needed} of the {total} {name} of the fleet, of which {free} are free"
    return ""


def _why_without_workers(state: State, lane: Lane) -> str:
    """Why no worker takes leases from the lane; empty if one does."""
    if len(lane.ring):
        return ""
    if lane.pools:
        known = [worker for pool in lane.pools for worker in pool.workers.values()]
        causes = Counter(map(_why_no_lease, known))
        listed = ", ".join(f"{number} {cause}" for cause, number in sorted(causes.items()))
        return f"of the workers that could run it none takes leases: {listed}"
    if lane.owner >= 0 and lane.owner not in state.fleet.ordinals:
        return (
            f"worker {lane.owner} of the {state.policy.expected_workers} numbered from 0, which "
            "owns it (digest modulo the number of workers), is not connected"
        )
    wanted = shown(lane.properties, lane.resources)
    if lane.is_declared:
        return f"no worker of the declared pool that offers {wanted} is connected"
    if state.fleet.is_unknown:
        return "no worker has connected yet"
    return f"no worker that offers {wanted} is left; it fails unless one comes soon"


def _why_no_lease(worker: Worker) -> str:
    if not worker.is_connected:
        return "away"
    return "draining" if worker.is_draining else "cordoned"


def _why_without_room(state: State, execution: Execution, lane: Lane) -> str:
    if lane.reserved:
        worker = state.fleet.workers[lane.reserved]
        if worker.reserved_for == execution.execution_id:
            return f"it has waited long and fits nowhere; {lane.reserved} is kept free for it"
    if lane.needs:
        with_slot = [
            worker
            for pool in lane.pools
            for worker in pool.workers.values()
            if worker.takes_leases and len(worker.leases) < worker.slots
        ]
        if with_slot:
            return (
                f"{len(with_slot)} of the workers that could run it have a free slot, but not "
                f"{_short(lane.needs, with_slot)}"
            )
    slots = sum(pool.slots for pool in lane.pools)
    workers = sum(len(pool.workers) for pool in lane.pools)
    before = position(execution) - 1
    return (
        f"all {slots} slots of the {workers} workers that could run it are taken; "
        f"about {before} start before it"
    )


def _short(needs: Resources, workers: list[Worker]) -> str:
    """What is needed, with the most of it that any of these workers has free."""
    most = {name: max(worker.free.get(name, 0) for worker in workers) for name, _ in needs}
    return ", ".join(
        f"{name}={amount(name, needed)} (at most {amount(name, max(0, most[name]))} is free)"
        for name, needed in needs
    )
