"""Any arguments, sensible or not: nothing is raised, and nothing of a call is lost."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.clients.compile.command_lines import (
    compile_arguments,
    compile_preprocessed_arguments,
    dependency_arguments,
    depfile_arguments,
    preprocess_arguments,
)
from reapi.clients.compile.model import CANONICAL_ROOT, Family, Local, View
from tests.unit.clients.compile.calls import BOTH, ROOT, result_of

_PIECES = st.sampled_from(
    [
        *(
            ["-c"],
            ["-S"],
            ["-E"],
            ["foo.c"],
            ["-o", "foo.o"],
            ["-oout/x.o"],
            ["-x", "c"],
            ["-xc++"],
        ),
        *(["-I", "inc"], ["-Iinc"], ["-isystem", "/s"], ["-DX=1"], ["-D", "Y"], ["-g"], ["-O2"]),
        *(["-MD"], ["-MMD"], ["-MF", "d"], ["-MTx"], ["-MP"], ["-Wp,-MD,d"], ["-Wa,--noexecstack"]),
        *(["--coverage"], ["-gsplit-dwarf"], ["-fstack-usage"], ["-fdiagnostics-color=never"]),
        *(["-ffile-prefix-map=/a=."], ["--param", "x=1"], ["-include", "x.h"], ["-march=native"]),
        *(["-"], ["-v"], ["@x"], [""], ["-Xclang", "-load"], ["-fplugin=/x"], ["-I"], ["-o"]),
    ]
)
_LISTS = st.lists(
    _PIECES | st.lists(st.text("-cfoIDxgM=/,.@ '\\\0\n", max_size=8), max_size=2)
).map(lambda pieces: [word for piece in pieces for word in piece])


def _check(arguments: list[str], family: Family, *, is_cplusplus: bool) -> None:
    result = result_of(arguments, family, is_cplusplus=is_cplusplus)
    if isinstance(result, Local):
        assert result.reason
        return
    left = Counter(arguments)
    left.subtract(str(word) for word in result.words)
    left.subtract([result.source])
    # What is left is told in other words: the output, the depfile, colours, another -x.
    assert min(left.values()) >= 0
    told = (
        *("-o", "-M", "-Wp,-M", "-x", "-fdiagnostics-color", "-fno-diagnostics-color"),
        *("-fcolor-diagnostics", "-fno-color-diagnostics"),
    )
    rest = [word for word in left.elements() if not word.startswith(told)]
    values = [
        value
        for option, value in pairwise(arguments)
        if option in ("-o", "-x", "-MF", "-MT", "-MQ")
    ]
    assert not Counter(rest) - Counter(values)
    view = View(ROOT, CANONICAL_ROOT)
    assert compile_arguments(result, view, output=result.output)[-1] == result.source
    assert dependency_arguments(result)[-1] == result.source
    assert preprocess_arguments(result)[-1] == result.source
    compile_preprocessed_arguments(result, view, source="x.i", output="x.o")
    if result.depfile is not None:
        assert depfile_arguments(result)[-1] == result.source


@pytest.mark.parametrize("family", BOTH)
@given(arguments=_LISTS, is_cplusplus=st.booleans())
def test_any_arguments_are_understood_or_stay(
    family: Family, arguments: list[str], is_cplusplus: bool
) -> None:
    _check(arguments, family, is_cplusplus=is_cplusplus)


@pytest.mark.parametrize("family", BOTH)
@given(arguments=_LISTS, is_cplusplus=st.booleans())
def test_nothing_of_a_compile_is_lost(
    family: Family, arguments: list[str], is_cplusplus: bool
) -> None:
    _check(["-c", *arguments, "foo.c"], family, is_cplusplus=is_cplusplus)
