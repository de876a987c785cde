"""Mistakes between the parts of a plan, word for word."""

from itertools import pairwise
from pathlib import Path

import pytest

from reapi.clients.pipeline.checking import check
from reapi.core.errors import InvalidArgument
from tests.unit.clients.pipeline.plans import load, mistakes_in


@pytest.mark.parametrize(
    ("stage_b", "expected"),
    [
        (
            "{needs: [compil], commands: [x]}",
            "4:15: stages.b.needs[0]: there is no stage 'compil'; did you mean 'compile'?",
        ),
        (
            "{from: {other: [x]}, commands: [x]}",
            "4:14: stages.b.from.other: there is no stage 'other'; the stages are compile, b",
        ),
        (
            "{from: {compile: [out/b.o]}, commands: [x]}",
            "4:24: stages.b.from.compile[0]: stage 'compile' does not make out/b.o; "
            "it makes out/a.o",
        ),
        (
            "{download: [x], commands: [x]}",
            "4:18: stages.b.download[0]: stage 'b' does not make x; it makes nothing",
        ),
        (
            '{commands: ["echo ${matrix.os}"]}',
            "4:18: stages.b.commands[0]: there is no axis 'os'; the stage has no matrix",
        ),
        (
            '{matrix: {mode: [x]}, env: {A: "${matrix.mod}"}, commands: [x]}',
            "4:37: stages.b.env.A: there is no axis 'mod'; did you mean 'mode'?",
        ),
        (
            "{matrix: {mode: [x]}, rules: {matrix: {os: y}}, commands: [x]}",
            "4:45: stages.b.rules.matrix.os: there is no axis 'os'; the axes are mode",
        ),
        (
            '{matrix: {x: [a, ../..]}, inputs: ["src/${matrix.x}"], commands: [x]}',
            "4:41: stages.b.inputs[0]: 'src/../..' leads out of the checkout: "
            "only what is below it can be used",
        ),
        (
            "{needs: [b], commands: [x]}",
            "4:15: stages.b.needs[0]: stages wait for each other for ever: b needs b; "
            "remove one of these",
        ),
    ],
)
def test_a_mistake_between_parts_has_its_place_and_remedy(
    tmp_path: Path, stage_b: str, expected: str
) -> None:
    text = f"stages:\n  compile: {{outputs: [out/a.o], commands: [x]}}\n\n  b: {stage_b}\n"
    assert mistakes_in(tmp_path, text) == [expected]


def test_a_circle_is_named_from_stage_to_stage(tmp_path: Path) -> None:
    text = """\
    stages:
      a: {needs: [c], commands: [x]}
      b: {from: {a: []}, commands: [x]}
      c: {needs: [b], commands: [x]}
    """
    (found,) = mistakes_in(tmp_path, text)
    _, _, circle = found.partition("for ever: ")
    names = circle.removesuffix("; remove one of these").split(" needs ")
    assert names[0] == names[-1]
    assert set(names) == {"a", "b", "c"}
    needed = {"a": "c", "b": "a", "c": "b"}
    assert all(needed[one] == other for one, other in pairwise(names))


def test_a_matrix_of_a_million_jobs_is_refused_without_being_made(tmp_path: Path) -> None:
    hundred = ", ".join(map(str, range(100)))
    axes = ", ".join(f"{axis}: [{hundred}]" for axis in "abcdefgh")
    text = f"stages:\n  s: {{matrix: {{{axes}}}, commands: ['${{matrix.a}}']}}\n"
    assert mistakes_in(tmp_path, text) == [
        "2:3: stages.s: a plan has 10,000 actions at most: this stage alone has more"
    ]


def test_many_stages_together_are_bounded_too(tmp_path: Path) -> None:
    hundred = ", ".join(map(str, range(100)))
    stages = "".join(
        f"  s{number}: {{matrix: {{a: [{hundred}], b: [{hundred}]}}, commands: [x]}}\n"
        for number in range(2)
    )
    with pytest.raises(InvalidArgument, match="10,000 actions at most: this one has more"):
        check(load(tmp_path, f"stages:\n{stages}"))
