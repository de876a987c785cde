"""Whatever a plan file holds, it is a plan or a mistake with its place."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.clients.pipeline.document import read_documents
from reapi.clients.pipeline.loading import load_plan
from reapi.clients.pipeline.mistakes import InvalidPlan
from reapi.clients.pipeline.plan import make_plan
from reapi.clients.pipeline.rules import Change
from reapi.core.errors import InvalidArgument

KEYS = [
    *("stages", "metadata", "name", "rules", "env", "platform", "max_parallel", "needs", "inputs"),
    *("from", "outputs", "download", "timeout", "commands", "matrix", "retries", "branch", "path"),
]
WORDS = st.sampled_from(
    [*KEYS, "a", "b", "", ".", "..", "/", "5", "-1", "**", "${matrix.a}", "[", "~"]
)
TABLES = st.recursive(
    WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=25,
)
STAGES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.fixed_dictionaries(
        {"commands": st.lists(WORDS, min_size=1, max_size=2)},
        optional={
            "needs": st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=2),
            "from": st.dictionaries(st.sampled_from(["a", "b", "c"]), st.lists(WORDS, max_size=2)),
            "outputs": st.lists(WORDS, max_size=2),
            "inputs": st.lists(WORDS, max_size=2),
            "matrix": st.dictionaries(WORDS, st.lists(WORDS, max_size=3), max_size=2),
            "rules": TABLES,
            "timeout": WORDS,
        },
    ),
    max_size=3,
)


def error_of(read: Callable[[], object]) -> InvalidArgument | None:
    """The one kind of error that there may be."""
    try:
        read()
    except InvalidArgument as error:
        return error
    return None


@given(st.binary(max_size=200) | st.text("ab:-[]{}&*!|>'\"\n #,?", max_size=100).map(str.encode))
def test_any_bytes_are_documents_or_a_mistake(data: bytes) -> None:
    error = error_of(lambda: read_documents("plan.yaml", data))
    if error is not None:
        assert isinstance(error, InvalidPlan)
        assert all(one.line >= 1 and one.column >= 1 for one in error.mistakes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


@given(STAGES.map(lambda stages: {"stages": stages}) | TABLES)
def test_any_tables_are_a_plan_or_mistakes(folder: Path, value: object) -> None:
    path = folder / "plan.yaml"
    path.write_text(repr(value))  # of texts, lists and tables, which YAML reads as well
    error = error_of(lambda: make_plan(load_plan(path), Change(), "app"))
    if isinstance(error, InvalidPlan):
        assert error.mistakes
        assert all(str(one).startswith(f"{path}:") for one in error.mistakes)
    elif error is None:
        plan = make_plan(load_plan(path), Change(), "app")
        assert all(need in plan.jobs for job in plan.jobs for need in job.needs)
