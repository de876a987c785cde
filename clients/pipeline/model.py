"""What a plan file may say. The descriptions of the fields are the manual and the editors' help."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from reapi.clients.duration import parse_duration
from reapi.core.directory import is_safe_name
from reapi.core.errors import InvalidArgument

MOST_ACTIONS = 10_000
"""Of one plan, after its matrices are expanded."""

_LONGEST_TEXT = 65_536
_LONGEST_PATH = 4096
_MOST_ITEMS = 1000
_SHELL = ("/bin/sh", "-ec")


def _listed(value: Any) -> Any:
    """One text where a list may stand is a list of one."""
    return [value] if isinstance(value, str) else value


def plan_path(value: str) -> str:
    """A path below the checkout in its one spelling; raises ValueError for any other."""
    if value == ".":
        return value
    segments = value.removesuffix("/").removeprefix("./").split("/")
    if value.startswith("/"):
        raise ValueError(f"{value!r} is absolute: write it relative to the checkout")
    if ".." in segments:
        raise ValueError(f"{value!r} leads out of the checkout: only what is below it can be used")
    if not all(is_safe_name(segment) for segment in segments):
        raise ValueError(f"{value!r} is not a path: write it like src/main.c")
    return "/".join(segments)


def _arguments(value: Any) -> Any:
    """A text is for the shell, which ends at the first command in it that fails."""
    return [*_SHELL, value] if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except InvalidArgument as error:
        raise ValueError(error.message) from error


_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_LIST_OR_ONE: dict[str, Any] = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
}
_COMMAND: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": _SCALAR, "minItems": 1},
    ]
}

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Text = Annotated[str, StringConstraints(max_length=_LONGEST_TEXT), WithJsonSchema(_SCALAR)]
PlanPath = Annotated[
    str, StringConstraints(min_length=1, max_length=_LONGEST_PATH), AfterValidator(plan_path)
]
Paths = Annotated[
    tuple[PlanPath, ...],
    BeforeValidator(_listed),
    Field(max_length=_MOST_ITEMS),
    WithJsonSchema(_LIST_OR_ONE),
]
Patterns = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_PATH)], ...],
    BeforeValidator(_listed),
    Field(min_length=1, max_length=_MOST_ITEMS),
    WithJsonSchema(_LIST_OR_ONE),
]
Command = Annotated[
    tuple[Text, ...],
    BeforeValidator(_arguments),
    Field(min_length=1, max_length=_MOST_ITEMS),
    WithJsonSchema(_COMMAND),
]
Seconds = Annotated[
    float, BeforeValidator(_seconds), WithJsonSchema({"type": ["string", "number"]})
]
Texts = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1)], Text], Field(max_length=_MOST_ITEMS)
]
Values = Annotated[tuple[Text, ...], Field(min_length=1, max_length=MOST_ACTIONS)]


class Table(BaseModel):
    """A table of a plan: unknown keys are refused, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Metadata(Table):
    """What a pipeline is called."""

    name: Name
    """Of this pipeline; needed where a plan has several."""


class Rules(Table):
    """When it runs: every key that is here must match, by one of its patterns."""

    branch: Patterns | None = None
    """Branches, such as main or release/*."""
    event: Patterns | None = None
    """What began this: push, pull_request, ...; as the CI names it, `local` outside of one."""
    tag: Patterns | None = None
    """Tags of the commit, such as v*; a commit without a tag matches none."""
    path: Patterns | None = None
    """Changed files, such as src/** or docs."""


class StageRules(Rules):
    """When a stage runs: every key that is here must match, by one of its patterns."""

    matrix: dict[Name, Patterns] | None = None
    """Values of the matrix by axis: jobs with others are left out."""


class Stage(Table):
    """Commands that run at the same time, each an action of its own, with the same inputs."""

    needs: Annotated[tuple[Name, ...], BeforeValidator(_listed), WithJsonSchema(_LIST_OR_ONE)] = ()
    """Stages that must have succeeded before; those in `from` need not be named."""
    inputs: Paths = ()
    """Files and directories of the checkout, or patterns of them, that the commands see."""
    from_: Annotated[dict[Name, Paths], Field(alias="from")] = {}
    """Outputs of other stages, by stage: paths or patterns; commands see them at their places."""
    outputs: Paths = ()
    """Files and directories that the commands make; each by one of them at least."""
    download: Paths = ()
    """Outputs, or patterns of them, to bring to this machine at the end; all others stay remote."""
    env: Texts = {}
    """Environment variables, beside those of the pipeline."""
    platform: Texts = {}
    """What the worker must be, beside what the pipeline says."""
    timeout: Seconds | None = None
    """What a command may take, such as 90s, 5m or 1h."""
    commands: Annotated[tuple[Command, ...], Field(min_length=1, max_length=_MOST_ITEMS)]
    """Each a text for the shell, or a list of a program and its arguments."""
    matrix: Annotated[dict[Name, Values], Field(max_length=16)] = {}
    """Axes: the stage runs once for each combination of values; ${matrix.AXIS} is the value."""
    rules: StageRules = StageRules()
    """When the stage runs; always unless it says something."""
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    """How often an action is tried again that the service failed, never one whose command did."""


class Pipeline(Table):
    """A plan, or one of several in a file."""

    model_config = ConfigDict(title="Plan of reapi-cli pipeline")

    metadata: Metadata | None = None
    """The name of the pipeline."""
    repository: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """Whose actions these are; that of the git remote, or the name of the directory."""
    max_parallel: Annotated[int, Field(ge=1, le=MOST_ACTIONS)] | None = None
    """Actions of the repository at once; a fair part of the fleet unless set."""
    rules: Rules = Rules()
    """When the pipeline runs; always unless it says something."""
    env: Texts = {}
    """Environment variables of all stages."""
    platform: Texts = {}
    """What the workers of all stages must be."""
    stages: Annotated[dict[Name, Stage], Field(min_length=1, max_length=_MOST_ITEMS)]
    """The stages by name."""


def schema() -> dict[str, Any]:
    """The JSON schema of a plan, for editors. What is optional is left out, never null."""
    found = _without_null(Pipeline.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _without_null(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {
        key: _without_null(item)
        for key, item in value.items()
        if key != "anyOf" and not (key == "default" and item is None)
    }
    kinds = [kind for kind in value.get("anyOf", ()) if kind != {"type": "null"}]
    return (
        kept | _without_null(kinds[0])
        if len(kinds) == 1
        else kept | ({"anyOf": kinds} if kinds else {})
    )
