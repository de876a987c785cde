"""What programs load, read from the programs of this machine and from files made up."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from reapi.clients.compile.elf import NotAProgram, interpreter, loaded_files, needed_libraries


def test_the_loader_and_all_libraries_are_found() -> None:
    program = os.path.realpath(sys.executable)
    files = loaded_files(program, {})
    assert files[0] == interpreter(program)
    assert any(os.path.basename(path).startswith("libc.") for path in files)
    assert all(os.path.isfile(path) for path in files)


def test_a_library_by_the_search_path_of_the_caller_is_the_one(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    (tmp_path / "libmine.c").write_text("int mine(void) { return 0; }\n")
    (tmp_path / "main.c").write_text("int mine(void); int main(void) { return mine(); }\n")
    library = [compiler, "-shared", "-o", "libmine.so", "libmine.c"]
    subprocess.run(library, cwd=tmp_path, check=True)
    subprocess.run([compiler, "main.c", "-o", "main", "-L.", "-lmine"], cwd=tmp_path, check=True)
    program = str(tmp_path / "main")
    with pytest.raises(NotAProgram, match="cannot be loaded"):
        loaded_files(program, {})
    files = loaded_files(program, {"LD_LIBRARY_PATH": str(tmp_path)})
    assert str(tmp_path / "libmine.so") in files


def elf(*, is_wide: bool, order: str, name: bytes | None) -> bytes:
    """A file that has the headers of a program, and nothing else."""
    size = 56 if is_wide else 32
    start = 64 if is_wide else 52
    header = bytearray(64 if is_wide else 52)
    header[:6] = b"\x7fELF" + bytes((2 if is_wide else 1, 1 if order == "<" else 2))
    struct.pack_into(order + ("Q" if is_wide else "I"), header, 32 if is_wide else 28, start)
    struct.pack_into(order + "HH", header, 54 if is_wide else 42, size, 2)
    other = bytes(size)
    text = (name or b"") + b"\0"
    place = start + 2 * size
    kind = 3 if name is not None else 1
    if is_wide:
        program = struct.pack(order + "IIQQQQ", kind, 0, place, 0, 0, len(text)).ljust(size, b"\0")
    else:
        program = struct.pack(order + "IIIII", kind, place, 0, 0, len(text)).ljust(size, b"\0")
    return bytes(header) + other + program + text


@pytest.mark.parametrize("is_wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_programs_of_all_machines_name_their_loader(
    tmp_path: Path, is_wide: bool, order: str
) -> None:
    path = tmp_path / "program"
    path.write_bytes(elf(is_wide=is_wide, order=order, name=b"/lib/ld.so"))
    assert interpreter(str(path)) == "/lib/ld.so"
    path.write_bytes(elf(is_wide=is_wide, order=order, name=None))
    assert interpreter(str(path)) is None
    assert loaded_files(str(path), {}) == []


@pytest.mark.parametrize("content", [b"#!/bin/sh\n", b"", b"\x7fELF", b"\x7fELF" + bytes(40)])
def test_what_is_no_program_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "program"
    path.write_bytes(content)
    with pytest.raises(NotAProgram, match=str(path)):
        interpreter(str(path))


@pytest.mark.parametrize("is_wide", [True, False])
def test_a_program_that_was_cut_short_has_no_loader(tmp_path: Path, is_wide: bool) -> None:
    path = tmp_path / "program"
    whole = elf(is_wide=is_wide, order="<", name=b"/lib/ld.so")
    for length in range(52 if not is_wide else 64, len(whole) - len(b"/lib/ld.so") - 1):
        path.write_bytes(whole[:length])
        assert interpreter(str(path)) in (None, "")


def test_a_program_whose_loader_is_not_here_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(elf(is_wide=True, order="<", name=b"/absent/ld.so"))
    with pytest.raises(NotAProgram, match="cannot be run"):
        loaded_files(str(path), {})


def test_a_library_tells_what_it_needs_and_where_that_may_be(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    (tmp_path / "libone.c").write_text("int one(void) { return 1; }\n")
    (tmp_path / "libtwo.c").write_text("int one(void); int two(void) { return one(); }\n")
    shared = [compiler, "-shared", "-fPIC", "-L."]
    subprocess.run([*shared, "libone.c", "-o", "libone.so"], cwd=tmp_path, check=True)
    path = "-Wl,-rpath,$ORIGIN/below:/opt"
    made = [*shared, "libtwo.c", "-lone", "-o", "libtwo.so", path]
    subprocess.run(made, cwd=tmp_path, check=True)
    names, directories = needed_libraries(str(tmp_path / "libtwo.so"))
    assert names[0] == "libone.so"
    assert directories == [f"{os.path.realpath(tmp_path)}/below", "/opt"]


@pytest.mark.parametrize("kept_bytes", [0, 20, 51, 80])
def test_a_library_that_is_cut_off_is_refused_or_needs_nothing(
    tmp_path: Path, kept_bytes: int
) -> None:
    whole = Path(os.path.realpath(sys.executable)).read_bytes()
    (tmp_path / "cut").write_bytes(whole[:kept_bytes])
    if kept_bytes < 64:
        with pytest.raises(NotAProgram, match="cut"):
            needed_libraries(str(tmp_path / "cut"))
    else:
        assert needed_libraries(str(tmp_path / "cut")) == ([], [])
