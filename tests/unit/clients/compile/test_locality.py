"""Which calls of a compiler stay on this machine, and what their users are told."""

from typing import Any

import pytest

from reapi.clients.compile.model import Family
from tests.unit.clients.compile.calls import BOTH, ROOT, compilation, local


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "-v",
        "--version",
        "-c --version foo.c",
        "-dumpversion",
        "-dumpmachine",
        "-print-file-name=libc.a",
        "-print-search-dirs",
        "--print-multiarch",
        "--help",
        "--help=warnings -Q",
        "-### -c foo.c",
        "-O2 -march=native -o foo",
    ],
)
def test_J5_questions_are_answered_at_once(text: str, family: Family) -> None:
    assert not local(text, family).is_work


_STAYS = [
    ("foo.c", "it links"),
    ("foo.o -o foo", "it links"),
    ("foo.c bar.c -o foo -unknown", "it links"),
    ("-E foo.c", "only preprocesses"),
    ("-E -dM -c foo.c", "only preprocesses"),
    ("-M foo.c", "only preprocesses"),
    ("-MM -MF x.d foo.c", "only preprocesses"),
    ("-c foo.c bar.c", "several sources"),
    ("-c foo.c bar.o", "several sources"),
    ("-c -", "stdin"),
    ("-c -x c - -o foo.o", "stdin"),
    ("-c foo.c -o a.o -o b.o", "several outputs"),
    ("-c foo.c -o -", "prints"),
    ("-c foo.c -o /dev/null", "/dev/null"),
    ("-c foo.c -MD -MF /dev/null", "/dev/null"),
    ("-c foo.c -MD -MF -", "prints its make rule"),
    ("-c foo.c -o out/", "no name"),
    ("-c foo.c -o out/.x", "disagree"),
    ("-c foo.c -save-temps", "-save-temps"),
    ("-c foo.c -save-temps=obj", "-save-temps"),
    ("-c foo.c --save-temps", "-save-temps"),
    ("-c foo.c -fdump-tree-all", "dumps"),
    ("-c foo.c -fdump-rtl-expand=x", "dumps"),
    ("-c foo.c -da", "dumps"),
    ("-c foo.c -dP", "dumps"),
    ("-c foo.c -dumpbase x", "dumps"),
    ("-c foo.cc -fmodules-ts", "modules"),
    ("-c foo.cc -fmodules", "modules"),
    ("-c foo.cc -fcxx-modules", "modules"),
    ("-c foo.cc -fmodule-mapper=x", "modules"),
    ("-c foo.cc -fmodule-file=x.pcm", "modules"),
    ("-c foo.cc -fprebuilt-module-path=x", "modules"),
    ("-c -x c++-module foo.cc", "modules"),
    ("-c foo.cppm", "modules"),
    ("-c foo.ixx", "modules"),
    ("-c foo.h", "precompiled header"),
    ("-c -x c++-header foo.hpp -o foo.gch", "precompiled header"),
    ("-c foo.c -include-pch x.pch", "precompiled header"),
    ("-c foo.c -fpch-preprocess", "precompiled header"),
    ("-c foo.c -fprofile-use", "profile"),
    ("-c foo.c -fprofile-use=dir", "profile"),
    ("-c foo.c -fauto-profile", "profile"),
    ("-c foo.c -fbranch-probabilities", "profile"),
    ("-c foo.c -ftime-report", "reports"),
    ("-c foo.c -ftime-trace=x", "reports"),
    ("-c foo.c -H", "reports"),
    ("-c foo.c -Q", "reports"),
    ("-c foo.c -v", "-v"),
    ("-c foo.c -march=native", "-march=native means this machine"),
    ("-c foo.c -mcpu=native", "native"),
    ("-c foo.c -mtune=native", "native"),
    ("-c foo.c -march=native+crc", "native"),
    ("-c foo.c -Wa,-march=native", "not known"),
    ("-c foo.c -wrapper gdb,--args", "wrapper"),
    ("-c foo.c -I- -Ix", "-I-"),
    ("-c foo.c -fworking-directory", "working directory"),
    ("-c foo.c -fsyntax-only", "no object"),
    ("-c foo.c -specs=nano.specs", "several places"),
    ("-c foo.c -fplugin=name", "several places"),
    ("-c foo.c -gtoggle", "-gtoggle"),
    ("-c foo.c -Wa,-ahl=foo.lst", "not known"),
    ("-c foo.c -Wa,-I,dir", "not known"),
    ("-c foo.c -Wp,-MD", "not known"),
    ("-c foo.c -Wp,-include,x.h", "not known"),
    ("-c foo.c -Xassembler -a=x", "not known"),
    ("-c foo.c -Xpreprocessor -MD", "not known"),
    ("-c foo.c -fno-such-thing-as-this", "-fno-such-thing-as-this is not known"),
    ("-c foo.c -fvisibility=/x", "not known"),
    ("-c foo.c -gnonsense", "-gnonsense is not known"),
    ("-c foo.c --such-is-unknown", "--such-is-unknown is not known"),
    ("-c foo.c -ffile-prefix-map=a=b=c", "not known"),
    ("-c foo.c -ffile-prefix-map=a", "not known"),
    ("-c foo.c -o", "-o is not known"),
    ("-c foo.c -fdiagnostics-format=json-file", "diagnostics to a file"),
    ("-c foo.c -fdiagnostics-color=sometimes", "not known"),
    ("-c foo.c -MG -MD", "-MG"),
    ("-c foo.c -MP", "make rule"),
    ("-c foo.c -MF x.d", "make rule"),
    ("-c foo.c -MD -MMD", "with and without"),
    ("-c foo.c -MD -MF a -MF b", "several make rules"),
    ("-c foo.c -Wp,-MD,a -MD", "several make rules"),
    ("-c foo.c -Wp,-MD,a -Wp,-MMD,b", "with and without"),
    ("-c foo", "language"),
    ("-c foo.unknown", "language"),
    ("-c -x f95 foo.c", "language"),
    ("-c -x c -x none foo.unknown", "language"),
    ("-c foo.ll", "language"),
    ("-c @absent", "language"),
    ("-S foo.s", "assembler"),
    ("-c conftest.c", "check of a configuration"),
    ("-c conftest1.cpp", "check of a configuration"),
    ("-c build/CMakeFiles/CMakeScratch/TryCompile-x/src.c", "check of a configuration"),
    ("-c build/CMakeFiles/CMakeTmp/src.c", "check of a configuration"),
    ("-c CMakeTmp/src.c", "check of a configuration"),
    ("-c CMakeFiles/3.25.1/CompilerIdC/CMakeCCompilerId.c", "check of a configuration"),
    ("-c meson-private/tmpabc/testfile.c", "check of a configuration"),
    ("-c /tmp/foo.c", "below /tmp"),
    ("-c ../../../tmp/x/foo.c", "below /tmp"),
    ("-c /var/tmp/foo.c", "below /var/tmp"),
]


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize(("text", "reason"), _STAYS)
def test_J5_what_must_stay_here_says_why(text: str, reason: str, family: Family) -> None:
    stays = local(text, family)
    assert stays.is_work
    assert reason in stays.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-c foo.c -arch x86_64 -arch arm64", "several -arch"),
        ("-c foo.c -mllvm -stats", "-mllvm"),
        ("-c foo.c -Xclang -include-pch -Xclang x.pch", "-Xclang -include-pch is not known"),
        ("-c foo.c -Xclang -load -Xclang x.so", "not known"),
        ("-c foo.c -frecord-command-line", "names the whole command"),
        ("-c foo.c -grecord-gcc-switches", "names the whole command"),
        ("-S foo.c -g -gsplit-dwarf", "-gsplit-dwarf"),
        ("-c foo.c -emit-llvm", "no object"),
        ("--analyze -c foo.c", "no object"),
        ("-c foo.cc --precompile", "modules"),
        ("-c foo.c --config x.cfg", "configuration file"),
        ("-c foo.sx", "language"),
        ("-c foo.c -MJ x.json", "-MJ is not known"),
        ("-c foo.c -gen-reproducer", "not known"),
    ],
)
def test_J5_what_only_clang_says_stays_here_too(text: str, reason: str) -> None:
    assert reason in local(text, Family.CLANG).reason


@pytest.mark.parametrize(
    "name", ["DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "CCC_OVERRIDE_OPTIONS"]
)
def test_variables_that_make_a_compiler_do_more_keep_it_here(name: str) -> None:
    assert name in local("-c foo.c", environment={name: "x"}).reason


def test_J5_a_source_of_the_project_that_CMake_only_tries_to_compile_stays_here() -> None:
    directory = f"{ROOT}/build/checks/CMakeFiles/CMakeTmp"
    assert "configuration" in local(f"-c {ROOT}/checks/abi.cc", directory=directory).reason


def test_a_checkout_in_a_temporary_directory_may_go() -> None:
    call: dict[str, Any] = {"directory": "/tmp/checkout/build", "root": "/tmp/checkout"}
    assert compilation("-c ../foo.c", **call).source == "../foo.c"
    assert "below /tmp" in local("-c ../../foo.c", **call).reason
    assert "configuration" in local("-c conftest.c", **call).reason
    environment = {"TMPDIR": "/scratch/me"}
    stays = local("-c /scratch/me/x.c", environment=environment)
    assert "below /scratch/me" in stays.reason
    compilation("-c /scratch/meal/x.c", environment=environment)
    compilation("-c /tmpfs/x.c")
