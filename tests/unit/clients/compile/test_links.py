"""Links and archives that are made here and kept: real compilers, linkers, archivers, a server."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reapi.clients.compile import local_compile
from reapi.clients.compile.engines import Engines
from reapi.clients.compile.local_slots import LocalSlots
from reapi.clients.compile.making import make_engines
from reapi.clients.compile.model import Answer, Finished, Invocation, Local
from reapi.clients.compile.outcome import OutcomeKind
from reapi.clients.compile.settings import CompileSettings
from tests.fakes.reapi_server import FakeReapiServer

SOURCES = {
    "main.c": "int f(void); int main(void) { return f(); }",
    "f.c": "int f(void) { return 1; }",
    "other.c": "int f(void) { return 2; }",
    "unsafe.c": "#include <stdio.h>\nint f(void) { return tmpnam(0) != 0; }",
}
COMPILERS = [
    pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}"))
    for name in ("gcc", "g++", "clang", "clang++")
]
ARCHIVERS = [
    pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"needs {name}"))
    for name in ("ar", "llvm-ar")
]
HIT, MADE, STAYS = OutcomeKind.HIT_LOCAL, OutcomeKind.MISS_LOCAL, OutcomeKind.LOCAL


@dataclass
class Project:
    """Objects in a checkout, and a client of a server."""

    root: Path
    server: FakeReapiServer
    stack: AsyncExitStack
    variables: dict[str, str] = field(default_factory=dict)
    engines: Engines = field(init=False)

    async def start(self, cache: str = "cache") -> None:
        """Begins with another cache; all that was made before is shared then."""
        await self.stack.aclose()
        settings = CompileSettings(cache_dir=str(self.root.parent / cache))
        engines = make_engines(settings, LocalSlots(2), list[str]().append, tool_name="test")
        self.engines = await self.stack.enter_async_context(engines)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "REAPI_SERVER": self.server.address,
            "REAPI_CC_ROOT": str(self.root),
            "REAPI_CC_LINK": "1",
            "REAPI_CC_STRATEGY": "local",
        } | self.variables

    def plain(self, text: str) -> subprocess.CompletedProcess[bytes]:
        """Runs a command without any client."""
        return subprocess.run(
            text.split(), cwd=self.root, env=self.environment, capture_output=True, check=False
        )

    async def answer(self, text: str, *, umask: int = 0o022) -> Answer:
        """What becomes of a call."""
        invocation = Invocation(tuple(text.split()), str(self.root), self.environment, umask)
        return self.engines.answer_now(invocation) or await self.engines.answer(invocation)

    async def run(self, text: str) -> OutcomeKind:
        """What becomes of a call that does not fail."""
        answer = await self.answer(text)
        assert answer.outcome is not None
        assert isinstance(answer, Local) or answer.exit_code == 0, answer
        return answer.outcome.kind

    async def fresh(self, text: str, output: str = "app") -> OutcomeKind:
        """As `run`, where nothing of it is there before."""
        (self.root / output).unlink(missing_ok=True)
        return await self.run(text)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("objects")
    for name, text in SOURCES.items():
        (directory / name).write_text(text)
    subprocess.run(["gcc", "-g", "-fPIC", "-c", *SOURCES], cwd=directory, check=True)
    return directory


@pytest.fixture
async def project(tmp_path: Path, objects: Path) -> AsyncIterator[Project]:
    root = tmp_path / "project"
    shutil.copytree(objects, root)
    for name in ("early", "late"):
        (root / name).mkdir()
    async with FakeReapiServer() as server, AsyncExitStack() as stack:
        made = Project(root, server, stack)
        made.plain("ar rcs late/libf.a f.o")
        await made.start()
        yield made


LINKS = [
    "main.o f.o -o app",
    "-g -O2 -Wall main.o -Learly -Llate -lf -lm -o app -Wl,--as-needed,-O1 -Wl,-z,relro -pthread",
    "-shared f.o -o app -Wl,-soname,libf.so.1",
    "-static main.o f.o -o app",
    "main.o f.o -oapp -Wl,-rpath,$ORIGIN/late -Xlinker --gc-sections -s -rdynamic",
    "-shared f.o -o app -Wl,--version-script=exports.map",
    "-fuse-ld=gold main.o -Llate -lf -o app",
    "-fuse-ld=lld main.o -Llate -lf -o app",
    "@arguments",
]


@pytest.mark.parametrize("arguments", LINKS)
@pytest.mark.parametrize("compiler", COMPILERS)
async def test_a_link_is_kept_and_is_what_the_plain_one_makes(
    project: Project, compiler: str, arguments: str
) -> None:
    (project.root / "exports.map").write_text("V1 { global: f; local: *; };")
    (project.root / "arguments").write_text("main.o 'f.o' -o app")
    if project.plain(f"{compiler} {arguments}").returncode:
        pytest.skip("not here")
    plain = project.read("app")
    assert await project.fresh(f"{compiler} {arguments}") is MADE
    assert project.read("app") == plain
    assert await project.fresh(f"{compiler} {arguments}") is HIT
    assert project.read("app") == plain


@pytest.mark.parametrize("archiver", ARCHIVERS)
@pytest.mark.parametrize("operation", ["rcs", "crs", "qc", "-rcsD", "rcS", "rcsv"])
async def test_an_archive_is_kept_and_is_what_the_plain_one_is(
    project: Project, archiver: str, operation: str
) -> None:
    command = f"{archiver} {operation} libx.a main.o f.o"
    plain = project.plain(command)
    expected = project.read("libx.a")
    assert await project.fresh(command, "libx.a") is MADE
    (project.root / "libx.a").unlink()
    answer = await project.answer(command)
    assert isinstance(answer, Finished)
    assert answer.outcome is not None
    assert answer.outcome.kind is HIT
    assert project.read("libx.a") == expected
    assert answer.stdout == plain.stdout
    assert os.stat(project.root / "libx.a").st_mode & 0o777 == 0o644


async def test_an_archive_that_is_there_is_an_input(project: Project) -> None:
    command = "ar qc libx.a f.o"
    assert await project.fresh(command, "libx.a") is MADE
    once = project.read("libx.a")
    assert await project.run(command) is MADE
    assert len(project.read("libx.a")) > len(once)
    assert await project.fresh(command, "libx.a") is HIT
    assert project.read("libx.a") == once
    assert await project.run(command) is HIT
    assert len(project.read("libx.a")) > len(once)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [("main.o", MADE), ("late/libf.a", MADE), ("early/libf.so", MADE), ("early/other", HIT)],
)
async def test_a_changed_object_or_library_or_one_that_is_found_earlier_is_linked(
    project: Project, changed: str, kind: OutcomeKind
) -> None:
    command = "gcc main.o -Learly -Llate -lf -o app"
    assert await project.fresh(command) is MADE
    assert await project.fresh(command) is HIT
    before = project.read("app")
    if changed == "late/libf.a":
        project.plain("ar rcs late/libf.a other.o")
        project.plain("ar d late/libf.a f.o")
    elif changed == "main.o":
        project.plain("gcc -c main.c")
    else:
        project.plain(f"gcc -shared other.o -o {changed}")
    assert await project.fresh(command) is kind
    assert (project.read("app") == before) is (kind is HIT)


async def test_a_library_that_another_one_needs_is_an_input(project: Project) -> None:
    (project.root / "h.c").write_text("int f(void); int h(void) { return f(); }")
    (project.root / "main.c").write_text("int h(void); int main(void) { return h(); }")
    library = "-shared -Wl,-soname,libf.so"
    project.plain(f"gcc other.o {library} -o late/libf.so")
    project.plain("gcc -fPIC -shared h.c -o libh.so -Llate -lf")
    project.plain("gcc -c main.c")
    command = "gcc main.o libh.so -o app -Wl,-rpath-link,early:late"
    for change in (f"gcc f.o {library} -o late/libf.so", f"gcc f.o {library} -o early/libf.so"):
        # What no argument names is not kept if it was made in the last milliseconds.
        assert HIT in [await project.fresh(command) for _ in range(9)]
        project.plain(change)
        assert await project.fresh(command) is MADE


async def test_the_order_of_inputs_is_part_of_the_key(project: Project) -> None:
    assert await project.fresh("gcc main.o f.o -o app") is MADE
    assert await project.fresh("gcc f.o main.o -o app") is MADE
    project.plain("gcc f.o main.o -o plain")
    assert project.read("app") == project.read("plain")


async def test_a_library_that_was_made_just_now_does_not_keep_its_link_from_being_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_compile, "_YOUNGEST_NS", 60_000_000_000)
    project.plain("gcc -c main.c")
    project.plain("ar rcs early/libf.a other.o")
    assert await project.fresh("gcc main.o -Learly -lf -o app") is MADE
    assert await project.fresh("gcc main.o -Learly -lf -o app") is HIT


async def test_warnings_are_replayed(project: Project) -> None:
    command = "gcc main.o unsafe.o -o app"
    plain = project.plain(command)
    assert b"tmpnam" in plain.stderr
    for _ in range(2):
        answer = await project.answer(command)
        assert isinstance(answer, Finished)
        assert answer.stderr == plain.stderr
    assert answer.outcome is not None
    assert answer.outcome.kind is HIT


async def test_a_link_that_fails_says_why_and_is_not_kept(project: Project) -> None:
    plain = project.plain("gcc main.o -o app")
    for _ in range(2):
        answer = await project.answer("gcc main.o -o app")
        assert isinstance(answer, Finished)
        assert answer.exit_code == plain.returncode
        assert answer.stderr == plain.stderr
        assert answer.outcome is not None
        assert answer.outcome.kind is MADE


async def test_a_program_may_be_run_as_far_as_the_umask_lets_it(project: Project) -> None:
    for umask, mode in ((0o022, 0o755), (0o077, 0o700)):
        (project.root / "app").unlink(missing_ok=True)
        await project.answer("gcc main.o f.o -o app", umask=umask)
        assert os.stat(project.root / "app").st_mode & 0o777 == mode
        assert project.plain("./app").returncode == 1


async def test_a_program_is_replaced_while_it_runs(project: Project) -> None:
    (project.root / "wait.c").write_text("int main(void) { return getchar(); }")
    project.plain("gcc -w -c wait.c")
    assert await project.run("gcc wait.o -o app") is MADE
    running = await asyncio.create_subprocess_exec(
        project.root / "app", stdin=asyncio.subprocess.PIPE
    )
    assert await project.run("gcc wait.o -o app") is HIT
    await running.communicate(b"\x07")
    assert running.returncode == 7


@pytest.mark.parametrize(
    ("command", "output"),
    [("gcc main.o -Llate -lf -o app", "app"), ("ar rcs libx.a main.o f.o", "libx.a")],
)
async def test_what_another_client_has_made_comes_from_the_server(
    project: Project, command: str, output: str
) -> None:
    assert await project.fresh(command, output) is MADE
    made = project.read(output)
    await project.start("another cache")
    assert await project.fresh(command, output) is OutcomeKind.HIT_REMOTE
    assert project.read(output) == made
    assert bool(os.stat(project.root / output).st_mode & 0o111) is (output == "app")


async def test_another_checkout_has_the_same_links(project: Project, tmp_path: Path) -> None:
    command = "gcc main.o -Llate -lf -o app"
    assert await project.fresh(command) is MADE
    other = tmp_path / "other"
    shutil.copytree(project.root, other)
    project.root = other
    assert await project.fresh(command) is HIT
    made = project.read("app")
    project.plain(command)
    assert project.read("app") == made


async def test_a_path_in_a_link_is_not_shared_between_checkouts(
    project: Project, tmp_path: Path
) -> None:
    for root in (project.root, tmp_path / "other"):
        if not root.exists():
            shutil.copytree(project.root, root)
        project.root = root
        command = f"gcc {root}/main.o -L{root}/late -lf -o {root}/app -Wl,-rpath,{root}/late"
        assert await project.fresh(command) is MADE
        assert os.fsencode(root / "late") in project.read("app")
        assert await project.fresh(command) is HIT


async def test_a_link_that_must_run_here_runs_here_though_nothing_may_fall_back(
    project: Project,
) -> None:
    project.variables = {"REAPI_CC_FALLBACK": "never", "REAPI_SERVER": "127.0.0.1:1"}
    assert await project.fresh("gcc main.o f.o -o app") is MADE
    assert await project.fresh("gcc main.o f.o -o app") is HIT


OLD_LINKER = """
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **arguments) {
  for (int i = 0; i < count; i++)
    if (!strncmp(arguments[i], "--dependency-file", 17)) {
      fprintf(stderr, "ld: unrecognized option '%s'\\n", arguments[i]);
      return 1;
    }
  return execvp("ld", arguments);
}
"""


async def test_a_linker_that_does_not_tell_what_it_reads_links_and_nothing_is_kept(
    project: Project,
) -> None:
    (project.root / "ld.c").write_text(OLD_LINKER)
    assert project.plain("gcc ld.c -o early/ld").returncode == 0
    for _ in range(2):
        assert await project.fresh("gcc -Bearly main.o f.o -o app") is MADE
    assert project.plain("./app").returncode == 1


@pytest.mark.parametrize(
    "command",
    [
        "gcc main.c f.o -o app",
        "gcc -flto main.o f.o -o app",
        "clang -flto=thin main.o f.o -o app",
        "gcc main.o f.o -o app -Wl,-Map,app.map",
        "gcc main.o f.o -o app -Wl,-Map=app.map",
        "gcc main.o f.o -o app -Xlinker --dependency-file=app.d",
        "gcc main.o f.o -o app -Wl,--build-id=uuid",
        "gcc main.o f.o -o app -Wl,-T,script.ld",
        "gcc main.o f.o -o app -T script.ld",
        "gcc main.o f.o -o app -Wl,@more",
        "gcc main.o f.o -o app -Wl,late/libf.a",
        "gcc main.o f.o -o app -Wl,-Llate",
        "gcc main.o f.o -o app -Wl,-plugin,x.so",
        "gcc main.o f.o -o app --sysroot=/",
        "gcc main.o f.o -o app -specs=./x.specs",
        "gcc -v main.o f.o -o app",
        "gcc main.o f.o unknown.file -o app",
        "gcc main.o f.o -o /dev/null",
        "gcc conftest.o -o conftest",
        "ar rcsT libx.a f.o",
        "ar rcsU libx.a f.o",
        "ar rcu libx.a f.o",
        "ar t late/libf.a",
        "ar d late/libf.a f.o",
        "ar rcs libx.a",
        "ar --thin -rcs libx.a f.o",
        "ar rcs --plugin x.so libx.a f.o",
        "gcc-ar rcs libx.a f.o",
    ],
)
async def test_what_may_read_or_write_something_else_stays(project: Project, command: str) -> None:
    assert await project.run(command) is STAYS


async def test_a_variable_of_the_linker_keeps_its_link_here(project: Project) -> None:
    assert await project.fresh("gcc main.o f.o -o app") is MADE
    project.variables = {"LD_RUN_PATH": "/opt/lib"}
    assert await project.fresh("gcc main.o f.o -o app") is STAYS


async def test_LIBRARY_PATH_is_searched(project: Project) -> None:
    project.plain("ar rcs early/libf.a other.o")
    made = []
    for directory in ("late", "early"):
        project.variables = {"LIBRARY_PATH": str(project.root / directory)}
        assert await project.fresh("gcc main.o -lf -o app") is MADE
        assert await project.fresh("gcc main.o -lf -o app") is HIT
        made.append(project.read("app"))
    assert made[0] != made[1]


async def test_a_thin_archive_is_linked_and_not_kept(project: Project) -> None:
    project.plain("ar rcsT libthin.a f.o")
    for _ in range(2):
        assert await project.fresh("gcc main.o libthin.a -o app") is MADE
    answer = await project.answer("ar rcs libthin.a other.o")
    assert isinstance(answer, Finished)
    assert b"Cannot convert" in answer.stderr


async def test_objects_for_link_time_optimisation_are_linked_and_not_kept(project: Project) -> None:
    project.plain("gcc -flto -c f.c")
    for _ in range(2):
        assert await project.fresh("gcc main.o f.o -o app") is MADE


@pytest.mark.parametrize("command", ["gcc main.o f.o -o app", "ar rcs libx.a f.o"])
async def test_links_and_archives_stay_unless_asked_for(project: Project, command: str) -> None:
    project.variables = {"REAPI_CC_LINK": "0"}
    assert await project.run(command) is STAYS
    assert not (project.root / "app").exists()
