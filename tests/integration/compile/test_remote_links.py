"""Links and archives on an executor, whose root has only the packaged tools and the inputs."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from reapi.clients.compile.local_compile import LocalCompiles
from reapi.clients.compile.model import Finished
from reapi.clients.compile.outcome import OutcomeKind
from reapi.clients.compile.remote_link import RemoteLinks
from tests.integration.compile.checkout import Checkout, Client, kind_of, open_client
from tests.integration.compile.test_compiler_flags import assert_same
from tests.integration.compile.test_strategies import ends, without_a_server

pytestmark = pytest.mark.asyncio(loop_scope="session")

MISS, HERE, FOUND = OutcomeKind.MISS_REMOTE, OutcomeKind.MISS_LOCAL, OutcomeKind.HIT_REMOTE
MAIN = "int f(void);\nint main(void) { return f(); }\n"
UNSAFE = "#include <stdio.h>\nint f(void) { return tmpnam(0) != 0; }\n"
STRING = "#include <string>\nint g(const char *x) { return std::string(x).size(); }\n"


@pytest.fixture(params=["gcc", pytest.param("clang", marks=pytest.mark.soak)])
def compiler(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def project(checkout: Checkout, request: pytest.FixtureRequest) -> Checkout:
    """Objects that no other test has, and a library of one of them."""
    own = f"const char name[] = {json.dumps(request.node.name)};\n"
    checkout.settings = {"link": "true"}
    checkout.write_all(
        {
            "main.c": MAIN,
            "f.c": f"{own}int f(void) {{ return sizeof(name); }}\n",
            "unsafe.c": own + UNSAFE,
            "g.cc": STRING + f"extern {own}".replace("name", "other"),
            "exports.map": "V1 { global: f; local: *; };\n",
        }
    )
    for name in ("build", "early", "late", "lib"):
        (checkout.root / name).mkdir()
    run(checkout, "gcc -fPIC -c main.c f.c unsafe.c g.cc")
    run(checkout, "ar rcs late/libf.a f.o")
    return checkout


def run(checkout: Checkout, command: str) -> None:
    subprocess.run(command.split(), cwd=checkout.root, check=True)


async def made(project: Checkout, client: Client, kind: OutcomeKind, *words: str) -> Finished:
    """Asserts that the call ends as the plain tool's does, byte for byte; nothing is left of it."""
    tool, *arguments = words
    return await ends(project, client, kind, *arguments, compiler=tool)


def reason_of(answer: Finished) -> str:
    assert answer.outcome is not None
    return answer.outcome.reason


LINKS = [
    "main.o f.o -o app",
    "main.o f.o",
    "-g -O2 -Wall main.o -Learly -Llate -lf -lm -o app -Wl,--as-needed -Wl,-z,relro -pthread",
    "-shared f.o -o build/libf.so -Wl,-soname,libf.so.1",
    "-shared f.o -o HERE/build/libf.so -Wl,--version-script=exports.map",
    "-static main.o f.o -o app",
    "main.o f.o -oapp -Wl,-rpath,$ORIGIN/late -Xlinker --gc-sections -s -rdynamic",
    "-fuse-ld=gold main.o -Llate -lf -o app",
    "-fuse-ld=lld main.o -Llate -lf -o app",
    "main.o unsafe.o -o app",
    "main.o f.o --coverage -o app",
    "@arguments",
]


@pytest.mark.parametrize("text", LINKS)
async def test_G2_a_link_runs_on_an_executor_and_makes_what_it_makes_here(
    project: Checkout, here: Client, elsewhere: Client, compiler: str, text: str
) -> None:
    project.write("arguments", "main.o 'f.o' -o app")
    call = (compiler, *text.split())
    await made(project, here, MISS, *call)
    await made(project, here, OutcomeKind.HIT_LOCAL, *call)
    await made(project, elsewhere, FOUND, *call)


@pytest.mark.parametrize("text", ["g.o main.o f.o -o app", "-shared g.o -o libg.so"])
async def test_G2_a_link_of_cplusplus_runs_on_an_executor(
    project: Checkout, here: Client, compiler: str, text: str
) -> None:
    await made(project, here, MISS, f"{compiler.removesuffix('cc')}++", *text.split())


async def test_a_link_for_a_sanitizer_runs_on_an_executor(
    project: Checkout, here: Client, compiler: str
) -> None:
    await made(project, here, MISS, compiler, "-fsanitize=address", "main.o", "f.o", "-o", "app")


async def test_a_program_that_an_executor_has_linked_runs(project: Checkout, here: Client) -> None:
    answer = await here.answer(project.call("gcc", "main.o", "f.o", "-o", "app", umask=0o027))
    assert kind_of(answer) is MISS
    program = project.root / "app"
    assert program.stat().st_mode & 0o777 == 0o750
    assert await (await asyncio.create_subprocess_exec(program)).wait() > 1


@pytest.mark.parametrize("archiver", ["ar", "llvm-ar"])
@pytest.mark.parametrize("operation", ["rcs", "qc", "rcS", "rcsv", "rs"])
async def test_G2_an_archive_is_made_on_an_executor_and_is_what_it_is_here(
    project: Checkout, here: Client, elsewhere: Client, archiver: str, operation: str
) -> None:
    call = (archiver, operation, "lib/libx.a", "main.o", "f.o", "HERE/g.o")
    await made(project, here, MISS, *call)
    await made(project, here, OutcomeKind.HIT_LOCAL, *call)
    await made(project, elsewhere, FOUND, *call)


async def test_an_output_may_be_outside_of_the_working_directory(
    project: Checkout, here: Client, compiler: str
) -> None:
    for words in (
        (compiler, "../main.o", "-L../late", "-lf", "-o", "../lib/app"),
        (compiler, "-shared", "../f.o", "-Wl,--version-script=../exports.map", "-o", "../lib/f.so"),
        ("ar", "qc", "../lib/libx.a", "../f.o"),
    ):
        call = project.call(*words, directory="build")
        plain = project.plain(call)
        ended, answer = await project.through(here, call)
        assert kind_of(answer) is MISS, answer
        assert_same(ended, plain)


async def test_what_is_said_with_another_name_for_its_output_is_said_here(
    project: Checkout, here: Client
) -> None:
    call = project.call("ar", "r", "../lib/libx.a", "../f.o", directory="build")
    plain = project.plain(call)
    assert b"creating ../lib/libx.a" in plain.stderr
    ended, answer = await project.through(here, call)
    assert isinstance(answer, Finished)
    assert (kind_of(answer), reason_of(answer)) == (HERE, "what is said of it may name its output")
    assert ended.files == plain.files


@pytest.mark.parametrize(
    ("changed", "kind"),
    [("f.o", MISS), ("late/libf.a", MISS), ("early/libf.so", MISS), ("early/other", "hit-local")],
)
async def test_G2_a_changed_input_or_one_that_is_found_earlier_is_linked_there_again(
    project: Checkout, here: Client, compiler: str, changed: str, kind: str
) -> None:
    call: tuple[str, ...] = (compiler, "main.o", "-Learly", "-Llate", "-lf", "-o", "app")
    if changed == "f.o":
        call = (compiler, "main.o", "f.o", "-o", "app")
    await made(project, here, MISS, *call)
    shutil.copy(project.root / "unsafe.o", project.root / "f.o")
    run(project, "ar rcs late/libf.a unsafe.o" if "libf.a" in changed else "true")
    if changed.startswith("early"):
        run(project, f"gcc -shared unsafe.o -o {changed}")
    await made(project, here, OutcomeKind(kind), *call)


async def test_a_library_that_another_one_needs_is_there(
    project: Checkout, here: Client, compiler: str
) -> None:
    project.write("h.c", "int f(void); int h(void) { return f(); }\n")
    run(project, "gcc -shared f.o -Wl,-soname,libf.so.1 -o early/libf.so.1")
    run(project, "gcc -shared -fPIC h.c early/libf.so.1 -o libh.so")
    project.write("main.c", "int h(void); int main(void) { return h(); }\n")
    run(project, "gcc -c main.c")
    call = (compiler, "main.o", "libh.so", "-o", "app", "-Wl,-rpath-link,early")
    await made(project, here, MISS, *call)


async def test_a_linker_script_of_the_project_leads_to_what_it_names(
    project: Checkout, here: Client, compiler: str
) -> None:
    project.write("early/libf.so", "/* GNU ld script */\nGROUP ( libother.a AS_NEEDED ( -lm ) )\n")
    shutil.copy(project.root / "late/libf.a", project.root / "early/libother.a")
    await made(project, here, MISS, compiler, "main.o", "-Learly", "-lf", "-o", "app")


@pytest.mark.parametrize("directory", ["late", "HERE/late", "early::late"])
async def test_the_variable_that_names_directories_of_libraries_counts_there(
    project: Checkout, here: Client, compiler: str, directory: str
) -> None:
    project.variables["LIBRARY_PATH"] = directory.replace("HERE", str(project.root))
    await made(project, here, MISS, compiler, "main.o", "-lf", "-o", "app")


async def test_files_of_the_same_content_are_no_reason_to_link_here(
    project: Checkout, here: Client, compiler: str
) -> None:
    project.write("empty.s", "")
    for name in ("one.o", "two.o"):
        run(project, f"gcc -c empty.s -o {name}")
    await made(project, here, MISS, compiler, "main.o", "one.o", "two.o", "f.o", "-o", "app")


async def test_another_checkout_has_what_an_executor_has_linked(
    project: Checkout, here: Client, open_path: Path, compiler: str
) -> None:
    relative = (compiler, "main.o", "-Llate", "-lf", "-o", "app")
    exact = (*relative, f"-Wl,-rpath,{project.root}/late")
    await made(project, here, MISS, *relative)
    await made(project, here, MISS, *exact)
    other = Checkout(open_path / "other", project.server, project.settings)
    shutil.copytree(project.root, other.root)
    await made(other, here, OutcomeKind.HIT_LOCAL, *relative)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ar rcs late/libf.a main.o", "it adds to an archive that is there"),
        ("gcc main.o thin.a -o app", "thin.a is a thin archive"),
        ("gcc main.o lto.o -o app", "what it is made of is changing, or not known"),
    ],
)
async def test_G2_what_cannot_be_told_before_is_made_here_and_counted_by_its_reason(
    project: Checkout, here: Client, text: str, reason: str
) -> None:
    run(project, "ar rcsT thin.a f.o")
    run(project, "gcc -flto -c f.c -o lto.o")
    answer = await here.answer(project.call(*text.split()))
    assert isinstance(answer, Finished)
    assert kind_of(answer) is HERE
    assert reason_of(answer).endswith(reason)


async def test_a_file_that_comes_to_stand_before_a_library_meanwhile_makes_it_a_link_of_here(
    project: Checkout, here: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = RemoteLinks.prepare

    async def meanwhile(*arguments: object) -> object:
        prepared = await prepare(*arguments)  # type: ignore[arg-type]
        shutil.copy(project.root / "late/libf.a", project.root / "early/libf.a")
        return prepared

    monkeypatch.setattr(RemoteLinks, "prepare", meanwhile)
    call = project.call("gcc", "main.o", "-Learly", "-Llate", "-lf", "-o", "app")
    answer = await here.answer(call)
    assert isinstance(answer, Finished)
    assert kind_of(answer) is HERE
    assert "has come to stand" in reason_of(answer)


async def test_a_link_that_fails_there_fails_here_with_what_the_linker_says(
    project: Checkout, here: Client, compiler: str
) -> None:
    answer = await made(project, here, HERE, compiler, "main.o", "-o", "app")
    assert answer.exit_code == 1
    assert reason_of(answer) == "it did not compile remotely"
    project.settings["fallback"] = "never"
    answer = await made(project, here, MISS, compiler, "main.o", "-o", "app")
    assert answer.exit_code == 1


@pytest.mark.parametrize("words", [("gcc", "main.o", "f.o", "-o", "x"), ("ar", "rc", "x", "f.o")])
async def test_M8_without_a_server_links_are_made_here_and_counted(
    project: Checkout, open_path: Path, words: tuple[str, ...]
) -> None:
    async with without_a_server() as address, open_client(open_path / "cache") as client:
        project.server = address
        answer = await made(project, client, OutcomeKind.FALLBACK, *words)
        assert answer.outcome is not None
        assert answer.outcome.failure == "unavailable"
        project.settings["fallback"] = "never"
        ended, _ = await project.through(client, project.call(*words, "f.o"))
        assert ended.exit_code == 1
        assert b'fallback = "never"' in ended.stderr


@pytest.mark.parametrize("words", [("gcc", "main.o", "f.o", "-o", "x"), ("ar", "rc", "x", "f.o")])
async def test_links_are_made_here_and_there_in_a_race(
    project: Checkout, here: Client, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def waits(*_: object) -> Finished:
        await asyncio.Event().wait()
        raise AssertionError

    project.settings["strategy"] = "race"
    with monkeypatch.context() as patched:
        patched.setattr(LocalCompiles, "run", waits)
        await made(project, here, MISS, *words)
    monkeypatch.setattr(RemoteLinks, "run", waits)
    await made(project, here, HERE, *words, "main.o" if words[0] == "ar" else "-s")


@pytest.mark.parametrize("settings", [{"strategy": "local"}, {"read_only": "true"}])
async def test_links_are_made_here_where_the_settings_say_so(
    project: Checkout, here: Client, settings: dict[str, str]
) -> None:
    project.settings |= settings
    await made(project, here, HERE, "gcc", "main.o", "f.o", "-o", "app")
