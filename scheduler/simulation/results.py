"""What came of a simulation, in numbers for people and programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .measurements import Build, Measurements, Sample

_MICROSECONDS = 1_000_000
_SMALL_BUILD = 100
"""Slots of the fleet for each action that a small invocation may have."""


@dataclass(frozen=True)
class Spread:
    """Of many values: the median, what 95 % of them do not exceed, and the largest."""

    p50: float
    p95: float
    max: float


@dataclass(frozen=True)
class TenantShare:
    """What a tenant ran at once while others waited with it, as a share of all that these ran; and
    what its weight entitles it to."""

    share: float
    entitled: float


@dataclass(frozen=True)
class MovedActions:
    """The share of recent actions whose preferred worker is another one since the fleet has gone
    from so many workers to so many, and the least possible share."""

    before: int
    after: int
    share: float
    least: float


@dataclass(frozen=True)
class Results:
    """One policy on one trace. Shares are from 0 to 1; None where there is nothing to divide by.

    `locality` is the share of attempts on a worker that had run the same inputs before,
    `locality_of_recurring` that of the attempts whose inputs had run anywhere before. `slowdown` is
    the time from the first action of an invocation that comes to the end of the last one, divided
    by what it would be if all of them began when they came; of invocations that have at most a
    hundredth as many actions as there are slots, or one.
    """

    policy: str
    actions: int
    finished: int
    failed: int
    attempts: int
    simulated_hours: float
    utilisation: float | None
    queue_seconds: Spread
    most_queued: int
    locality: float | None
    locality_of_recurring: float | None
    preferred: float | None
    small_invocations: int
    small_slowdown: Spread | None
    tenants: dict[str, TenantShare]
    moved: list[MovedActions]
    events: int
    seconds: float
    samples: Sequence[Sample] = field(repr=False)

    def json(self) -> dict[str, Any]:
        """All of it but the samples."""
        values = asdict(self)
        del values["samples"]
        return values


def results_of(policy: str, measured: Measurements, *, events: int, seconds: float) -> Results:
    """The results of a simulation of `events` that took so many real `seconds`."""
    largest = max((sample.slots for sample in measured.samples), default=0)
    slowdowns = [
        _slowdown(build)
        for build in measured.builds.values()
        if build.ends and build.actions <= max(1, largest // _SMALL_BUILD)
    ]
    return Results(
        policy,
        measured.actions,
        measured.finished,
        measured.failed,
        measured.attempts,
        measured.ended_at / (3600 * _MICROSECONDS),
        _share(measured.busy, measured.offered),
        _spread([wait / _MICROSECONDS for wait in measured.waits]),
        measured.most_queued,
        _share(measured.local, measured.attempts),
        _share(measured.local, measured.recurring),
        _share(measured.preferred, measured.attempts),
        len(slowdowns),
        _spread(slowdowns) if slowdowns else None,
        _tenants(measured),
        [
            MovedActions(
                one.before,
                one.after,
                one.moved / max(1, one.asked),
                abs(one.after - one.before) / max(one.after, one.before),
            )
            for one in measured.resizes
        ],
        events,
        seconds,
        measured.samples,
    )


def _tenants(measured: Measurements) -> dict[str, TenantShare]:
    total = sum(share.had for share in measured.shares.values())
    return {
        name: TenantShare(share.had / total, share.due / total)
        for name, share in sorted(measured.shares.items())
        if total
    }


def _slowdown(build: Build) -> float:
    return (build.ends - build.begins) / max(1, build.ideal_end - build.begins)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _spread(values: list[float]) -> Spread:
    """Of no values at all, zeros."""
    if not values:
        return Spread(0.0, 0.0, 0.0)
    values.sort()
    last = len(values) - 1
    return Spread(values[last // 2], values[last * 95 // 100], values[last])
