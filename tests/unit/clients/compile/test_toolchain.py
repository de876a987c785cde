"""What belongs to a compiler."""

import os
import shutil
from pathlib import Path

import pytest

from reapi.clients.compile.driver import Driver, ToolchainError, selecting_arguments
from reapi.clients.compile.model import Family
from reapi.clients.compile.toolchain import _configuration, find_toolchain
from reapi.core.digest import Digest, digest_of


def quick_digest(path: str) -> Digest:
    """Of what is not read: these tests are not about content."""
    return digest_of(path.encode() + str(os.stat(path).st_size).encode())


def driver(name: str, family: Family, directory: Path, *selecting: str) -> Driver:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}")
    return Driver(path, family, os.environ, str(directory), selecting)


def test_gcc_has_its_programs_their_libraries_and_loader(tmp_path: Path) -> None:
    found = find_toolchain(driver("gcc", Family.GCC, tmp_path), quick_digest)
    names = {os.path.basename(path) for path in found.files}
    assert {"gcc", "cc1", "as", "libc.so.6"} <= names
    assert any(name.startswith("ld-linux") for name in names)
    assert not {"ld", "collect2"} & names
    assert "/usr/include" in found.directories
    assert found.size_bytes == sum(digest.size_bytes for digest in found.files.values())
    assert os.path.dirname(shutil.which("gcc") or "") in found.search_path.split(":")


def test_clang_has_the_markers_of_the_gcc_that_it_takes(tmp_path: Path) -> None:
    found = find_toolchain(driver("clang", Family.CLANG, tmp_path), quick_digest)
    names = {os.path.basename(path) for path in found.files}
    assert {"clang", "crtbegin.o"} <= names
    assert "as" not in names
    chosen = driver("clang", Family.CLANG, tmp_path, "-fno-integrated-as")
    assert "as" in {os.path.basename(path) for path in find_toolchain(chosen, quick_digest).files}


def test_a_new_gcc_would_be_noticed(tmp_path: Path) -> None:
    found = find_toolchain(driver("clang", Family.CLANG, tmp_path), quick_digest)
    markers = [path for path in found.files if path.endswith("/crtbegin.o")]
    watched = [path for path, _ in found.stamps if os.path.isdir(path)]
    assert watched == [os.path.dirname(os.path.dirname(markers[0]))]


def test_the_identity_is_of_contents_and_paths(tmp_path: Path) -> None:
    gcc = driver("gcc", Family.GCC, tmp_path)
    digest = find_toolchain(gcc, quick_digest).digest
    assert find_toolchain(gcc, quick_digest).digest == digest
    changed = find_toolchain(
        gcc, lambda path: digest_of(b"new") if path.endswith("/cc1") else quick_digest(path)
    )
    assert changed.digest != digest


def test_specs_that_include_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "more.specs").write_text("%include <other.specs>\n")
    gcc = driver("gcc", Family.GCC, tmp_path, "-specs=more.specs")
    (tmp_path / "other.specs").write_text("")
    with pytest.raises(ToolchainError, match="includes other specs"):
        find_toolchain(gcc, quick_digest)


def test_what_a_caller_searches_beside_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPATH", str(tmp_path))
    found = find_toolchain(driver("gcc", Family.GCC, tmp_path), quick_digest)
    assert str(tmp_path) not in found.directories


@pytest.mark.parametrize("is_of_the_user", [True, False])
def test_a_configuration_of_clang_belongs_to_it_unless_it_is_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_of_the_user: bool
) -> None:
    configuration = tmp_path / "clang.cfg"
    configuration.write_text("-DX\n")
    monkeypatch.setenv("HOME", str(tmp_path) if is_of_the_user else "/nowhere")
    clang = driver("clang", Family.CLANG, tmp_path)
    said = f"Configuration file: {configuration}\n"
    if is_of_the_user:
        with pytest.raises(ToolchainError, match="of its user"):
            list(_configuration(clang, said))
    else:
        assert list(_configuration(clang, said)) == [str(configuration)]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    def fails(path: str) -> Digest:
        raise PermissionError(13, "Permission denied", path)

    with pytest.raises(ToolchainError, match="Permission denied"):
        find_toolchain(driver("gcc", Family.GCC, tmp_path), fails)


@pytest.mark.parametrize(
    ("words", "selecting"),
    [
        ("-O2 -g -Iinclude -DB=1 -c", ""),
        ("-Btools -O2", "-Btools"),
        ("-B tools -O2", "-B tools"),
        ("-O2 -specs=a.specs --sysroot=/s -m32", "-specs=a.specs --sysroot=/s -m32"),
        ("-target arm-none-eabi -c", "-target arm-none-eabi"),
        ("--target=arm-none-eabi -stdlib=libc++", "--target=arm-none-eabi -stdlib=libc++"),
        ("-isysroot /s -isystem /i", "-isysroot /s"),
        ("-fno-integrated-as", "-fno-integrated-as"),
    ],
)
def test_some_arguments_choose_what_is_needed(words: str, selecting: str) -> None:
    assert selecting_arguments(words.split()) == tuple(selecting.split())
