"""What a call of a C or C++ compiler asks for."""

import pytest

from reapi.clients.compile.command_lines import (
    compile_arguments,
    compile_preprocessed_arguments,
    preprocess_arguments,
)
from reapi.clients.compile.model import CANONICAL_ROOT, Depfile, Family, View, Word
from tests.unit.clients.compile.calls import BOTH, ROOT, compilation


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize(
    ("text", "language", "language_in_cplusplus"),
    [
        ("foo.c", "c", "c++"),
        ("foo.i", "cpp-output", "c++-cpp-output"),
        ("foo.m", "objective-c", "objective-c"),
        ("foo.mm", "objective-c++", "objective-c++"),
        ("foo.M", "objective-c++", "objective-c++"),
        ("foo.C", "c++", "c++"),
        ("dir.c/foo.c++", "c++", "c++"),
        ("foo.bar.cpp", "c++", "c++"),
        ("foo.ii", "c++-cpp-output", "c++-cpp-output"),
        ("foo.s", "assembler", "assembler"),
        ("foo.S", "assembler-with-cpp", "assembler-with-cpp"),
        ("-xc foo.cc", "c", "c"),
        ("-x c++ foo", "c++", "c++"),
        ("-x c -x none foo.cc -x c", "c++", "c++"),
        ("-x c++ -x c foo -x c++", "c", "c"),
    ],
)
def test_the_language_is_that_of_the_drivers(
    text: str, language: str, language_in_cplusplus: str, family: Family
) -> None:
    assert compilation(f"-c {text}", family).language == language
    call = compilation(f"-c {text}", family, is_cplusplus=True)
    assert call.language == language_in_cplusplus


def test_only_the_language_that_the_source_obeys_is_kept() -> None:
    call = compilation("-x c++ -O2 -xc -c -x c++ -x c foo -x assembler")
    assert [str(word) for word in call.words] == ["-O2", "-c", "-x", "c"]
    view = View(ROOT, ROOT)
    assert compile_arguments(call, view, output="x.o")[-3:] == ("-o", "x.o", "foo")


def test_paths_are_told_from_other_words() -> None:
    call = compilation(
        "-c -I/a/inc -I dir -isystem /s -include/x.h -imacros y.h -B/b --sysroot=/r --sysroot /q "
        "-D/not/a/path -DX=/neither -ffile-prefix-map=/a=/b -fdebug-prefix-map=c= -I=/below -Lp "
        "-specs=/x/y.specs -fplugin=./p.so -iwithprefix include foo.c"
    )
    assert call.words == (
        Word("-c"),
        Word("-I", "/a/inc"),
        Word("-I"),
        Word("", "dir"),
        Word("-isystem"),
        Word("", "/s"),
        Word("-include", "/x.h"),
        Word("-imacros"),
        Word("", "y.h"),
        Word("-B", "/b"),
        Word("--sysroot=", "/r"),
        Word("--sysroot"),
        Word("", "/q"),
        Word("-D/not/a/path"),
        Word("-DX=/neither"),
        Word("-ffile-prefix-map=", "/a", "=/b"),
        Word("-fdebug-prefix-map=", "c", "="),
        Word("-I=/below"),
        Word("-L", "p"),
        Word("-specs=", "/x/y.specs"),
        Word("-fplugin=", "./p.so"),
        Word("-iwithprefix"),
        Word("include"),
    )
    assert call.input_files == ("/x/y.specs", "./p.so")


def test_files_that_clang_reads_beside_the_source_are_inputs() -> None:
    call = compilation(
        "-c foo.c -fprofile-use=/p/code.profdata -fsanitize=address "
        "-fsanitize-ignorelist=list.txt -fprofile-sample-use=x.prof",
        Family.CLANG,
    )
    assert call.input_files == ("/p/code.profdata", "list.txt", "x.prof")
    assert Word("-fprofile-use=", "/p/code.profdata") in call.words


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize(
    ("text", "depfile"),
    [
        ("-MD", Depfile("foo.d", False, ("-MQ", "foo.o"))),
        ("-MMD -o o/x.y.o", Depfile("o/x.y.d", True, ("-MQ", "o/x.y.o"))),
        ("-MD -oo/x -MFd -MP", Depfile("d", False, ("-MP", "-MQ", "o/x"))),
        ("-MD -MT a -MQb -MP", Depfile("foo.d", False, ("-MT", "a", "-MQb", "-MP"))),
        ("-Wp,-MMD,.d", Depfile(".d", True, ("-MQ", "foo.o"))),
        ("-O2", None),
    ],
)
def test_the_make_rule_is_told_whole(text: str, depfile: Depfile | None, family: Family) -> None:
    call = compilation(f"{text} -c src/foo.c", family)
    assert call.depfile == depfile
    assert {str(word) for word in call.words} <= {"-c", "-O2"}


def test_the_front_end_of_gcc_does_not_know_the_output_that_a_rule_is_for() -> None:
    text = "-Wp,-MD,d -c src/foo.c -o out/x.o"
    expected = {Family.GCC: "foo.o", Family.CLANG: "out/x.o"}
    for family in BOTH:
        depfile = compilation(text, family).depfile
        assert depfile == Depfile("d", False, ("-MQ", expected[family]))


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize(
    ("options", "colour"),
    [
        ("", None),
        ("-fdiagnostics-color", True),
        ("-fdiagnostics-color=always", True),
        ("-fdiagnostics-color=always -fno-diagnostics-color", False),
        ("-fdiagnostics-color=never", False),
        ("-fdiagnostics-color -fdiagnostics-color=auto", None),
    ],
)
def test_what_is_said_of_colours_is_no_part_of_the_words(
    options: str, colour: bool | None, family: Family
) -> None:
    call = compilation(f"-c foo.c {options}", family)
    assert call.asks_for_colour is colour
    assert call.words == (Word("-c"),)


def test_each_family_has_colour_options_of_its_own() -> None:
    call = compilation("-c foo.c -fno-color-diagnostics -fcolor-diagnostics", Family.CLANG)
    assert (call.asks_for_colour, call.words) == (True, (Word("-c"),))
    call = compilation("-c foo.c -Xclang -fcolor-diagnostics", Family.CLANG)
    assert call.asks_for_colour is True
    call = compilation("-c foo.c -fdiagnostics-plain-output")
    assert call.asks_for_colour is False
    assert Word("-fdiagnostics-plain-output") in call.words


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize(
    ("options", "carries"),
    [
        ("", False),
        ("-g", True),
        ("-g0", False),
        ("-g -O2 -g0", False),
        ("-g0 -ggdb", True),
        ("-gdwarf-4", True),
        ("-gz -gno-column-info", False),
        ("-g -gno-strict-dwarf", True),
        ("--coverage", True),
        ("-fprofile-generate", True),
        ("--coverage -ffile-prefix-map=DIRECTORY=.", True),
        ("-g -ffile-prefix-map=DIRECTORY=.", False),
        ("-g -fdebug-prefix-map=ROOT=/src", False),
        ("-g -fmacro-prefix-map=DIRECTORY=.", True),
        # What is left of the directory would name the user.
        ("-g -fdebug-prefix-map=/home=/src", True),
        ("-g -fdebug-prefix-map=ROOT=/src -fdebug-prefix-map=/home=/x", True),
        ("-g -fdebug-prefix-map=DIRECT=/src", True),
        ("-g -fdebug-prefix-map=/other=/src", True),
    ],
)
def test_S3_what_carries_the_directory_is_known(
    options: str, carries: bool, family: Family
) -> None:
    directory = f"{ROOT}/build"
    text = options.replace("DIRECTORY", directory).replace("ROOT", ROOT)
    text = text.replace("DIRECT", directory[:-2])
    call = compilation(f"-c foo.c {text}", family, directory=directory, root=ROOT)
    assert call.carries_directory is carries


def test_S3_another_name_of_the_directory_must_be_mapped_too() -> None:
    text = f"-c foo.c -g -ffile-prefix-map={ROOT}=."
    assert not compilation(text, environment={"PWD": ROOT}).carries_directory
    assert compilation(text, environment={"PWD": "/home/link"}).carries_directory
    assert compilation(text.replace("foo.c", "foo.S")).carries_directory


def test_clang_can_be_told_the_directory() -> None:
    for option in (
        "-fdebug-compilation-dir=.",
        "-fdebug-compilation-dir .",
        "-ffile-compilation-dir=/",
    ):
        assert not compilation(f"-c foo.c -g {option}", Family.CLANG).carries_directory
    text = "-c foo.c -fcoverage-mapping -fprofile-instr-generate -ffile-compilation-dir=."
    assert compilation(text, Family.CLANG).carries_directory


def test_S3_absolute_paths_below_the_root_follow_the_view() -> None:
    call = compilation(
        f"-c {ROOT}/a/foo.c -I{ROOT}/inc -isystem {ROOT} -I{ROOT}ish -D{ROOT} "
        f"-ffile-prefix-map={ROOT}=. -g -Irelative"
    )
    view = View(ROOT, CANONICAL_ROOT)
    assert compile_arguments(call, view, output="a/foo.o") == (
        "-c",
        "-I/reapi/root/inc",
        "-isystem",
        "/reapi/root",
        f"-I{ROOT}ish",
        f"-D{ROOT}",
        "-ffile-prefix-map=/reapi/root=.",
        "-g",
        "-Irelative",
        "-fdiagnostics-color=always",
        "-o",
        "a/foo.o",
        "/reapi/root/a/foo.c",
    )


def test_a_preprocessed_source_needs_nothing_of_the_preprocessor() -> None:
    call = compilation(
        "-c -x c++ foo -I inc -isystemsys -DX -D Y -include x.h -Wp,-DZ -O2 -std=c++20 -MD"
    )
    assert preprocess_arguments(call)[-2:] == ("-E", "foo")
    arguments = compile_preprocessed_arguments(
        call, View(ROOT, ROOT), source="foo.ii", output="foo.o"
    )
    assert arguments == (
        *("-c", "-O2", "-std=c++20", "-fdiagnostics-color=always"),
        *("-o", "foo.o", "-x", "c++-cpp-output", "foo.ii"),
    )
