"""Make rules are written to the byte as the compilers installed here write them."""

import os
import subprocess
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reapi.clients.compile.dependencies import prerequisites
from reapi.clients.compile.depfile import rewrite
from reapi.clients.compile.model import Family
from tests.unit.clients.compile.calls import BOTH

_NAMES = st.text("ab-.#$ \u00e9", min_size=1, max_size=30).filter(
    lambda name: name.strip(". ") == name and not name.startswith("-")
)
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join)
_TARGETS = st.lists(
    st.tuples(st.sampled_from(["-MT", "-MQ"]), st.text("ab/$# ", min_size=1, max_size=60)),
    max_size=3,
).filter(lambda targets: all(text.strip() == text for _, text in targets))


def rule_of(family: Family, root: Path, paths: list[str], options: list[str]) -> bytes:
    """What the compiler writes for a source at `root` that includes the paths."""
    source = root / "main.c"
    source.write_text("".join(f'#include "{path}"\n' for path in paths))
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    arguments = [family, "-nostdinc", "-M", *options, str(source)]
    return subprocess.run(arguments, check=True, capture_output=True).stdout


def has_unquoted_space(targets: list[tuple[str, str]]) -> bool:
    """Whether a target looks like several; then it may not be certain what the rule is."""
    return any(option == "-MT" and " " in text for option, text in targets)


def is_possible(root: Path, paths: list[str]) -> bool:
    """Whether the paths can be files beside one another."""
    parents = {str(parent) for path in paths for parent in Path(path).parents}
    return not any(str(Path(path)) in parents for path in paths)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    paths=st.lists(_PATHS, max_size=8, unique=True),
    targets=_TARGETS,
    is_phony=st.booleans(),
    other=st.sampled_from(
        ["/x", "/a longer/path $ of/another # checkout", "/" + "deep/" * 9 + "r"]
    ),
)
def test_a_rewritten_rule_is_what_the_compiler_writes_for_the_other_place(
    family: Family, paths: list[str], targets: list[tuple[str, str]], is_phony: bool, other: str
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        here, there = Path(scratch, "here"), Path(scratch + other)
        if not is_possible(here, paths):
            return
        options = [word for target in targets for word in target] + ["-MP"] * is_phony
        rules = []
        for root in (here, there):
            root.mkdir(parents=True, exist_ok=True)
            rules.append(rule_of(family, root, paths, options))
        rewritten = rewrite(rules[0], family, lambda path: path.replace(str(here), str(there), 1))
        assert rewritten == rules[1] or (rewritten is None and has_unquoted_space(targets))
        expected = {str(here / "main.c")} | {str(here / path) for path in paths}
        assert {os.path.normpath(path) for path in prerequisites(rules[0]) or ()} >= expected


def test_empty_rules_after_empty_lines_stay_so() -> None:
    rule = b"a.o: /x/a.c /x/b.h /x/c.h\n\n/x/b.h:\n\n/x/c.h:\n"
    for family in BOTH:
        moved = rewrite(rule, family, lambda path: path.replace("/x", "/yy"))
        assert moved == rule.replace(b"/x", b"/yy")


def test_what_no_compiler_would_have_written_is_not_rewritten() -> None:
    for content in (b"", b"a.o", b"a.o : a.c\n", b"a.o: a.c", b"a.o: a.c\nb.o: b.c\n", b"\\\n:"):
        for family in BOTH:
            assert rewrite(content, family, str) is None


@given(st.binary(max_size=60), st.sampled_from(BOTH))
def test_any_bytes_stay_what_they_are_or_are_refused(content: bytes, family: Family) -> None:
    assert rewrite(content, family, str) in (None, content)
