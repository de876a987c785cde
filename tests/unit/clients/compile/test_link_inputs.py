"""What a link may read, by what its driver prints and what is on disk."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reapi.clients.compile.calls import Call
from reapi.clients.compile.compilers import Compilers
from reapi.clients.compile.directory_states import DirectoryStates
from reapi.clients.compile.file_states import FileStates
from reapi.clients.compile.hits import Hits
from reapi.clients.compile.keeping import Keeping
from reapi.clients.compile.link_inputs import link_inputs
from reapi.clients.compile.local_cache import LocalCache
from reapi.clients.compile.model import Invocation
from reapi.clients.compile.search_path import SearchPath
from reapi.clients.compile.understanding import Understanding
from reapi.core.digest import SHA256, Digest
from reapi.core.errors import FailedPrecondition

Find = Callable[[str], set[str]]


@pytest.fixture
async def find(tmp_path: Path) -> Find:
    """The names of the inputs in the directory of a link, by what is printed of it."""
    (tmp_path / "main.o").write_bytes(b"\x7fELF")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    files = FileStates(SHA256)

    def digest_of(path: str) -> Digest:
        digest = files.digest(path)
        assert digest is not None
        return digest

    environment = {
        "PATH": os.environ["PATH"],
        "REAPI_CC_LINK": "1",
        "REAPI_CC_ROOT": str(tmp_path),
    }
    invocation = Invocation(("gcc", "main.o", "-o", "app"), str(tmp_path), environment)
    call = await Understanding(Compilers(digest_of)).of(invocation)
    assert isinstance(call, Call)
    cache = LocalCache(tmp_path / "cache", 1 << 20, SHA256)
    hits = Hits(Keeping(cache), files, DirectoryStates())
    search = SearchPath((), (f"{tmp_path}/first", f"{tmp_path}/second"), (), ())

    def found(printed: str) -> set[str]:
        paths = link_inputs(call, search, printed.encode(), hits, files)
        return {
            path.removeprefix(f"{tmp_path}/") for path in paths if path.startswith(f"{tmp_path}/")
        }

    return found


def test_libraries_and_files_of_the_linkers_command_are_inputs_and_its_output_is_not(
    find: Find, tmp_path: Path
) -> None:
    for name in ("app", "start.o", "second/libx.a", "first/libx.so.5", "list.syms", "third/liby.a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"!<arch>\n")
    printed = 'Using specs.\n "/usr/bin/ld" "-o" "app" "start.o" -lx "--dynamic-list=list.syms"'
    expected = {"main.o", "start.o", "second/libx.a", "list.syms"}
    assert find(printed) == expected
    assert find(f"{printed} -Lthird -l:liby.a") == {*expected, "third/liby.a"}


def test_what_linker_scripts_name_is_found_in_its_turn(find: Find, tmp_path: Path) -> None:
    (tmp_path / "first/libx.so").write_text(
        f"/* libno.a */ INPUT({tmp_path}/z.a -ly,AS_NEEDED(w.a))"
    )
    (tmp_path / "second/liby.so").write_text("GROUP ( libv.a )")
    for name in ("z.a", "second/w.a", "second/libv.a", "second/libno.a"):
        (tmp_path / name).write_bytes(b"!<arch>\n")
    expected = {"main.o", "first/libx.so", "second/liby.so", "z.a", "second/w.a", "second/libv.a"}
    assert find(" ld -lx") == expected


def test_what_shared_libraries_need_is_found_in_its_turn(find: Find, tmp_path: Path) -> None:
    for name, needs in (("inner", ()), ("outer", ("-Lsecond", "-linner", "-Wl,--no-as-needed"))):
        words = ["-shared", f"-Wl,-soname,lib{name}.so.1", "-o", f"second/lib{name}.so"]
        subprocess.run(["gcc", *words, *needs[::-1]], cwd=tmp_path, check=True)
    (tmp_path / "second/libinner.so").rename(tmp_path / "first/libinner.so.1")
    assert find(" ld -louter") == {"main.o", "second/libouter.so", "first/libinner.so.1"}


def test_words_of_other_files_are_no_names(find: Find, tmp_path: Path) -> None:
    (tmp_path / "exports.map").write_text("{ global: first_function; libx.a; };")
    (tmp_path / "first/libx.a").write_bytes(b"!<arch>\n")
    assert find(" ld --version-script=exports.map") == {"main.o", "exports.map"}


def test_a_command_that_cannot_be_read_tells_nothing(find: Find) -> None:
    with pytest.raises(FailedPrecondition):
        find(' "/usr/bin/ld" "main.o')
