"""What the parts of a pipeline say of each other: names, axes, artifacts, circles, and how much."""

from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from reapi.core.errors import InvalidArgument

from .globs import has_magic
from .loading import LoadedPipeline, suggestion
from .matrix import combinations, count_of, filled, references
from .mistakes import InvalidPlan, Mistake
from .model import MOST_ACTIONS, Stage, plan_path

At = tuple[str | int, ...]

_LISTS = ("inputs", "outputs", "download")
_PATHS = (*_LISTS, "from")


def check(pipelines: Sequence[LoadedPipeline]) -> None:
    """Finds all mistakes that do not depend on what the plan is run for; raises InvalidPlan."""
    mistakes = [mistake for one in pipelines for mistake in _mistakes_of(one)]
    if mistakes:
        raise InvalidPlan(mistakes)
    stages = [stage for one in pipelines for stage in one.model.stages.values()]
    if sum(map(_actions_of, stages)) > MOST_ACTIONS:
        raise InvalidArgument(f"a plan has {MOST_ACTIONS:,} actions at most: this one has more")


def _actions_of(stage: Stage) -> int:
    return count_of(stage.matrix) * len(stage.commands)


def _mistakes_of(one: LoadedPipeline) -> Iterator[Mistake]:
    for name, stage in one.model.stages.items():
        at: At = ("stages", name)
        yield from _unknown_stages(one, stage, at)
        unknown = list(_unknown_axes(one, stage, at))
        yield from unknown or _bad_paths(one, stage, at)
        yield from _not_made(one, stage.download, stage, name, (*at, "download"))
        for other, paths in stage.from_.items():
            if other in one.model.stages:
                made_by = one.model.stages[other]
                yield from _not_made(one, paths, made_by, other, (*at, "from", other))
        if _actions_of(stage) > MOST_ACTIONS:
            text = f"a plan has {MOST_ACTIONS:,} actions at most: this stage alone has more"
            yield one.mistake(at, text, of_key=True)
    yield from _circle(one)


def needs_of(stage: Stage) -> dict[str, At]:
    """The stages that must come first, and where the stage says so."""
    named = {other: ("from", other) for other in stage.from_}
    return named | {other: ("needs", number) for number, other in enumerate(stage.needs)}


def _unknown_stages(one: LoadedPipeline, stage: Stage, at: At) -> Iterator[Mistake]:
    known = list(one.model.stages)
    for other, where in needs_of(stage).items():
        if other not in known:
            hint = suggestion(other, known, "the stages are")
            yield one.mistake(
                (*at, *where), f"there is no stage {other!r}; {hint}", of_key=where[0] == "from"
            )


def _unknown_axes(one: LoadedPipeline, stage: Stage, at: At) -> Iterator[Mistake]:
    axes = list(stage.matrix)
    for axis in stage.rules.matrix or ():
        if axis not in axes:
            yield one.mistake((*at, "rules", "matrix", axis), _no_axis(axis, axes), of_key=True)
    for where, text in _texts(stage):
        for axis in references(text):
            if axis not in axes:
                yield one.mistake((*at, *where), _no_axis(axis, axes))


def _no_axis(axis: str, axes: Sequence[str]) -> str:
    hint = suggestion(axis, axes, "the axes are") if axes else "the stage has no matrix"
    return f"there is no axis {axis!r}; {hint}"


def _texts(stage: Stage) -> Iterator[tuple[At, str]]:
    """All texts in which an axis may be named."""
    for number, command in enumerate(stage.commands):
        for argument in command:
            yield ("commands", number), argument
    for key in _LISTS:
        for number, path in enumerate(getattr(stage, key)):
            yield (key, number), path
    for key in ("env", "platform"):
        for name, text in getattr(stage, key).items():
            yield (key, name), text
    for other, paths in stage.from_.items():
        for number, path in enumerate(paths):
            yield ("from", other, number), path


def _bad_paths(one: LoadedPipeline, stage: Stage, at: At) -> Iterator[Mistake]:
    """Paths that the values of a matrix lead astray."""
    for where, text in _texts(stage):
        axes = {axis: stage.matrix[axis] for axis in references(text)}
        if where[0] not in _PATHS or not axes or count_of(axes) > MOST_ACTIONS:
            continue
        for values in combinations(axes):
            try:
                plan_path(filled(text, values))
            except ValueError as error:
                yield one.mistake((*at, *where), str(error))
                break


def _not_made(
    one: LoadedPipeline, paths: Sequence[str], stage: Stage, name: str, at: At
) -> Iterator[Mistake]:
    """Artifacts that no command can make; those with patterns or axes are seen later."""
    if any(references(output) for output in stage.outputs):
        return
    for number, path in enumerate(paths):
        is_made = path == "." or any(
            output == "." or f"{path}/".startswith(f"{output}/") or output.startswith(f"{path}/")
            for output in stage.outputs
        )
        if not stage.outputs or not (is_made or has_magic(path) or references(path)):
            made = ", ".join(stage.outputs) or "nothing"
            yield one.mistake(
                (*at, number), f"stage {name!r} does not make {path}; it makes {made}"
            )


def _circle(one: LoadedPipeline) -> Iterator[Mistake]:
    graph = {
        name: [other for other in needs_of(stage) if other in one.model.stages]
        for name, stage in one.model.stages.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        names = list(reversed(error.args[1]))
        circle = " needs ".join(names)
        where = needs_of(one.model.stages[names[0]])[names[1]]
        yield one.mistake(
            ("stages", names[0], *where),
            f"stages wait for each other for ever: {circle}; remove one of these",
            of_key=where[0] == "from",
        )
