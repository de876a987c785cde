"""What is told to linkers, and what of that is understood."""

import pytest

from reapi.clients.compile.linker_options import linker_options, linker_words


def test_words_come_from_all_that_pass_them_on() -> None:
    words = ["-O2", "-Wl,-rpath", "-Wl,/opt/lib", "-Xlinker", "-z", "-Xlinker", "now", "a.o"]
    assert list(linker_words(words)) == ["-rpath", "/opt/lib", "-z", "now"]


def test_files_directories_and_libraries_are_told() -> None:
    words = "--version-script=a.map -rpath-link x:y -rpath /z -lone -l:two.a --dynamic-list b"
    found = linker_options(words.split())
    assert found.files == ["a.map", "b"]
    assert found.directories == ["x", "y", "/z"]
    assert found.libraries == ["libone.so", "libone.a", "two.a"]
    assert found.unknown is None


@pytest.mark.parametrize(
    "words",
    [
        *("-Map=x", "-Map x", "-M", "-t", "--trace", "--verbose", "--help", "-help", "--version"),
        *("-T x", "--script=x", "-R x", "--just-symbols=x", "-L x", "x.o", "-plugin x", "@x"),
        *("--build-id=uuid", "--out-implib=x", "--dependency-file=x", "--cref", "--stats"),
        *("-mllvm x", "--lto-obj-path=x", "--save-temps", "--reproduce=x", "--print-map", "-o x"),
        *("--gdb-index", "--plugin-opt=x", "-l/x", "--thinlto-index-only", "-r", "--oformat=x"),
    ],
)
def test_what_may_read_or_write_another_file_is_not_understood(words: str) -> None:
    assert linker_options(words.split()).unknown is not None


@pytest.mark.parametrize(
    "words",
    [
        *("-O1", "-O", "-z now", "-znow", "-zmax-page-size=65536", "-m elf_i386", "-melf_x86_64"),
        *("-soname libx.so.1", "-h libx.so.1", "--hash-style=gnu", "--start-group --end-group"),
        *("--build-id", "--build-id=sha1", "-E", "-s", "--defsym=a=b", "-u main", "--threads=4"),
    ],
)
def test_what_reads_and_writes_nothing_else_is_understood(words: str) -> None:
    assert linker_options(words.split()).unknown is None
