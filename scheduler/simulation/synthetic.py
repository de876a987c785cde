"""A day that nobody had: builds that come by day more than by night, small ones and huge ones, of
targets that are built again and again, with the same inputs or with new ones.

Everything follows from the seed. Means and shares are round numbers of the kind that build farms
report; only the length of actions is scaled, so that they fill the fleet as much as was asked for.
"""

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from math import cos, log, pi
from random import Random

from .trace import FleetResized, Step, Trace, TraceAction, WorkerFails, trace_of

SECOND = 1_000_000
HOUR = 3600 * SECOND

TENANTS = (("app", 0.5), ("infra", 0.3), ("research", 0.2))
"""Names, and their shares of all builds."""

_KINDS = (("Compile", 0.75, 1.0), ("Link", 0.1, 3.0), ("Test", 0.15, 6.0))
"""(mnemonic, share of targets, mean length in relation to the others)"""

_TARGETS_PER_TENANT = 4_000
_MEDIAN_BUILD = 20
_LARGEST_BUILD = 6_000
_BUILD_SPREAD = 1.6
_LENGTH_SPREAD = 0.8
_JITTER = 0.15
_SAME_INPUTS = 0.6
_SUBMITTED_PER_SECOND = 40
_NIGHT = 0.15
_FAILING_PER_DAY = 0.05
_AWAY_SECONDS = 90


@dataclass(frozen=True)
class Shape:
    """What a synthetic trace is to be like. `load` is the share of all slots that its actions fill
    on the average, from 0 to 1."""

    workers: int
    slots: int
    hours: float
    actions: int
    load: float
    seed: int


class _Target:
    """Something that is built again and again."""

    def __init__(self, random: Random, tenant: str, number: int) -> None:
        ((self.mnemonic, _, length),) = random.choices(_KINDS, [share for _, share, _ in _KINDS])
        self.label = f"//{tenant}:{number}"
        self.length = length * random.lognormvariate(0, _LENGTH_SPREAD)
        self.revision = 0


def synthetic_trace(shape: Shape) -> Trace:
    """The trace of that shape: the same one for the same shape, always."""
    random = Random(shape.seed)
    actions = list(_actions(random, shape))
    filled = shape.load * shape.workers * shape.slots * shape.hours * HOUR
    scale = filled / sum(action.duration for action in actions)
    steps: list[Step] = [
        replace(action, duration=max(1, round(action.duration * scale))) for action in actions
    ]
    steps += _failures(random, shape)
    steps += _resizes(shape)
    return trace_of(steps)


def _actions(random: Random, shape: Shape) -> Iterator[TraceAction]:
    """Lengths are in a unit of their own."""
    targets = {
        tenant: [_Target(random, tenant, number) for number in range(_TARGETS_PER_TENANT)]
        for tenant, _ in TENANTS
    }
    builds = _builds(random, shape)
    for number, (begins, tenant, size) in enumerate(sorted(builds)):
        mine = targets[tenant]
        first = random.randrange(len(mine))
        at = float(begins)
        for offset in range(size):
            at += random.expovariate(_SUBMITTED_PER_SECOND) * SECOND
            target = mine[(first + offset) % len(mine)]
            if random.random() > _SAME_INPUTS:
                target.revision += 1
            length = target.length * random.lognormvariate(0, _JITTER)
            yield TraceAction(
                int(at),
                max(1, round(length * SECOND)),
                f"{target.label}@{target.revision}",
                tenant,
                f"build-{number}",
                target.label,
                target.mnemonic,
            )


def _builds(random: Random, shape: Shape) -> list[tuple[int, str, int]]:
    """(beginning, tenant, actions), of as many actions as were asked for."""
    hours = _HourOfBuilds(shape.hours)
    shares = [share for _, share in TENANTS]
    builds = []
    left = shape.actions
    while left:
        size = round(random.lognormvariate(log(_MEDIAN_BUILD), _BUILD_SPREAD))
        size = min(max(1, size), _LARGEST_BUILD, left)
        ((tenant, _),) = random.choices(TENANTS, shares)
        builds.append((hours.draw(random), tenant, size))
        left -= size
    return builds


class _HourOfBuilds:
    """When builds begin: mostly around noon. Time runs from midnight."""

    _STEP = HOUR // 4

    def __init__(self, hours: float) -> None:
        self._steps = max(1, round(hours * HOUR / self._STEP))
        rates = (
            _NIGHT + (1 - _NIGHT) * max(0.0, -cos(2 * pi * step * self._STEP / (24 * HOUR)))
            for step in range(self._steps)
        )
        self._sums = list(accumulate(rates))

    def draw(self, random: Random) -> int:
        step = bisect(self._sums, random.random() * self._sums[-1])
        return round((min(step, self._steps - 1) + random.random()) * self._STEP)


def _failures(random: Random, shape: Shape) -> Iterator[WorkerFails]:
    for _ in range(round(_FAILING_PER_DAY * shape.workers * shape.hours / 24)):
        at = round(random.random() * shape.hours * HOUR)
        yield WorkerFails(at, random.randrange(shape.workers), _AWAY_SECONDS * SECOND)


def _resizes(shape: Shape) -> Iterator[FleetResized]:
    """A tenth more workers from the first third to the last quarter."""
    more = max(1, shape.workers // 10)
    yield FleetResized(round(shape.hours * HOUR / 3), shape.workers + more)
    yield FleetResized(round(shape.hours * HOUR * 3 / 4), shape.workers)
