"""Plays one trace under several policies, one after the other."""

from collections.abc import Sequence
from time import perf_counter

from reapi.scheduler.policy import MODULO, Policy

from .measurements import Measurements
from .results import Results, results_of
from .trace import Trace
from .virtual_fleet import VirtualFleet

_SAMPLES = 1_000
_SHORTEST_INTERVAL = 1_000_000


def simulate(
    trace: Trace, placement: str, *, workers: int, slots: int, weights: Sequence[tuple[str, int]]
) -> Results:
    """A fleet of equal workers under the default policy with that placement.

    `weights` are those of tenants; all others have 1. Nothing is refused for being too many.
    """
    policy = Policy(
        placement=placement,
        expected_workers=workers if placement == MODULO else 0,
        tenants=tuple((name, weight, 0, 0) for name, weight in weights),
        max_queued=0,
    )
    span = trace.steps[-1].at if trace.steps else 0
    measured = Measurements(max(_SHORTEST_INTERVAL, span // _SAMPLES))
    started = perf_counter()
    fleet = VirtualFleet(trace, policy, workers=workers, slots=slots, measured=measured)
    fleet.run()
    seconds = perf_counter() - started
    return results_of(placement, measured, events=fleet.events, seconds=seconds)
