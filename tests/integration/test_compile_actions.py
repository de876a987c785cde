"""Compiles on executors, whose root has nothing but the packaged compiler and what it reads."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import pytest_asyncio

from reapi.clients.compile.compile_action import CompileAction, CompileActions
from reapi.clients.compile.compilers import Compiler, Compilers
from reapi.clients.compile.environment import sent_environment
from reapi.clients.compile.model import (
    CANONICAL_ROOT,
    Compilation,
    Invocation,
    Local,
    View,
    Word,
)
from reapi.clients.compile.root_tree import EXACT_VIEW
from reapi.clients.file_digests import FileDigests
from reapi.clients.upload import upload
from reapi.core.digest import SHA256, Digest
from reapi.core.errors import InvalidArgument
from reapi.executor.sandbox_choice import SandboxSetting
from tests.integration.system import System, open_system
from tests.unit.executor.harness import needs_bubblewrap, needs_root

pytestmark = pytest.mark.asyncio(loop_scope="module")

C_SOURCE = """
#include <stdio.h>
#include <string.h>
#include "there.h"
int main(int argc, char **argv) { assert_there(argc); return printf("%s %s", argv[0], __FILE__); }
"""
CXX_SOURCE = """
#include <algorithm>
#include <string>
#include <vector>
#include "there.h"
int longest(std::vector<std::string> &v) {
  return assert_there(std::max_element(v.begin(), v.end())->size());
}
"""
HEADER = "static inline int assert_there(int x) { return x + __LINE__; }\n"
ASSEMBLER = """
#include "there_s.h"
.globl here
here: nop
.quad VALUE
"""
WARNING = "int f(void) { int unused = 1; int *p = 5; return *p; }\n"
UTF8 = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def local_digest(path: str) -> Digest:
    status = os.stat(path)
    return _digest(path, status.st_mtime_ns, status.st_size)


@cache
def _digest(path: str, *_: int) -> Digest:
    with FileDigests(None) as digests:
        return digests.digest(path, os.stat(path))


@dataclass
class Bench:
    """A project, an executor, and two ways to compile: with the plain compiler, and there."""

    system: System
    project: Path
    compilers: Compilers
    actions: CompileActions

    @property
    def cwd(self) -> Path:
        return self.project / "build"

    def write(self, path: str, text: str) -> Path:
        target = self.project / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    async def compiler(self, name: str, environment: Mapping[str, str] = UTF8) -> Compiler:
        found = await self.compilers.find(Invocation((name,), str(self.cwd), environment))
        assert isinstance(found, Compiler), found
        return found

    def plain(
        self, command: Sequence[str], outputs: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[dict[str, bytes], bytes]:
        """What the compiler makes and says here; nothing of it is left."""
        done = subprocess.run(
            command, cwd=self.cwd, env=environment, capture_output=True, check=False
        )
        made = {}
        for path in outputs:
            file = self.cwd / path
            if file.exists():
                made[path] = file.read_bytes()
                file.unlink()
        return made, done.stderr

    async def action(
        self,
        command: Sequence[str],
        outputs: Sequence[str],
        environment: Mapping[str, str],
        *,
        directory: str | None = None,
        view: View = EXACT_VIEW,
        directories: Sequence[str] = (),
        more_inputs: Sequence[str] = (),
    ) -> CompileAction:
        invocation = Invocation(tuple(command), str(self.cwd), environment)
        compiler = await self.compilers.find(invocation)
        assert isinstance(compiler, Compiler), compiler
        words = tuple(Word(word) for word in command[1:])
        compilation = Compilation(compiler.family, words, "", "", "")
        toolchain = await self.compilers.toolchain(compiler, compilation, invocation)
        assert not isinstance(toolchain, Local), toolchain
        variables = sent_environment(environment)
        assert not isinstance(variables, Local), variables
        inputs = [*inputs_of(command, self.cwd, environment), *more_inputs]
        return self.actions.make(
            toolchain,
            arguments=command,
            environment=variables,
            working_directory=directory or str(self.cwd),
            outputs=outputs,
            inputs=[os.path.join(self.cwd, path) for path in inputs],
            directories=[os.path.join(self.cwd, path) for path in directories],
            view=view,
        )

    async def remote(
        self, action: CompileAction, *, must_succeed: bool = True
    ) -> tuple[dict[str, bytes], bytes]:
        await upload(self.system.blobs, action.blobs, action.files)
        response = await self.system.run_action(action.digest, inline_stderr=True)
        assert response.status.code == 0, response.status
        result = response.result
        assert not (must_succeed and result.exit_code), result.stderr_raw.decode()
        made = {
            action.outputs[file.path]: await self.system.read(file.digest)
            for file in result.output_files
        }
        return made, result.stderr_raw

    async def check(
        self,
        command: Sequence[str],
        outputs: Sequence[str],
        environment: Mapping[str, str] = UTF8,
        *,
        must_succeed: bool = True,
        directory: str | None = None,
        directories: Sequence[str] = (),
        more_inputs: Sequence[str] = (),
    ) -> tuple[dict[str, bytes], bytes]:
        """Asserts that both ways make the same and say the same; returns it."""
        action = await self.action(
            command,
            outputs,
            environment,
            directory=directory,
            directories=directories,
            more_inputs=more_inputs,
        )
        remote = await self.remote(action, must_succeed=must_succeed)
        plain = self.plain(command, outputs, environment)
        assert remote[1].decode() == plain[1].decode()
        assert remote[0].keys() == plain[0].keys()
        assert remote == plain
        return plain


def inputs_of(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> list[str]:
    """What the compiler says that it reads."""
    words = [word for word in command if word not in ("-c", "-gsplit-dwarf")]
    if "-o" in words:
        at = words.index("-o")
        words[at : at + 2] = []
    done = subprocess.run(
        [*words, "-M", "-MG"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.replace("\\\n", " ").partition(":")[2].split()


WAYS = [
    pytest.param("bubblewrap", marks=needs_bubblewrap, id="bubblewrap"),
    pytest.param("none", marks=needs_root, id="chroot"),
]


@pytest.fixture
def sandbox() -> SandboxSetting:
    """Tests with the mark `each_way` have them all."""
    return "auto"


each_way = pytest.mark.parametrize("sandbox", WAYS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened_system() -> AsyncIterator[Callable[[SandboxSetting], Awaitable[System]]]:
    """Opens one system, with a worker, for each sandbox: compilers are brought there once."""
    systems: dict[SandboxSetting, System] = {}
    async with AsyncExitStack() as stack:

        async def opened(sandbox: SandboxSetting) -> System:
            if sandbox not in systems:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="reapi-test-"))
                os.chmod(folder, 0o711)  # the users of actions have to get at their inputs
                system = await stack.enter_async_context(open_system(Path(folder)))
                await stack.enter_async_context(system.worker(sandbox=sandbox))
                systems[sandbox] = system
            return systems[sandbox]

        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def bench(
    sandbox: SandboxSetting,
    opened_system: Callable[[SandboxSetting], Awaitable[System]],
    open_path: Path,
) -> Bench:
    made = Bench(
        await opened_system(sandbox),
        open_path / "project",
        Compilers(local_digest),
        CompileActions(local_digest, SHA256),
    )
    made.cwd.mkdir(parents=True)
    made.write("real/there.h", HEADER)
    made.write("real/there_s.h", "#define VALUE 5\n")
    (made.project / "linked").symlink_to("real")
    (made.project / "absolute").symlink_to(made.project / "linked")
    made.write("src/a.c", C_SOURCE)
    made.write("src/a.cc", CXX_SOURCE)
    made.write("src/a.S", ASSEMBLER)
    made.write("src/w.c", WARNING)
    return made


@pytest.fixture(params=["gcc", "clang"])
def c_compiler(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        missing = {"gcc": "g++"}.get(name, name)
        pytest.fail(f"run `scripts/install_system_packages.sh {missing}`", pytrace=False)
    return name


@pytest.fixture
def cxx_compiler(c_compiler: str) -> str:
    return {"gcc": "g++", "clang": "clang++"}[c_compiler]


@each_way
async def test_a_compile_makes_what_it_makes_here(
    bench: Bench, c_compiler: str, cxx_compiler: str
) -> None:
    await bench.check(f"{c_compiler} -g -O2 -I../linked -c ../src/a.c -o a.o".split(), ["a.o"])
    source = str(bench.project / "src" / "a.cc")
    include = f"-I{bench.project}/absolute"
    await bench.check([cxx_compiler, "-g", "-O2", include, "-c", source, "-o", "a.o"], ["a.o"])


@each_way
async def test_side_outputs_are_those_of_here(bench: Bench, c_compiler: str) -> None:
    bench.write("build/sub/.keep", "")
    command = [
        *f"{c_compiler} -g -O2 -gsplit-dwarf --coverage -I../linked".split(),
        *[
            "-frandom-seed=1",
            "-c",
            "../src/a.c",
            "-o",
            "sub/a.o",
        ],  # else gcc stamps it with the time
    ]
    made, _ = await bench.check(command, ["sub/a.o", "sub/a.dwo", "sub/a.gcno"])
    assert len(made) == 3


@each_way
async def test_outputs_may_be_beside_the_working_directory_and_behind_symlinks(
    bench: Bench,
) -> None:
    (bench.project / "objects").symlink_to(bench.project / "real")
    command = ["gcc", "-gsplit-dwarf", "-I../linked", "-c", "../src/a.c", "-o", "../objects/a.o"]
    made, _ = await bench.check(command, ["../objects/a.o", "../objects/a.dwo"])
    assert len(made) == 2


@each_way
async def test_diagnostics_are_those_of_here(bench: Bench, c_compiler: str) -> None:
    command = [c_compiler, *["-Wall", "-fdiagnostics-color=always", "-c", "../src/w.c"]]
    for environment in (UTF8, {**UTF8, "LC_ALL": "C"}):
        _, said = await bench.check(command, ["w.o"], environment)
        assert b"\x1b[" in said
        assert ("\N{LEFT SINGLE QUOTATION MARK}".encode() in said) == (
            c_compiler == "gcc" and "LC_ALL" not in environment
        )


async def test_a_compile_that_fails_says_what_it_says_here(bench: Bench, c_compiler: str) -> None:
    bench.write("src/bad.c", "int f( {\n")
    command = [c_compiler, "-c", "../src/bad.c"]
    made, said = await bench.check(command, ["bad.o"], must_succeed=False)
    assert not made
    assert b"error" in said


async def test_search_directories_that_give_nothing_are_there(bench: Bench) -> None:
    (bench.project / "empty").mkdir()
    command = [
        *["gcc", "-Wmissing-include-dirs", "-I../empty", "-I../absent", "-I../linked"],
        *["-c", "../src/a.c", "-o", "a.o"],
    ]
    _, said = await bench.check(command, ["a.o"], directories=["../empty", "../absent"])
    assert b"empty" not in said
    assert b"absent" in said


async def test_assembler_sources_are_assembled(bench: Bench, c_compiler: str) -> None:
    command = f"{c_compiler} -g -Wa,--noexecstack -I../linked -c ../src/a.S -o a.o".split()
    made, _ = await bench.check(command, ["a.o"])
    assert made


async def test_clang_may_use_the_assembler_of_the_system(bench: Bench) -> None:
    command = ["clang", "-fno-integrated-as", "-g", "-I../linked", "-c", "../src/a.c", "-o", "a.o"]
    made, _ = await bench.check(command, ["a.o"])
    assert made


async def test_programs_and_specs_that_arguments_choose_are_there(bench: Bench) -> None:
    assembler = bench.project / "tools" / "as"
    assembler.parent.mkdir()
    shutil.copy("/usr/bin/as", assembler)
    specs = bench.write("mine.specs", "*cpp_unique_options:\n+ -DVALUE_OF_SPECS=7\n\n")
    bench.write("src/s.c", "int value = VALUE_OF_SPECS;\n")
    command = f"gcc -g -B../tools -specs={specs} -c ../src/s.c -o s.o".split()
    action = await bench.action(command, ["s.o"], UTF8)
    assert local_digest(str(assembler)) in action.files
    made, _ = await bench.check(command, ["s.o"])
    assert made


@each_way
async def test_the_name_of_the_working_directory_is_that_of_its_user(
    bench: Bench, c_compiler: str
) -> None:
    logical = bench.project.parent / "checkout"
    logical.symlink_to(bench.project)
    command = f"{c_compiler} -g -I../linked -c ../src/a.c -o a.o".split()
    directory = str(logical / "build")
    made, _ = await bench.check(command, ["a.o"], {**UTF8, "PWD": directory}, directory=directory)
    assert directory.encode() in made["a.o"]


@each_way
async def test_devices_are_no_inputs(bench: Bench, c_compiler: str) -> None:
    command = [
        c_compiler,
        *["-include", "/dev/null", "-I../linked", "-c", "../src/a.c", "-o", "a.o"],
    ]
    made, _ = await bench.check(command, ["a.o"])
    assert made


async def test_a_view_moves_the_checkout(bench: Bench, c_compiler: str) -> None:
    """Two checkouts make one action, whose result knows neither of them."""
    other = bench.project.parent / "other"
    shutil.copytree(bench.project, other, symlinks=True)
    (other / "absolute").unlink()
    (other / "absolute").symlink_to(other / "linked")
    command = f"{c_compiler} -g -I../absolute -c ../src/a.c -o a.o".split()
    actions = []
    for project in (bench.project, other):
        bench.project = project
        view = View(str(project), CANONICAL_ROOT)
        actions.append(await bench.action(command, ["a.o"], UTF8, view=view))
    assert actions[0].digest == actions[1].digest
    made, _ = await bench.remote(actions[0])
    assert f"{CANONICAL_ROOT}/build".encode() in made["a.o"]
    assert bench.project.name.encode() not in made["a.o"]


async def test_inputs_that_only_their_inodes_tell_apart_are_declined(
    bench: Bench, c_compiler: str
) -> None:
    """An executor makes one file of both, and neither compiler would read the second."""
    for name in ("one", "two"):
        bench.write(f"{name}/all.h", '#pragma once\n#include "part.h"\n')
        bench.write(f"{name}/part.h", f"int {name};\n")
    os.utime(bench.project / "one/all.h", (1, 1))  # gcc goes by it
    bench.write("src/p.c", '#include "../one/all.h"\n#include "../two/all.h"\nint *p = &two;\n')
    with pytest.raises(InvalidArgument, match=r"one/all.h and .*two/all.h have the same content"):
        await bench.action([c_compiler, "-c", "../src/p.c", "-o", "p.o"], ["p.o"], UTF8)


async def test_gcc_reads_two_files_of_the_same_content(bench: Bench) -> None:
    for name in ("one", "two"):
        bench.write(f"{name}/part.h", "int NAME(void) { return sizeof __FILE__ + __LINE__; }\n")
    includes = (
        f'#define NAME {n}\n#include "../{n}/part.h"\n#undef NAME\n' for n in ("one", "two")
    )
    bench.write("src/p.c", "".join(includes))
    made, _ = await bench.check(["gcc", "-g", "-c", "../src/p.c", "-o", "p.o"], ["p.o"])
    assert made


async def test_the_same_file_under_two_names_is_one_file(bench: Bench, c_compiler: str) -> None:
    bench.write("one/part.h", "#pragma once\nint part;\n")
    (bench.project / "one" / "symbolic.h").symlink_to("part.h")
    (bench.project / "one" / "hard.h").hardlink_to(bench.project / "one" / "part.h")
    names = ("part", "symbolic", "hard")
    bench.write("src/p.c", "".join(f'#include "../one/{name}.h"\n' for name in names))
    command = [c_compiler, "-g", "-c", "../src/p.c", "-o", "p.o"]
    # gcc opens all of them, but -M has only the first.
    names_of_one = [f"../one/{name}.h" for name in names]
    made, _ = await bench.check(command, ["p.o"], more_inputs=names_of_one)
    assert made
