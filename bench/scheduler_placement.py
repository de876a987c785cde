"""Which worker gets an action: what a join or leave moves, how even shares are, what it all costs.

Costs are processor time, since the ring never waits.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import pvariance

from reapi.scheduler.ring import Ring

from .comparison import ROUNDS, Comparison, compare

_SLOTS = 8
_KEYS = 100_000
_LEAVERS = 5
_COUNTS = (2, 10, 100, 1000)
_COST_COUNTS = (10, 100, 1000, 10_000)
_CHOICES = 5000
_CHANGES = 100


async def measure_placement(_: Path) -> list[Comparison]:
    """The rows of the ring alone; the same keys and workers in every run."""
    chooser = random.Random(7)
    keys = [chooser.getrandbits(64) for _ in range(_KEYS)]
    rows = [_moved(count, keys) for count in _COUNTS]
    rows += [_scatter(count, keys) for count in _COUNTS[1:]]
    rows.append(_proportion(keys))
    return rows + _costs(keys[:_CHOICES])


def _ring(count: int) -> Ring:
    ring = Ring()
    for number in range(count):
        ring.add(_name(number), _SLOTS)
    return ring


def _name(number: int) -> str:
    return f"executor-{number}"


def _moved(count: int, keys: Sequence[int]) -> Comparison:
    """The keys that one worker takes along when it leaves, and gets back when it joins."""
    ring = _ring(count)
    before = list(map(ring.preferred, keys))
    moved = []
    for number in range(min(_LEAVERS, count)):
        ring.remove(_name(number))
        moves = sum(old != ring.preferred(key) for key, old in zip(keys, before, strict=True))
        moved.append(100 * moves / len(keys))
        ring.add(_name(number), _SLOTS)
    if before != list(map(ring.preferred, keys)):
        raise SystemExit("the keys of workers that left and joined again are elsewhere")
    return compare(
        f"scheduler: placement, {count:,} workers, moved as one joins or leaves",
        "%",
        moved,
        [100 / count] * len(moved),
        "one share",
        aim=1.2,
        is_ceiling=True,
    )


def _scatter(count: int, keys: Sequence[int]) -> Comparison:
    """The standard deviation of the shares, without that of counting a sample of keys."""
    counts = Counter(map(_ring(count).preferred, keys))
    share = len(keys) / count
    variance = pvariance([counts[_name(number)] for number in range(count)])
    sampling = share * (1 - 1 / count)
    return compare(
        f"scheduler: placement, {count:,} workers, deviation of shares",
        "%",
        [100 * math.sqrt(max(variance - sampling, 0)) / share],
        aim=10,
        is_ratio=False,
        is_ceiling=True,
    )


def _proportion(keys: Sequence[int]) -> Comparison:
    """Groups of workers with 1 to 10,000 slots each, and as many slots in each group."""
    ring = Ring()
    weights = (1, 3, 10, 50, 100, 1000, 3000, 10_000)
    for weight in weights:
        for number in range(30_000 // weight):
            ring.add(f"{weight}-{number}", weight)
    counts = Counter(str(ring.preferred(key)).partition("-")[0] for key in keys)
    total = sum(30_000 // weight * weight for weight in weights)
    offs = [
        abs(counts[str(weight)] / len(keys) / (30_000 // weight * weight / total) - 1)
        for weight in weights
    ]
    return compare(
        "scheduler: placement, 1 to 10,000 slots, most off the share",
        "%",
        [100 * max(offs)],
        aim=10,
        is_ratio=False,
        is_ceiling=True,
    )


def _costs(keys: Sequence[int]) -> list[Comparison]:
    """Of one operation in microseconds, all sizes in turns, against that of the smallest fleet."""
    taken: dict[tuple[str, int], list[float]] = {}
    fleets = {count: _ring(count) for count in _COST_COUNTS}
    for _ in range(ROUNDS):
        for count, ring in fleets.items():
            for name, cost in _costs_of(ring, count, keys).items():
                taken.setdefault((name, count), []).append(cost)
    least = _COST_COUNTS[0]
    return [
        compare(
            f"scheduler: placement, {count:,} workers, {name}",
            "µs",
            costs,
            taken[name, least],
            f"{least} workers",
            aim=math.log(count, least),
            is_ceiling=True,
        )
        for (name, count), costs in sorted(taken.items())
        if count > least
    ]


def _costs_of(ring: Ring, count: int, keys: Sequence[int]) -> dict[str, float]:
    names = [_name(number) for number in range(count)]
    costs = {}
    for what, free in {
        "none free": names[:0],
        "one free": names[count // 2 :][:1],
        "1 % free": names[:: min(count, 100)],
        "all free": names,
    }.items():
        for name in names:
            ring.set_free(name, False)
        for name in free:
            ring.set_free(name, True)
        costs[f"choose, {what}"] = _cost(lambda: [ring.choose(key) for key in keys], len(keys))
    costs["change of room"] = _cost(lambda: _change_room(ring), 2 * _CHANGES)
    costs["join and leave"] = _cost(lambda: _join_and_leave(ring), _CHANGES)
    return costs


def _change_room(ring: Ring) -> None:
    for number in range(_CHANGES):
        for is_free in (False, True):
            ring.set_free(_name(number % len(ring)), is_free)


def _join_and_leave(ring: Ring) -> None:
    for number in range(_CHANGES):
        ring.add(f"joiner-{number}", _SLOTS)
        ring.remove(f"joiner-{number}")


def _cost(work: Callable[[], object], times: int) -> float:
    started = time.process_time()
    work()
    return 1e6 * (time.process_time() - started) / times
