"""Library crates on an executor, whose root has only rustc, its libraries and what it reads."""

import json
import subprocess
from collections.abc import Sequence

import pytest

from reapi.clients.compile.model import Finished, Local
from reapi.clients.compile.outcome import OutcomeKind
from reapi.clients.compile.remote_crate import RemoteCrates
from tests.integration.compile.checkout import Checkout, Client, Ended, kind_of
from tests.integration.compile.test_compiler_flags import assert_same

pytestmark = pytest.mark.asyncio(loop_scope="session")

MISS, HERE = OutcomeKind.MISS_REMOTE, OutcomeKind.MISS_LOCAL
EMIT = "--emit=dep-info,metadata,link"


@pytest.fixture
def project(checkout: Checkout, request: pytest.FixtureRequest) -> Checkout:
    name = json.dumps(request.node.name)
    checkout.write("src/part.rs", "pub fn part() {}\n")
    checkout.write("src/text.txt", f"{name}\n")
    checkout.write(
        "src/lib.rs",
        """
        pub mod part;
        pub fn text() -> (&'static str, &'static str) { (include_str!("text.txt"), file!()) }
        pub fn flavour() -> Option<&'static str> { option_env!("FLAVOUR") }
        pub fn warned() { let unused = 1; }
        """,
    )
    (checkout.root / "out").mkdir()
    return checkout


def library(rustc: str, *more: str, name: str = "x", source: str = "src/lib.rs") -> Sequence[str]:
    return (rustc, f"--crate-name={name}", "--crate-type=lib", EMIT, "--out-dir=out", source, *more)


def sorted_lines(ended: Ended) -> Ended:
    """Some versions of rustc write the lines of dep-info in any order."""
    files = {
        path: (rights, b"\n".join(sorted(content.splitlines())) if path.endswith(".d") else content)
        for path, (rights, content) in ended.files.items()
    }
    return Ended(ended.exit_code, ended.stdout, ended.stderr, files)


async def made(
    project: Checkout,
    client: Client,
    kind: OutcomeKind,
    words: Sequence[str],
    directory: str = "",
    **variables: str,
) -> Finished:
    """Asserts that the call ends as rustc's own does, byte for byte; nothing is left of it."""
    call = project.call(*words, directory=directory, **variables)
    plain = project.plain(call)
    ended, answer = await project.through(client, call)
    await client.shared(call)
    assert kind_of(answer) is kind, answer
    assert isinstance(answer, Finished)
    assert_same(sorted_lines(ended), sorted_lines(plain))
    return answer


def leave(project: Checkout, words: Sequence[str]) -> None:
    """Makes what others need."""
    subprocess.run(words, cwd=project.root, check=True)


@pytest.mark.parametrize(
    "more",
    [
        ("-Cdebuginfo=2", "-Cmetadata=1234", "-Cextra-filename=-0123456789abcdef"),
        ("-Copt-level=3", "--edition=2021"),
        ("--error-format=json", "--json=artifacts,diagnostic-rendered-ansi"),
    ],
)
async def test_S2_a_crate_is_made_on_an_executor_and_is_what_it_is_here(
    project: Checkout, here: Client, elsewhere: Client, rustc: str, more: Sequence[str]
) -> None:
    words = library(rustc, *more)
    await made(project, here, MISS, words)
    await made(project, here, OutcomeKind.HIT_LOCAL, words)
    await made(project, elsewhere, OutcomeKind.HIT_REMOTE, words)


async def test_S2_metadata_alone_is_made_there_too(
    project: Checkout, here: Client, rustc: str
) -> None:
    words = library(rustc, "-Cmetadata=1")
    await made(project, here, MISS, [word.replace(",link", "") for word in words])


async def test_a_crate_may_be_made_beside_its_working_directory(
    project: Checkout, here: Client, rustc: str
) -> None:
    """As cargo has crates of a registry made."""
    words = [word.replace("=out", "=HERE/out") for word in library(rustc, source="lib.rs")]
    await made(project, here, MISS, words, directory="src")


@pytest.mark.parametrize("changed", ["src/part.rs", "src/text.txt", "FLAVOUR"])
async def test_S2_a_changed_source_file_or_variable_is_made_there_again(
    project: Checkout, here: Client, rustc: str, changed: str
) -> None:
    words = library(rustc)
    await made(project, here, MISS, words)
    if changed == "FLAVOUR":
        await made(project, here, MISS, words, FLAVOUR="sweet")
    else:
        (project.root / changed).write_text("// another\n")
        await made(project, here, MISS, words)


async def test_S2_the_crates_that_it_is_made_of_are_there(
    project: Checkout, here: Client, rustc: str
) -> None:
    for name, text, needed in (
        ("inner", "pub fn f() -> u32 { 7 }", ()),
        ("middle", "pub fn g() -> u32 { inner::f() }", ("inner",)),
        ("outer", "pub fn h() -> u32 { middle::g() }", ("middle",)),
    ):
        project.write(f"{name}.rs", f"{text}\npub use std::vec::Vec as {name.title()};\n")
        suffix = f"-{len(name):016x}"
        externs = [f"--extern={one}=out/lib{one}-{len(one):016x}.rmeta" for one in needed]
        more = (f"-Cextra-filename={suffix}", f"-Cmetadata={name}", "-Ldependency=out", *externs)
        words = library(rustc, *more, name=name, source=f"{name}.rs")
        await made(project, here, MISS, words)
        leave(project, words)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('pub fn f() -> &\'static str { env!("PATH") }', "it asks for PATH"),
        ('core::arch::global_asm!(".include \\"src/text.s\\"");', "read into its assembler"),
    ],
)
async def test_S2_what_cannot_be_told_before_is_made_here_with_its_reason(
    project: Checkout, here: Client, rustc: str, text: str, reason: str
) -> None:
    project.write("src/text.s", "")
    project.write("src/lib.rs", f"{text}\n")
    answer = await here.answer(project.call(*library(rustc)))
    assert isinstance(answer, Finished)
    assert kind_of(answer) is HERE
    assert answer.outcome is not None
    assert reason in answer.outcome.reason


async def test_a_module_that_comes_to_stand_beside_another_meanwhile_is_for_rustc_here(
    project: Checkout, here: Client, rustc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = RemoteCrates.prepare

    async def meanwhile(*arguments: object) -> object:
        prepared = await prepare(*arguments)  # type: ignore[arg-type]
        project.write("src/part/mod.rs", "pub fn other() {}\n")
        return prepared

    monkeypatch.setattr(RemoteCrates, "prepare", meanwhile)
    answer = await here.answer(project.call(*library(rustc)))
    assert isinstance(answer, Finished)
    assert kind_of(answer) is HERE
    assert answer.exit_code == 1


async def test_a_crate_that_fails_fails_with_what_rustc_says_here(
    project: Checkout, here: Client, rustc: str
) -> None:
    project.write("src/part.rs", "pub fn part() -> u32 { true }\n")
    answer = await made(project, here, HERE, library(rustc))
    assert answer.exit_code == 1


async def test_a_crate_of_a_dylib_stays_here(project: Checkout, here: Client, rustc: str) -> None:
    project.write("liby.so", "of compressed metadata")
    answer = await here.answer(project.call(*library(rustc, "--extern=y=HERE/liby.so")))
    assert isinstance(answer, Local)
    assert "dylib" in answer.reason
