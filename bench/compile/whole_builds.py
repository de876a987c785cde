"""A C++ project built by each tool, from nothing and again, each between two plain builds."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean

from bench.comparison import Comparison, compare

from .builds import Build, build
from .findings import Findings
from .reapi_cc import reapi_cc
from .sources import Project, write_project
from .tools import (
    Tool,
    ccache,
    ccache_with_redis,
    distcc,
    icecc,
    plain,
    sccache,
    sccache_with_redis,
)

_COLD = "cold"
_WARM = "warm"
_SHARED = "warm, shared cache only"
_WARM_BUILDS = 3
_AIMS_SECONDS = {_WARM: 0.20, _SHARED: 0.30}
_MOST_OF_PLAIN_CPU = 1.08
_CLIENT_MILLISECONDS = 94
_COMPILING = 0.5
"""Who uses a larger part of a cold build's processor time than this has compiled."""


@dataclass(frozen=True)
class _Course:
    """A tool and what it does after the cold build; `spreads`: its servers are to compile."""

    name: str
    tool: Callable[[Path], AbstractContextManager[Tool]]
    warm: tuple[str, ...] = ()
    spreads: bool = False
    is_ours: bool = False


@dataclass
class _Taken:
    """The builds of a course by their state; `first` is of the small project."""

    first: Build
    builds: dict[str, list[Build]] = field(default_factory=dict)

    @property
    def cold(self) -> Build:
        """There is one."""
        return self.builds[_COLD][0]


def measure_whole_builds(folder: Path, findings: Findings, heavy_units: int) -> None:
    """Before its cold build each tool compiles something small: some ship the compiler then."""
    sources = folder / "sources"
    project, small = write_project(sources, heavy_units), write_project(sources / "small", 0)
    courses = (
        _Course("ccache", ccache, (_WARM,)),
        _Course("sccache", sccache, (_WARM,)),
        _Course("reapi-cc", partial(_reapi_cc, sources), (_WARM, _SHARED), True, is_ours=True),
        _Course("ccache + Redis", ccache_with_redis, (_SHARED,)),
        _Course("sccache + Redis", sccache_with_redis, (_SHARED,)),
        _Course("distcc", distcc, spreads=True),
        _Course("icecc", icecc, spreads=True),
    )
    taken: list[tuple[_Course, _Taken, list[Build]]] = []
    with plain(folder / "plain") as compiler:
        before = build(project, compiler)
        for course in courses:
            print(f"  {course.name}", flush=True)
            with findings.noting(course.name):
                done = _run(course, folder / course.name, project, small)
                after = build(project, compiler)
                taken.append((course, done, [before, after]))
                findings.troubles.extend(_doubts(course, done))
                before = after
    findings.rows.extend(_rows(project, taken))


@contextlib.contextmanager
def _reapi_cc(sources: Path, folder: Path) -> Iterator[Tool]:
    with reapi_cc(folder, sources) as ours:
        yield ours.tool


def _run(course: _Course, folder: Path, project: Project, small: Project) -> _Taken:
    with course.tool(folder) as tool:
        taken = _Taken(build(small, tool), {_COLD: [build(project, tool)]})
        for state in course.warm:
            taken.builds[state] = []
            for _ in range(_WARM_BUILDS):
                if state == _SHARED:
                    tool.forget()
                taken.builds[state].append(build(project, tool))
    return taken


def _doubts(course: _Course, taken: _Taken) -> Iterator[str]:
    """What would make a row say something else than its name."""
    most = _COMPILING * taken.cold.cpu_seconds
    for state in course.warm:
        if any(each.cpu_seconds > most for each in taken.builds[state]):
            yield f"{course.name}, {state}: compiled again"
    if course.spreads and taken.cold.client_seconds > most:
        yield f"{course.name}: the client compiled, not the server"


def _rows(
    project: Project, taken: list[tuple[_Course, _Taken, list[Build]]]
) -> Iterator[Comparison]:
    size = f"{project.units} units"
    plain_builds = [plains[0] for _, _, plains in taken]
    if not taken:
        return
    yield compare(f"build of {size}: plain", "s", [each.seconds for each in plain_builds])
    for course, done, plains in taken:
        for state, builds in done.builds.items():
            yield compare(
                f"build of {size}, {state}: {course.name}",
                "s",
                [each.seconds for each in builds],
                [fmean([each.seconds for each in plains])] * len(builds),
                "plain",
                aim=_AIMS_SECONDS.get(state, 0) if course.is_ours else 0,
                is_ratio=False,
                is_ceiling=True,
            )
    yield compare(
        f"processor time of {size}, over everything: plain",
        "s",
        [each.cpu_seconds for each in plain_builds],
    )
    for course, done, plains in taken:
        yield compare(
            f"processor time of {size}, over everything, cold: {course.name}",
            "s",
            [done.cold.cpu_seconds],
            [fmean([each.cpu_seconds for each in plains])],
            "plain",
            aim=_MOST_OF_PLAIN_CPU if course.is_ours else 0,
            is_ceiling=True,
        )
    for course, done, _ in taken:
        if course.spreads:
            yield from _rows_of_client(project, course, done)


def _rows_of_client(project: Project, course: _Course, done: _Taken) -> Iterator[Comparison]:
    yield compare(
        f"the client's processor time per unit, remote and cold: {course.name}",
        "ms",
        [1000 * done.cold.client_seconds / project.units],
        aim=_CLIENT_MILLISECONDS if course.is_ours else 0,
        is_ratio=False,
        is_ceiling=True,
    )
    yield compare(f"the first, small compile: {course.name}", "s", [done.first.seconds])
    yield compare(
        f"the first, small compile, processor time over everything: {course.name}",
        "s",
        [done.first.cpu_seconds],
    )
