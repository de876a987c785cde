"""Which crates count for a compile, and what stands where another would have been found."""

from pathlib import Path

import pytest

from reapi.clients.compile.crate_lookups import CrateLookups
from reapi.clients.compile.crates import Crates, UnknownCrate
from reapi.clients.compile.file_states import FileStates
from reapi.clients.compile.model import Depfile, Family, View
from reapi.clients.compile.rustc_arguments import RustCompilation

A, B, C, D = (f"-{digit * 16}" for digit in "abcd")


@pytest.fixture
def crates() -> Crates:
    return Crates(FileStates())


def make(directory: Path, name: str, *needs: str) -> str:
    path = directory / name
    path.write_bytes(b"\0rust\x01" + b"\xc1".join(need.encode() for need in needs) + b"\xc1")
    return str(path)


def test_a_closure_has_all_that_the_named_crates_were_made_of(
    crates: Crates, tmp_path: Path
) -> None:
    top = make(tmp_path, f"libtop{A}.rmeta", "middle", B)
    middle = make(tmp_path, f"libmiddle{B}.rlib", "bottom", C)
    bottom = make(tmp_path, f"libbottom{C}.rmeta")
    make(tmp_path, f"libbottom{C}.rlib")
    make(tmp_path, f"libother{D}.rmeta", B)
    closure = crates.closure([top], [str(tmp_path), str(tmp_path / "absent")], made=[])
    assert closure.files == tuple(sorted([top, middle, bottom]))
    assert closure.macros == ()


def test_a_crate_is_in_the_closure_wherever_it_may_be_found(crates: Crates, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    top = make(tmp_path, f"libtop{A}.rmeta", B)
    both = [make(place, f"libmiddle{B}.rmeta") for place in (tmp_path, tmp_path / "more")]
    closure = crates.closure([top], [str(tmp_path), str(tmp_path / "more")], made=[])
    assert closure.files == tuple(sorted([top, *both]))


def test_crates_without_a_suffix_always_count_but_for_what_is_made(
    crates: Crates, tmp_path: Path
) -> None:
    plain = make(tmp_path, "libplain.rlib")
    made = make(tmp_path, "libmade.rmeta")
    make(tmp_path, "libforeign.so")
    closure = crates.closure([], [str(tmp_path)], made=[made])
    assert closure.files == (plain,)


def test_libraries_of_macros_are_whole_and_others_are_unknown(
    crates: Crates, tmp_path: Path
) -> None:
    macros = make(tmp_path, f"libmacros{A}.so", "__rustc_proc_macro_decls_1__", B)
    make(tmp_path, f"libneeded{B}.rlib")
    closure = crates.closure([macros], [str(tmp_path)], made=[])
    assert closure.files == closure.macros == (macros,)
    dylib = make(tmp_path, f"libdynamic{C}.so")
    with pytest.raises(UnknownCrate, match="dylib"):
        crates.closure([dylib], [str(tmp_path)], made=[])


def test_a_changed_crate_is_read_again(crates: Crates, tmp_path: Path) -> None:
    top = make(tmp_path, f"libtop{A}.rmeta", B)
    bottom = make(tmp_path, f"libbottom{C}.rmeta")
    make(tmp_path, f"libmiddle{B}.rmeta")
    assert bottom not in crates.closure([top], [str(tmp_path)], made=[]).files
    make(tmp_path, f"libtop{A}.rmeta", C)
    assert bottom in crates.closure([top], [str(tmp_path)], made=[]).files


@pytest.mark.parametrize(
    ("source", "twin"), [("src/part.rs", "src/part/mod.rs"), ("src/part/mod.rs", "src/part.rs")]
)
def test_another_file_for_the_same_module_is_noticed(
    tmp_path: Path, source: str, twin: str
) -> None:
    (tmp_path / "src" / "part").mkdir(parents=True)
    lookups = CrateLookups(_compilation(), str(tmp_path), [str(tmp_path / source)])
    before = lookups.fingerprint(View("/", "/"))
    assert lookups.still_hold()
    (tmp_path / twin).touch()
    assert not lookups.still_hold()
    again = CrateLookups(_compilation(), str(tmp_path), [str(tmp_path / source)])
    assert again.fingerprint(View("/", "/")) != before


def test_a_static_library_in_an_earlier_directory_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "two" / "libx.a").touch()
    lookups = CrateLookups(_compilation(libraries=("x",)), str(tmp_path), [])
    assert lookups.still_hold()
    (tmp_path / "one" / "libx.a").touch()
    assert not lookups.still_hold()


def test_fingerprints_are_the_same_in_another_checkout(tmp_path: Path) -> None:
    told = []
    for name in ("here", "there"):
        root = tmp_path / name
        (root / "two").mkdir(parents=True)
        (root / "two" / "libx.a").touch()
        lookups = CrateLookups(_compilation(libraries=("x",)), str(root), [])
        told.append(lookups.fingerprint(View(str(root), "/reapi/root")))
    assert told[0] == told[1]


def _compilation(libraries: tuple[str, ...] = ()) -> RustCompilation:
    return RustCompilation(
        Family.RUSTC,
        (),
        "src/lib.rs",
        "rust",
        "libmade.rlib",
        Depfile("made.d", leaves_out_system_headers=False, options=()),
        static_libraries=libraries,
        library_directories=("one", "two"),
    )
