"""What is understood of calls of rustc."""

from collections.abc import Mapping

import hypothesis.strategies as st
import pytest
from hypothesis import given

from reapi.clients.compile.model import Invocation, Local
from reapi.clients.compile.rustc_arguments import RustCompilation, target_of, understand_rustc

ROOT = "/home/user/checkout"
CARGO = (
    "--crate-name base --edition=2021 base/src/lib.rs --error-format=json "
    "--json=diagnostic-rendered-ansi,artifacts,future-incompat --crate-type lib "
    "--emit=dep-info,metadata,link -C embed-bitcode=no -C debuginfo=2 "
    "-C metadata=fd1fca4d3e484300 -C extra-filename=-3c4776fccf89ab28 "
    f"--out-dir {ROOT}/target/debug/deps -L dependency={ROOT}/target/debug/deps"
)


def result_of(
    text: str | list[str],
    *,
    directory: str = ROOT,
    environment: Mapping[str, str] | None = None,
    root: str | None = None,
) -> RustCompilation | Local:
    words = text.split() if isinstance(text, str) else text
    invocation = Invocation(("rustc", *words), directory, environment or {})
    return understand_rustc(invocation, root=root)


def compilation(text: str | list[str]) -> RustCompilation:
    result = result_of(text)
    assert isinstance(result, RustCompilation), result
    return result


def test_a_call_of_cargo_for_a_library_has_three_outputs() -> None:
    found = compilation(CARGO)
    stem = f"{ROOT}/target/debug/deps"
    assert found.source == "base/src/lib.rs"
    assert found.output == f"{stem}/libbase-3c4776fccf89ab28.rlib"
    assert found.extra_outputs == (f"{stem}/libbase-3c4776fccf89ab28.rmeta",)
    assert found.depfile is not None
    assert found.depfile.path == f"{stem}/base-3c4776fccf89ab28.d"
    assert found.crate_directories == (stem,)
    assert found.library_directories == found.open_directories == ()


def test_metadata_is_made_of_any_crate() -> None:
    text = CARGO.replace(",link", "").replace("--crate-type lib", "--crate-type bin")
    found = compilation(text)
    assert found.output.endswith("/libbase-3c4776fccf89ab28.rmeta")
    assert found.extra_outputs == ()


def test_without_a_directory_outputs_are_where_the_call_is_made() -> None:
    found = compilation("--crate-name x --crate-type rlib --emit dep-info,link x.rs")
    assert (found.output, found.depfile and found.depfile.path) == ("libx.rlib", "x.d")


def test_what_crates_are_made_of_is_told_apart() -> None:
    found = compilation(
        f"{CARGO} --extern a=/t/liba-1.rmeta --extern priv,noprelude:m=/t/libm-2.so "
        "--extern proc_macro -L native=/out/lib -L/plain -l static=one "
        "-lstatic:+whole-archive=two:second -l dylib=three -lfour --target=my/target.json "
        "-Cprofile-use=my.profdata"
    )
    assert found.crates == ("/t/liba-1.rmeta", "/t/libm-2.so")
    assert found.library_directories == ("/out/lib", "/plain")
    assert found.open_directories == ("/plain",)
    assert found.static_libraries == ("one", "second")
    assert found.library_candidates[:2] == ("/out/lib/libone.a", "/out/lib/one.lib")
    assert found.input_files == ("my/target.json", "my.profdata")
    assert target_of(found) == ("--target=my/target.json",)


def test_words_have_their_paths() -> None:
    found = compilation(f"{CARGO} --extern priv:a={ROOT}/liba.rmeta --remap-path-prefix={ROOT}=.")
    paths = {word.before: word.path for word in found.words if word.path is not None}
    assert paths == {
        "--out-dir=": f"{ROOT}/target/debug/deps",
        "-Ldependency=": f"{ROOT}/target/debug/deps",
        "--extern=priv:a=": f"{ROOT}/liba.rmeta",
    }
    assert "base/src/lib.rs" not in map(str, found.words)


def test_both_ways_to_write_an_option_are_the_same() -> None:
    joined = compilation("--crate-name=x --crate-type=lib --emit=dep-info,link x.rs -Cpanic=abort")
    apart = compilation("--crate-name x --crate-type lib --emit dep-info,link x.rs -C panic=abort")
    assert (
        joined
        == apart
        == compilation(
            "--crate-name x --crate-type lib --emit dep-info,link x.rs --codegen panic=abort"
        )
    )


@pytest.mark.parametrize(
    "text",
    [
        *("-vV", "-V", "--version", "--help", "--explain E0001"),
        "- --crate-name ___ --print=file-names --crate-type bin --print=sysroot -Wwarnings",
        "",
    ],
)
def test_questions_are_answered_at_once(text: str) -> None:
    result = result_of(text)
    assert isinstance(result, Local)
    assert not result.is_work


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("-C incremental=/t/incremental", "incremental"),
        ("-Cincremental=/t/incremental", "CARGO_INCREMENTAL=0"),
        ("--crate-type cdylib", "it links: its crate type is lib, cdylib"),
        ("--emit=asm", "--emit=asm"),
        ("--emit=link=x.rlib", "--emit=link=x.rlib"),
        ("--test", "tests"),
        ("-C target-cpu=native", "this machine"),
        ("-C target_cpu=native", "this machine"),
        ("-C split-debuginfo=packed", "split-debuginfo"),
        ("-C save-temps", "save-temps"),
        ("-C llvm-args=-stats", "llvm-args"),
        ("-Z time-passes", "-Z is not known here"),
        ("-o libx.rlib", "-o is not known here"),
        ("--sysroot /other", "--sysroot"),
        ("@arguments", "@arguments"),
        ("--out-dir /other", "several outputs"),
        ("other.rs", "several"),
        ("-L crate=/t", "-L crate="),
        ("--cfg", "--cfg is not known here"),
    ],
)
def test_what_is_not_known_to_be_the_same_everywhere_stays(more: str, reason: str) -> None:
    result = result_of(f"{CARGO} {more}")
    assert isinstance(result, Local)
    assert result.is_work
    assert reason in result.reason


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("--crate-type lib", "", "it links: its crate type is not given"),
        ("--crate-type lib", "--crate-type proc-macro", "it links"),
        ("--crate-name base", "", "--crate-name"),
        ("dep-info,metadata,link", "metadata,link", "no dep-info"),
        ("dep-info,metadata,link", "dep-info", "nothing but dep-info"),
        ("base/src/lib.rs", "-", "stdin"),
        ("base/src/lib.rs", "/tmp/probe/lib.rs", "temporary"),
    ],
)
def test_a_call_that_is_no_library_stays(old: str, new: str, reason: str) -> None:
    result = result_of(CARGO.replace(old, new))
    assert isinstance(result, Local)
    assert reason in result.reason


def test_a_checkout_may_be_in_a_temporary_directory() -> None:
    text = CARGO.replace("base/src/lib.rs", "/tmp/checkout/lib.rs")
    assert isinstance(result_of(text, root="/tmp/checkout"), RustCompilation)


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*CARGO.split(), "-C", "-L", "--extern", "--emit", "-l", "-g", "@x"]),
            st.text(max_size=12),
        ),
        max_size=12,
    )
)
def test_any_arguments_are_understood_or_stay(arguments: list[str]) -> None:
    result = result_of(arguments)
    assert isinstance(result, RustCompilation | Local)
