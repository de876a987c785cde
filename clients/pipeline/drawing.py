"""Draws a plan as text: stages in the order of their levels, with what each needs and takes."""

from collections.abc import Iterator

from .plan import Job, Plan

_MOST_LABELS = 12


def drawn(plan: Plan) -> Iterator[str]:
    """The lines of the graph."""
    levels = _levels(plan)
    stages: dict[tuple[str, str], list[Job]] = {}
    for job in plan.jobs:
        stages.setdefault((job.pipeline, job.stage), []).append(job)
    several = len({pipeline for pipeline, _ in stages}) > 1
    yield f"{len(stages)} stages, {len(plan.jobs)} jobs, {plan.actions} actions"
    before = 0
    for (pipeline, stage), jobs in sorted(
        stages.items(), key=lambda one: max(levels[job] for job in one[1])
    ):
        level = max(levels[job] for job in jobs)
        if level != before:
            yield f"level {level}"
            before = level
        name = f"{pipeline}/{stage}" if several else stage
        yield from _stage(name, jobs)
    for one in plan.left_out:
        yield f"left out: {one.label} ({one.reason})"


def _stage(name: str, jobs: list[Job]) -> Iterator[str]:
    yield f"  {name}" + (f"  x{len(jobs)}" if len(jobs) > 1 else "")
    taken: dict[str, dict[tuple[str, ...], None]] = {}
    for job in jobs:
        for need in job.needs:
            taken.setdefault(need.stage, {})
        for one in job.taken:
            taken[one.stage][one.paths] = None
    for stage, ways in taken.items():
        first = ", ".join(next(iter(ways), ())) or "(only waits for it)"
        yield f"    <- {stage}: {first}" + (" ..." if len(ways) > 1 else "")
    if jobs[0].values:
        for job in jobs[:_MOST_LABELS]:
            yield f"    - {job.label}"
        if len(jobs) > _MOST_LABELS:
            yield f"    - and {len(jobs) - _MOST_LABELS} more"
    if jobs[0].outputs:
        yield f"    -> {', '.join(jobs[0].outputs)}" + (" ..." if len(jobs) > 1 else "")
    homeward = jobs[0].download
    if homeward:
        yield f"    => downloads {', '.join(homeward)}" + (" ..." if len(jobs) > 1 else "")


def _levels(plan: Plan) -> dict[Job, int]:
    """How many jobs come before each, one after the other, plus 1."""
    levels: dict[Job, int] = {}
    for job in plan.jobs:
        levels[job] = 1 + max((levels[need] for need in job.needs), default=0)
    return levels
