"""Reads plans: a file with one document or several, or a directory of files; one pipeline each."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reapi.core.errors import InvalidArgument, NotFound

from .document import LARGEST_FILE_BYTES, Node, read_documents
from .mistakes import InvalidPlan, Mistake
from .model import Metadata, Pipeline, Rules, Stage, StageRules

MOST_PIPELINES = 100
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A pipeline, its name, and where each part of it stands."""

    name: str
    path: str
    model: Pipeline
    node: Node

    def mistake(self, at: Sequence[str | int], text: str, *, of_key: bool = False) -> Mistake:
        """A mistake in the part that a path of keys leads to."""
        return _mistake(self.path, self.node, at, text, of_key=of_key)


def load_plan(path: Path) -> list[LoadedPipeline]:
    """The pipelines of a plan; raises NotFound, or InvalidPlan with all mistakes of their form."""
    documents = [(file, node) for file in _files(path) for node in _read(file)]
    if not documents:
        raise InvalidPlan([Mistake(str(path), 1, 1, "there is no pipeline: write `stages:`")])
    if len(documents) > MOST_PIPELINES:
        raise InvalidArgument(f"{path} has more than {MOST_PIPELINES} pipelines")
    mistakes: list[Mistake] = []
    loaded: dict[str, LoadedPipeline] = {}
    for file, node in documents:
        try:
            model = _pipeline(file, node)
        except InvalidPlan as error:
            mistakes += error.mistakes
            continue
        name = model.metadata.name if model.metadata else file.stem
        one = LoadedPipeline(name, str(file), model, node)
        mistakes += _name_mistakes(one, loaded, len(documents))
        loaded[name] = one
    if mistakes:
        raise InvalidPlan(mistakes)
    return list(loaded.values())


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not found:
        raise NotFound(f"there is no *.yaml in {path}")
    if len(found) > MOST_PIPELINES:
        raise InvalidArgument(f"{path} has more than {MOST_PIPELINES} plans")
    return found


def _read(file: Path) -> list[Node]:
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no plan {file}") from error
    except OSError as error:
        raise InvalidArgument(f"cannot read {file}: {error.strerror}") from error
    return read_documents(str(file), data)


def _name_mistakes(
    one: LoadedPipeline, earlier: dict[str, LoadedPipeline], documents: int
) -> Iterator[Mistake]:
    if documents > 1 and one.model.metadata is None:
        yield one.mistake((), "of several pipelines each needs a name: add `metadata: {name: ...}`")
    elif one.name in earlier:
        first = earlier[one.name]
        yield one.mistake(
            ("metadata", "name"),
            f"{first.path}:{first.node.line} has a pipeline {one.name!r}, too: rename one",
        )


def _pipeline(file: Path, node: Node) -> Pipeline:
    empty = list(_empty(str(file), node, ()))
    if empty:
        raise InvalidPlan(empty)
    try:
        return Pipeline.model_validate(node.plain())
    except ValidationError as error:
        raise InvalidPlan(
            [_found(str(file), node, one) for one in error.errors(include_url=False)]
        ) from error


def _empty(path: str, node: Node, at: tuple[str | int, ...]) -> Iterator[Mistake]:
    """Keys without a value, which are mostly a line that is not finished."""
    items: Any = ()
    if isinstance(node.value, dict):
        items = node.value.items()
    elif isinstance(node.value, list):
        items = enumerate(node.value)
    for part, inner in items:
        if inner.value is None:
            where = _name((*at, part))
            text = f"{where}: has no value: write one (an empty text is ''), or remove it"
            yield Mistake(path, inner.line, inner.column, text)
        else:
            yield from _empty(path, inner, (*at, part))


def _found(path: str, node: Node, error: ErrorDetails) -> Mistake:
    kind, at = error["type"], error["loc"]
    if kind == "extra_forbidden":
        return _mistake(path, node, at, _unknown_key(at), of_key=True)
    if kind == "missing":
        return _mistake(path, node, at[:-1], f"{at[-1]!r} is missing: add it")
    if "[key]" in at:
        return _mistake(path, node, at[:-1], f"{at[-2]!r} is no name: {_NAMES}", of_key=True)
    if kind == "value_error":
        return _mistake(path, node, at, str(error["ctx"]["error"]))
    return _mistake(path, node, at, _problem(error))


_NAMES = "use letters, digits, `_`, `.` and `-`, 100 at most"

_EXPECTED = {
    "model_type": "must be a table of lines `key: value`",
    "dict_type": "must be a table of lines `key: value`",
    "tuple_type": "must be a list",
    "string_type": "must be a text",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_type": "must be a duration such as 90s or 5m",
    "string_pattern_mismatch": f"is no name: {_NAMES}",
}


def _problem(error: ErrorDetails) -> str:
    given = error["input"]
    text = _EXPECTED.get(error["type"]) or error["msg"].removeprefix("Input ")
    return f"{text}, not {given!r}" if isinstance(given, str) and len(given) < 100 else text


_TABLES: dict[str, type[BaseModel]] = {"metadata": Metadata, "rules": Rules}


def _unknown_key(at: Sequence[str | int]) -> str:
    """What one may have meant, or what there is."""
    *above, key = at
    table: type[BaseModel] = Pipeline
    if above and above[0] == "stages":
        table = StageRules if above[-1] == "rules" and len(above) == 3 else Stage
    elif above:
        table = _TABLES[str(above[-1])]
    known = [field.alias or name for name, field in table.model_fields.items()]
    return f"there is no key {str(key)!r} here; {suggestion(str(key), known, 'the keys are')}"


def suggestion(word: str, known: Sequence[str], otherwise: str) -> str:
    """Words for what may have been meant, or for what there is."""
    close = difflib.get_close_matches(word[:100], known[:1000], n=1)
    return f"did you mean {close[0]!r}?" if close else f"{otherwise} {', '.join(known[:20])}"


def _mistake(
    path: str, node: Node, at: Sequence[str | int], text: str, *, of_key: bool = False
) -> Mistake:
    place = node.at(at, of_key=of_key)
    name = _name(at)
    return Mistake(path, place.line, place.column, f"{name}: {text}" if name else text)


def _name(at: Sequence[str | int]) -> str:
    """`stages.test.commands[0]`."""
    words = ""
    for part in at:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else str(part)
    return words
