"""What is to be run, in which order: pipelines, rules and matrices made into jobs. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from reapi.core.errors import InvalidArgument

from .checking import check, needs_of
from .loading import LoadedPipeline
from .matrix import combinations, filled
from .model import Stage, plan_path
from .rules import Change, matrix_reason_against, reason_against

_MOST_EDGES = 1_000_000


@dataclass(frozen=True, slots=True)
class Taken:
    """Artifacts of other jobs, by paths or patterns of them."""

    stage: str
    jobs: tuple["Job", ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A stage with one combination of its matrix. Its commands run at the same time.

    All texts are final; `needs` are the jobs that must have succeeded before.
    """

    pipeline: str
    stage: str
    values: Mapping[str, str]
    repository: str
    commands: tuple[tuple[str, ...], ...]
    inputs: tuple[str, ...]
    taken: tuple[Taken, ...]
    needs: tuple["Job", ...]
    outputs: tuple[str, ...]
    download: tuple[str, ...]
    environment: Mapping[str, str]
    platform: tuple[tuple[str, str], ...]
    timeout_seconds: float | None
    retries: int
    label: str

    def __repr__(self) -> str:
        return f"<Job {self.label}>"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A job, stage or pipeline that does not run, and why."""

    label: str
    reason: str


@dataclass(slots=True)
class Plan:
    """Jobs, each after those that it needs. `most_at_once` is by repository, where it is set."""

    jobs: list[Job] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    most_at_once: dict[str, int] = field(default_factory=dict)

    @property
    def actions(self) -> int:
        return sum(len(job.commands) for job in self.jobs)


def make_plan(pipelines: Sequence[LoadedPipeline], change: Change, repository: str) -> Plan:
    """The plan for a change; `repository` is that of pipelines that name none.

    Rules are evaluated here and nowhere else. Raises InvalidPlan with all mistakes, InvalidArgument
    for a plan that is too large.
    """
    check(pipelines)
    plan = Plan()
    for one in pipelines:
        prefix = f"{one.name}/" if len(pipelines) > 1 else ""
        _Planner(plan, one, change, one.model.repository or repository, prefix).add()
    return plan


class _Planner:
    """Adds one pipeline to a plan."""

    def __init__(
        self, plan: Plan, one: LoadedPipeline, change: Change, repository: str, prefix: str
    ) -> None:
        self._plan = plan
        self._one = one
        self._change = change
        self._repository = repository
        self._prefix = prefix
        self._edges = 0
        self._jobs: dict[str, list[Job]] = {}
        """By stage; empty for one that is left out."""

    def add(self) -> None:
        model = self._one.model
        reason = reason_against(model.rules, self._change)
        if reason is not None:
            self._plan.left_out.append(LeftOut(self._one.name, reason))
            return
        if model.max_parallel is not None:
            most = self._plan.most_at_once
            most[self._repository] = min(
                model.max_parallel, most.get(self._repository, model.max_parallel)
            )
        order = TopologicalSorter({name: needs_of(one) for name, one in model.stages.items()})
        for name in order.static_order():
            self._jobs[name] = list(self._stage(name, model.stages[name]))
            self._plan.jobs += self._jobs[name]

    def _stage(self, name: str, stage: Stage) -> Iterator[Job]:
        reason = reason_against(stage.rules, self._change)
        if reason is not None:
            self._plan.left_out.append(LeftOut(self._prefix + name, reason))
            return
        stages = self._one.model.stages
        related = {
            other: _Related(stage.matrix, self._jobs[other], stages[other])
            for other in needs_of(stage)
        }
        for values in combinations(stage.matrix):
            label = self._label(name, values)
            reason = matrix_reason_against(stage.rules, values)
            needed = {other: jobs.of(values) for other, jobs in related.items()}
            for other in stage.from_:
                if not needed[other] and reason is None:
                    reason = f"there is no job of {other!r} to take artifacts from"
            if reason is not None:
                self._plan.left_out.append(LeftOut(label, reason))
                continue
            yield self._job(name, stage, values, needed, label)

    def _label(self, name: str, values: Mapping[str, str]) -> str:
        words = ", ".join(f"{axis}={value}" for axis, value in values.items())
        return f"{self._prefix}{name}" + (f"[{words}]" if words else "")

    def _job(
        self,
        name: str,
        stage: Stage,
        values: Mapping[str, str],
        needed: Mapping[str, tuple[Job, ...]],
        label: str,
    ) -> Job:
        def final(texts: Sequence[str]) -> tuple[str, ...]:
            return tuple(filled(text, values) for text in texts)

        def paths(texts: Sequence[str]) -> tuple[str, ...]:
            return tuple(plan_path(text) for text in final(texts))

        def table(own: Mapping[str, str], common: Mapping[str, str]) -> dict[str, str]:
            return dict(common) | {key: filled(text, values) for key, text in own.items()}

        self._edges += sum(map(len, needed.values()))
        if self._edges > _MOST_EDGES:
            raise InvalidArgument(
                f"jobs need each other more than {_MOST_EDGES:,} times, the last of them {label}"
            )
        model = self._one.model
        return Job(
            pipeline=self._one.name,
            stage=name,
            values=values,
            repository=self._repository,
            commands=tuple(final(command) for command in stage.commands),
            inputs=paths(stage.inputs),
            taken=tuple(
                Taken(other, needed[other], paths(wanted)) for other, wanted in stage.from_.items()
            ),
            needs=tuple(job for jobs in needed.values() for job in jobs),
            outputs=paths(stage.outputs),
            download=paths(stage.download),
            environment=table(stage.env, model.env),
            platform=tuple(sorted(table(stage.platform, model.platform).items())),
            timeout_seconds=stage.timeout,
            retries=stage.retries,
            label=label,
        )


class _Related:
    """The jobs of a stage that belong to one of another: axes of the same name agree."""

    def __init__(self, axes: Iterable[str], jobs: Sequence[Job], made_by: Stage) -> None:
        self._shared = [axis for axis in axes if axis in made_by.matrix]
        groups: dict[tuple[str, ...], list[Job]] = {}
        for job in jobs:
            groups.setdefault(self._key(job.values), []).append(job)
        self._groups = {key: tuple(group) for key, group in groups.items()}

    def of(self, values: Mapping[str, str]) -> tuple[Job, ...]:
        return self._groups.get(self._key(values), ())

    def _key(self, values: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(values[axis] for axis in self._shared)
