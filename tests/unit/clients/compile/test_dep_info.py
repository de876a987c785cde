"""What rustc's dep-info tells of a crate."""

from reapi.clients.compile.dep_info import variables_hold, variables_in, variables_of
from reapi.clients.compile.dependencies import prerequisites

DEP_INFO = b"""\
/t/b-1.d: b/src/lib.rs b/src/with\\ space.rs /t/out/generated.rs

/t/libb-1.rlib: b/src/lib.rs b/src/with\\ space.rs /t/out/generated.rs

b/src/lib.rs:
b/src/with\\ space.rs:

# env-dep:UNSET
# env-dep:EMPTY=
# env-dep:SET=a=b
# env-dep:ODD\\nNAME\\\\=line\\nbreak
"""


def test_files_are_those_of_the_first_rule() -> None:
    names = ("b/src/lib.rs", "b/src/with space.rs", "/t/out/generated.rs")
    assert prerequisites(DEP_INFO) == names


def test_variables_are_found_whether_they_are_set_or_not() -> None:
    assert variables_in(DEP_INFO) == ["UNSET", "EMPTY", "SET", "ODD\nNAME\\"]
    assert variables_in(b"x.d: x.rs\n") == []


def test_variables_hold_until_one_is_another() -> None:
    variables = variables_of(["SET", "UNSET", "EMPTY", "SET"], {"SET": "a", "EMPTY": "", "X": "1"})
    assert [name for name, _ in variables] == ["EMPTY", "SET", "UNSET"]
    assert variables_hold(variables, {"SET": "a", "EMPTY": "", "X": "2"})
    assert not variables_hold(variables, {"SET": "b", "EMPTY": ""})
    assert not variables_hold(variables, {"SET": "a"})
    assert not variables_hold(variables, {"SET": "a", "EMPTY": "", "UNSET": ""})
