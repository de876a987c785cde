"""The form of plans, and what is said of mistakes in it, word for word."""

from pathlib import Path
from textwrap import dedent

import pytest

from reapi.clients.pipeline.loading import load_plan
from reapi.clients.pipeline.mistakes import InvalidPlan
from reapi.core.errors import InvalidArgument, NotFound
from tests.unit.clients.pipeline.plans import load, mistakes_in

STAGE = "stages:\n  a:\n    commands: ['true']\n"


def test_a_whole_plan_is_read(tmp_path: Path) -> None:
    (one,) = load(
        tmp_path,
        """
        metadata: {name: app}
        repository: team/app
        max_parallel: 8
        rules: {branch: main, path: [src, "docs/**"]}
        env: {LANG: C, LEVEL: 3}
        platform: {OSFamily: linux}
        stages:
          build:
            matrix: {python: [3.10, "3.11"]}
            inputs: ./src/
            outputs: [out]
            timeout: 1.5m
            retries: 2
            commands:
              - make
              - [cp, a b, c]
        """,
    )
    assert one.name == "app"
    assert one.model.max_parallel == 8
    assert one.model.env == {"LANG": "C", "LEVEL": "3"}
    assert one.model.rules.branch == ("main",)
    stage = one.model.stages["build"]
    assert stage.matrix == {"python": ("3.10", "3.11")}
    assert stage.inputs == ("src",)
    assert stage.timeout == 90
    assert stage.commands == (("/bin/sh", "-ec", "make"), ("cp", "a b", "c"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            STAGE + "    inptus: [src]\n",
            "4:5: stages.a.inptus: there is no key 'inptus' here; did you mean 'inputs'?",
        ),
        (
            STAGE + "xyzzy: 1\n",
            "4:1: xyzzy: there is no key 'xyzzy' here; the keys are metadata, repository, "
            "max_parallel, rules, env, platform, stages",
        ),
        (
            STAGE + "    rules:\n      brunch: x\n",
            "5:7: stages.a.rules.brunch: there is no key 'brunch' here; did you mean 'branch'?",
        ),
        (
            STAGE + "rules: {matrix: {}}\n",
            "4:9: rules.matrix: there is no key 'matrix' here; "
            "the keys are branch, event, tag, path",
        ),
        ("env: {}\n", "1:1: 'stages' is missing: add it"),
        ("stages:\n  a:\n    needs: []\n", "3:5: stages.a: 'commands' is missing: add it"),
        (
            STAGE + "    outputs:\n",
            "4:13: stages.a.outputs: has no value: write one (an empty text is ''), or remove it",
        ),
        (
            STAGE + "    inputs: [ok, ../secret]\n",
            "4:18: stages.a.inputs[1]: '../secret' leads out of the checkout: "
            "only what is below it can be used",
        ),
        (
            STAGE + "    outputs: [/tmp/x]\n",
            "4:15: stages.a.outputs[0]: '/tmp/x' is absolute: write it relative to the checkout",
        ),
        (
            STAGE + "    outputs: [a//b]\n",
            "4:15: stages.a.outputs[0]: 'a//b' is not a path: write it like src/main.c",
        ),
        (
            STAGE + "    timeout: soon\n",
            "4:14: stages.a.timeout: 'soon' is not a duration such as 500ms, 60s, 5m or 1h",
        ),
        (
            STAGE + "    retries: many\n",
            "4:14: stages.a.retries: must be a whole number, not 'many'",
        ),
        (
            STAGE + "    retries: 99\n",
            "4:14: stages.a.retries: should be less than or equal to 10, not '99'",
        ),
        (STAGE + "    env: [A]\n", "4:10: stages.a.env: must be a table of lines `key: value`"),
        (STAGE + "    env: {A: [1]}\n", "4:14: stages.a.env.A: must be a text"),
        (STAGE + "    matrix: {x: 1}\n", "4:17: stages.a.matrix.x: must be a list, not '1'"),
        (
            STAGE + "  a b:\n    commands: [x]\n",
            "4:3: stages.a b: 'a b' is no name: use letters, digits, `_`, `.` and `-`, 100 at most",
        ),
        ("just text\n", "1:1: must be a table of lines `key: value`, not 'just text'"),
        ("# nothing\n", "1:1: there is no pipeline: write `stages:`"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_its_remedy(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert [one.removeprefix(f"{tmp_path}") for one in mistakes_in(tmp_path, text)] == [expected]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = mistakes_in(tmp_path, STAGE + "    retries: x\n    timeout: y\nfoo: z\n")
    assert [one.partition(":")[0] for one in found] == ["4", "5", "6"]


def test_several_pipelines_in_one_file_need_names(tmp_path: Path) -> None:
    named = "metadata: {name: one}\n" + STAGE
    assert mistakes_in(tmp_path, f"{named}---\n{STAGE}") == [
        "6:1: of several pipelines each needs a name: add `metadata: {name: ...}`"
    ]
    assert mistakes_in(tmp_path, f"{named}---\n{named}") == [
        f"6:18: metadata.name: {tmp_path}/plan.yaml:1 has a pipeline 'one', too: rename one"
    ]
    both = load(tmp_path, named + "---\n" + named.replace("one", "two"))
    assert [one.name for one in both] == ["one", "two"]


def test_a_directory_of_plans_is_one_plan(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("metadata: {name: second}\n" + STAGE)
    (tmp_path / "a.yaml").write_text("metadata: {name: first}\n" + STAGE)
    (tmp_path / "notes.txt").write_text("not a plan")
    assert [one.name for one in load_plan(tmp_path)] == ["first", "second"]


def test_mistakes_in_several_files_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("stages: {}\n")
    (tmp_path / "b.yaml").write_text("foo: 1\n")
    with pytest.raises(InvalidPlan) as raised:
        load_plan(tmp_path)
    assert {Path(one.path).name for one in raised.value.mistakes} == {"a.yaml", "b.yaml"}


def test_a_single_plan_without_a_name_has_that_of_its_file(tmp_path: Path) -> None:
    assert [one.name for one in load(tmp_path, STAGE)] == ["plan"]


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no plan .*/none\.yaml"):
        load_plan(tmp_path / "none.yaml")
    with pytest.raises(NotFound, match=r"there is no \*\.yaml in"):
        load_plan(tmp_path)


def test_too_many_pipelines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(dedent("---\n" + STAGE) * 101)
    with pytest.raises(InvalidArgument, match="more than 100 pipelines"):
        load_plan(path)
