"""What is understood of a call against what gcc and clang really do with it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reapi.clients.compile.arguments import understand
from reapi.clients.compile.command_lines import (
    compile_arguments,
    compile_preprocessed_arguments,
    dependency_arguments,
    depfile_arguments,
    preprocess_arguments,
)
from reapi.clients.compile.model import Compilation, Family, Invocation, View

_FILES = {
    "foo.c": '#include <stddef.h>\n#include "here.h"\nsize_t f(int x) { return x + HERE; }\n',
    "foo.x.c": "int g(void) { return 1; }\n",
    "sub/bar.c": '#include "here.h"\nint h(int x) { return x ? HERE : LATER; }\n',
    "foo.cc": '#include <cstddef>\n#include "here.h"\nstd::size_t f() { return HERE; }\n',
    "warn.c": "int f(int unused) { int x; return x; }\n",
    "start.S": '#include "here.h"\n.globl f\nf: .long HERE\n',
    "plain.s": ".globl f\nf: .long 4\n",
    "ready.i": "int f(void) { return 1; }\n",
    "ready.ii": "int f() { return 1; }\n",
    "foo.m": '#include "here.h"\nint f(void) { return HERE; }\n',
    "odd": "int f(void) { return 1; }\n",
    "include/here.h": '#pragma once\n#include "there.h"\n#define HERE 1\n',
    "include/there.h": "#pragma once\n#define LATER 2\n",
    "system/here.h": "#define HERE 3\n#define LATER 4\n",
    "with space/here.h": "#define HERE 5\n#define LATER 6\n",
    "words.rsp": '-DA=\'a b\' -Iinclude\n"-DB=\\"x\\"" @more.rsp',
    "more.rsp": "-O2\t-g\n",
    "out/.keep": "",
}

_ALIKE = [
    "-c foo.c",
    "-c foo.c -o out/x.o",
    "-c -o out/foo.c.o foo.c -g",
    "-oout/x.o -c foo.c -O2 -Wall -Wextra -std=gnu11 -fPIC -fvisibility=hidden -DX=1 -D Y -UZ",
    "-c foo.c -o out/x",
    "-c sub/bar.c",
    "-c ./sub/../sub/bar.c -o out/bar.o -g3",
    "-c foo.x.c --coverage -fstack-usage -frandom-seed=1",
    "-c foo.c -isystem system -iquote include -idirafter include -include here.h",
    "-c foo.c -iprefix ./ -iwithprefix include -imacros include/there.h",
    "-c foo.c -isystemsystem -includehere.h -Isystem",
    "-S foo.c",
    "-S foo.c -o out/x.s -fverbose-asm",
    "-S -c foo.c -fstack-usage",
    "-c -x c odd",
    "-x none -x c++ -c foo.c -x c",
    "-c -xc++ foo.c -x none",
    "-c -x assembler-with-cpp start.S",
    "-c start.S -g",
    "-c plain.s",
    "-c foo.c -g -gsplit-dwarf",
    "-c foo.c -g -gsplit-dwarf -o out/foo.c.o",
    "-c foo.c -gsplit-dwarf -g -o out/x",
    "-c foo.c -g0 -g -g0",
    "-c foo.c -ggdb3 -gdwarf-4 -gz",
    "-c foo.c --coverage -frandom-seed=out/x.o -o out/x.o",
    "-c foo.c -fprofile-arcs -ftest-coverage -frandom-seed=1 -o out/x.y.o",
    "-c foo.c -ftest-coverage -frandom-seed=1",
    "-c foo.c -fprofile-arcs -frandom-seed=1",
    "-c foo.c -fprofile-generate -frandom-seed=1",
    "-c foo.c -fprofile-generate=prof -frandom-seed=1",
    "-S foo.c --coverage -frandom-seed=1 -o out/x.s",
    "-c foo.c -fstack-usage -o out/foo.c.o",
    "-c foo.c -flto -frandom-seed=1",
    "-c foo.c -fsanitize=address,undefined -fno-omit-frame-pointer -g",
    "-c foo.c -fsave-optimization-record -O2 -o out/x.o",
    "-c foo.c -flto -frandom-seed=1 -g -ffile-prefix-map=HERE=.",
    "-c foo.c -fsanitize=thread -fsanitize-coverage=trace-pc -fno-plt",
    "-c foo.c -fsanitize=undefined -fopenmp -pg -finstrument-functions -fdata-sections",
    "-c foo.c -fpatchable-function-entry=2 -fstack-protector-strong -fcf-protection -O3",
    "-c foo.c -ffile-prefix-map=HERE=. -g",
    "-c foo.c -fdebug-prefix-map=HERE=/src -fmacro-prefix-map=HERE=/src -g",
    "-c HERE/foo.c -IHERE/include -o HERE/out/x.o -g",
    "-c foo.c -Wa,--noexecstack -Wl,--as-needed -pthread -pipe",
    "-c foo.c -fdiagnostics-color -fdiagnostics-color=never",
    "-c warn.c -Wall -Wextra",
    "@words.rsp -c foo.c -o out/x.o",
    # Make rules.
    "-c foo.c -MD",
    "-c foo.c -MMD -o out/x.y.o",
    "-c foo.c -MD -o out/x -MP",
    "-c foo.c -MD -MF out/deps.d",
    "-c foo.c -MMD -MFout/deps.d -MT a -MQ $b -MTc -o out/x.o",
    "-c sub/bar.c -MD -MP",
    "-S foo.c -MD",
    "-S foo.c -MD -o out/x.s",
    "-c foo.c -MD -MT out/foo.c.o -MF out/foo.c.o.d -o out/foo.c.o",
    "-c foo.c -Wp,-MD,out/x.d",
    "-c foo.c -Wp,-MMD,out/.x.o.d -o out/x.o",
    "-c foo.c -Wp,-MD,out/x.d -MT other -MP -o out/x.o",
    "-c foo.c -Wp,-DA=1,-UB -Xpreprocessor -DB -Xassembler --noexecstack",
    "-c start.S -MD -o out/start.o",
    "-c plain.s -MD -g --coverage -fstack-usage",
    "-c ready.i -MD -MF out/ready.d -fstack-usage",
    "-S ready.ii -MD",
    "-c foo.c -o out/.x.o -MD -fstack-usage",
    "-c foo.c -MD --coverage -fstack-usage -g -gsplit-dwarf -frandom-seed=1 -o out/foo.c.o",
]
_OF_GCC = [
    "-c foo.c -gsplit-dwarf",
    "-c foo.c -gsplit-dwarf -g0",
    "-S foo.c -g -gsplit-dwarf",
    "-c foo.c -fcallgraph-info -o out/foo.c.o",
    "-c foo.c -fcallgraph-info=su,da",
    "-c foo.c -frecord-gcc-switches -g",
    "-c foo.c -frecord-gcc-switches",
    "-c foo.c -fanalyzer -fsplit-stack -fno-lto",
    "-c foo.c -fdiagnostics-plain-output",
    "-c foo.c -specs=HERE/include/empty.specs",
]
_OF_CLANG = [
    "-c foo.c -gsplit-dwarf",
    "-c foo.c -g -gsplit-dwarf -g0",
    "-c foo.c -g -gsplit-dwarf=single",
    "-c foo.c -g -gsplit-dwarf -gno-split-dwarf",
    "-c foo.c -gline-tables-only -fdebug-compilation-dir=.",
    "-c foo.c -g -ffile-compilation-dir=/x",
    "-c foo.c -fprofile-instr-generate -fcoverage-mapping",
    "-c foo.c -fcolor-diagnostics -Xclang -fcolor-diagnostics",
    "-c foo.c --target=x86_64-linux-gnu -Qunused-arguments",
    "-c foo.c -fno-integrated-as",
    "-c foo.c -flto=thin -O2",
    "-c foo.c -fxray-instrument -fbasic-block-sections=all -fstack-size-section",
    "-c foo.c -funique-internal-linkage-names -fpseudo-probe-for-profiling -O2",
    "-c foo.m -MD -o out/foo.m.o",
    "-c foo.c -fcrash-diagnostics-dir=out",
]
_OF_CPLUSPLUS = [
    "-c foo.cc -std=c++17 -MD",
    "-c foo.c -o out/x.o -fno-exceptions -fno-rtti",
    "-c -x c foo.c",
    "-c foo.cc -g -gsplit-dwarf --coverage -frandom-seed=1 -o out/foo.cc.o -MMD",
]
_NOT_FOR_GCC = {"-c foo.c -fsave-optimization-record -O2 -o out/x.o"}
_CASES = [
    *(("gcc", case) for case in [*_ALIKE, *_OF_GCC] if case not in _NOT_FOR_GCC),
    *(("clang", case) for case in [*_ALIKE, *_OF_CLANG]),
    *(("g++", case) for case in _OF_CPLUSPLUS),
    *(("clang++", case) for case in _OF_CPLUSPLUS),
]


def _lay_out(directory: Path) -> None:
    for name, content in _FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (directory / "include/empty.specs").write_text("")


def _run(compiler: str, arguments: tuple[str, ...], directory: Path) -> bytes:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run(
        [compiler, *arguments], cwd=directory, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


class Case:
    """A call that was made plainly in a fresh directory, and what is understood of it."""

    def __init__(self, compiler: str, text: str, directory: Path) -> None:
        self.compiler = compiler
        self.directory = directory
        self._start_again()
        self.pristine = _contents(directory)
        # Include directories come last, so that a case says which it wants first.
        words = text.replace("HERE", str(directory)).split()
        self.arguments = (*words, "-Iinclude")
        self.compilation = self._understood()
        _run(compiler, self.arguments, directory)
        self.written = {
            name: content
            for name, content in _contents(directory).items()
            if self.pristine.get(name) != content
        }

    def _understood(self) -> Compilation:
        invocation = Invocation((self.compiler, *self.arguments), str(self.directory), {})
        understood = understand(
            invocation,
            Family.CLANG if self.compiler.startswith("clang") else Family.GCC,
            is_cplusplus=self.compiler.endswith("++"),
            root=str(self.directory),
        )
        assert isinstance(understood, Compilation), understood
        return understood

    def _start_again(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        _lay_out(self.directory)

    def relative(self, path: str) -> str:
        return os.path.relpath(self.directory / path, self.directory)

    def again(self, arguments: tuple[str, ...]) -> bytes:
        """What a run in a fresh directory of the same name prints."""
        self._start_again()
        return _run(self.compiler, arguments, self.directory)


@pytest.fixture(params=_CASES, ids=lambda case: " ".join(case))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    compiler, text = request.param
    return Case(compiler, text, tmp_path / "checkout")


def test_a_call_is_understood_as_the_compiler_understands_it(case: Case) -> None:
    compilation = case.compilation
    object_name = case.relative(compilation.output)
    extra = {case.relative(path) for path in compilation.extra_outputs}
    depfile = compilation.depfile
    rules = {case.relative(depfile.path)} if depfile else set()
    assert case.written.keys() == {object_name, *extra, *rules}

    if depfile is not None:
        rule = case.again(depfile_arguments(compilation))
        assert rule == case.written[case.relative(depfile.path)]
    case.again(dependency_arguments(compilation))
    assert _contents(case.directory) == case.pristine

    view = View(str(case.directory), str(case.directory))
    case.again(compile_arguments(compilation, view, output=compilation.output))
    for name in (object_name, *extra):
        assert (case.directory / name).read_bytes() == case.written[name], name
    assert not any((case.directory / name).exists() for name in rules)


def test_S3_an_object_is_the_same_wherever_it_is_not_said_to_differ(case: Case) -> None:
    compilation = case.compilation
    object_name = case.relative(compilation.output)
    directory, output = case.directory, compilation.output
    if not compilation.carries_directory:
        directory = case.directory.with_name("elsewhere")
        _lay_out(directory)
    if not compilation.names_output:
        output = "out/of-another.name"
    view = View(str(case.directory), str(directory))
    _run(case.compiler, compile_arguments(compilation, view, output=output), directory)
    assert (directory / view.there(output)).read_bytes() == case.written[object_name]
    for path in compilation.extra_outputs:
        made = (directory / view.there(path)).read_bytes()
        assert made == case.written[case.relative(path)]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_all_headers_are_in_the_rule_whatever_the_depfile_leaves_out(
    compiler: str, tmp_path: Path
) -> None:
    case = Case(compiler, "-c foo.c -MMD -MP -MT other -isystem system", tmp_path / "checkout")
    rule = case.again(dependency_arguments(case.compilation)).decode()
    assert "stddef.h" in rule
    assert "include/here.h" in rule
    assert "other" not in rule


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_diagnostics_of_the_compile_have_colours_and_the_scan_is_silent(
    compiler: str, tmp_path: Path
) -> None:
    text = "-c warn.c -Wall -Wextra -fdiagnostics-color=never"
    case = Case(compiler, text, tmp_path / "checkout")
    assert case.compilation.asks_for_colour is False
    view = View(str(case.directory), str(case.directory))
    arguments = compile_arguments(case.compilation, view, output="out/warn.o")
    done = subprocess.run(
        [compiler, *arguments], cwd=case.directory, capture_output=True, check=True
    )
    assert b"\x1b[" in done.stderr
    scan = [compiler, *dependency_arguments(case.compilation)]
    done = subprocess.run(scan, cwd=case.directory, capture_output=True, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++", "clang++"])
@pytest.mark.parametrize(
    "text", ["-c foo.c -O2 -DX=1 -include here.h", "-c foo.c -O1 -o out/x.o", "-c start.S"]
)
def test_D1_a_preprocessed_source_makes_the_same_code(
    compiler: str, text: str, tmp_path: Path
) -> None:
    case = Case(compiler, text, tmp_path / "checkout")
    compilation = case.compilation
    preprocessed = case.again(preprocess_arguments(compilation))
    suffix = {"assembler-with-cpp": "s", "c++": "ii"}.get(compilation.language, "i")
    source = case.directory / f"alone.{suffix}"
    source.write_bytes(preprocessed)
    for header in ("include", "system"):
        shutil.rmtree(case.directory / header)
    view = View(str(case.directory), str(case.directory))
    arguments = compile_preprocessed_arguments(
        compilation, view, source=source.name, output=compilation.output
    )
    _run(compiler, arguments, case.directory)
    assert (case.directory / compilation.output).read_bytes() == case.written[compilation.output]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_S3_a_checkout_elsewhere_makes_the_same_object_where_the_view_says(
    compiler: str, tmp_path: Path
) -> None:
    text = "-c HERE/sub/bar.c -IHERE/system -g -ffile-prefix-map=HERE=. -o out/bar.o"
    case = Case(compiler, text, tmp_path / "checkout")
    assert not case.compilation.carries_directory
    elsewhere = tmp_path / "somewhere/else"
    _lay_out(elsewhere)
    view = View(str(case.directory), str(elsewhere))
    shutil.rmtree(case.directory)
    _run(compiler, compile_arguments(case.compilation, view, output="out/bar.o"), elsewhere)
    assert (elsewhere / "out/bar.o").read_bytes() == case.written["out/bar.o"]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    "text",
    ["-c foo.c -g", "-c foo.c --coverage -frandom-seed=1", "-c foo.c -g -fmacro-prefix-map=HERE=."],
)
def test_what_carries_its_directory_differs_elsewhere(
    compiler: str, text: str, tmp_path: Path
) -> None:
    one, two = (Case(compiler, text, tmp_path / name) for name in ("one", "two"))
    assert one.compilation.carries_directory
    assert one.written["foo.o"] != two.written["foo.o"]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    "options", ["-g -gsplit-dwarf", "--coverage -frandom-seed=1", "-fprofile-generate"]
)
def test_what_names_its_output_may_differ_by_it(
    compiler: str, options: str, tmp_path: Path
) -> None:
    case = Case(compiler, f"-c foo.c {options} -o out/x.o", tmp_path / "checkout")
    assert case.compilation.names_output
    assert not Case(compiler, "-c foo.c -g", tmp_path / "checkout").compilation.names_output
