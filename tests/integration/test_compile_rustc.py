"""Single calls of rustc through the engine, beside what rustc does by itself."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reapi.clients.compile.engines import Engines
from reapi.clients.compile.local_slots import LocalSlots
from reapi.clients.compile.making import make_engines
from reapi.clients.compile.model import Answer, Finished, Invocation, Local
from reapi.clients.compile.outcome import OutcomeKind
from reapi.clients.compile.settings import CompileSettings
from tests.integration.system import System

LIBRARY = ("--crate-name=x", "--crate-type=lib", "--emit=dep-info,metadata,link", "x.rs")
SOURCE = "pub fn f() -> u32 { let unused = 1; 7 }\n"


@dataclass
class Project:
    """A directory with sources, and what answers calls of rustc in it."""

    root: Path
    rustc: str
    engines: Engines
    environment: dict[str, str]

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)

    async def call(self, *more: str, **variables: str) -> Answer:
        return await self.engines.answer(self._invocation(more, variables))

    async def kind(self, *more: str, **variables: str) -> OutcomeKind:
        answer = await self.call(*more, **variables)
        assert answer.outcome is not None
        return answer.outcome.kind

    def plain(self, *more: str, **variables: str) -> tuple[int, bytes]:
        """The exit code and stderr of rustc itself."""
        call = self._invocation(more, variables)
        done = subprocess.run(
            call.arguments, cwd=self.root, env=call.environment, capture_output=True, check=False
        )
        return done.returncode, done.stderr

    def outputs(self) -> dict[str, bytes]:
        """What was made, which is gone then."""
        made = {}
        for path in [*self.root.glob("libx.*"), *self.root.glob("x.d")]:
            made[path.name] = b"\n".join(sorted(path.read_bytes().splitlines()))
            path.unlink()
        return made

    def _invocation(self, more: tuple[str, ...], variables: dict[str, str]) -> Invocation:
        return Invocation(
            (self.rustc, *LIBRARY, *more), str(self.root), {**self.environment, **variables}
        )


@pytest.fixture
async def project(idle_system: System, open_path: Path, rustc: str) -> AsyncIterator[Project]:
    root = open_path / "project"
    root.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "REAPI_SERVER": idle_system.address,
        "REAPI_CC_ROOT": str(root),
        "REAPI_CC_STRATEGY": "local",
    }
    settings = CompileSettings(cache_dir=str(open_path / "cache"))
    async with make_engines(
        settings, LocalSlots(2), list[str]().append, tool_name="test"
    ) as engines:
        made = Project(root, rustc, engines, environment)
        made.write("x.rs", SOURCE)
        yield made


async def test_what_rustc_says_is_repeated_to_the_byte(project: Project) -> None:
    for more in ([], ["--color=always"], ["--error-format=json", "--json=artifacts"]):
        _, said = project.plain(*more)
        plain = project.outputs()
        for kind in (OutcomeKind.MISS_LOCAL, OutcomeKind.HIT_LOCAL):
            answer = await project.call(*more)
            assert isinstance(answer, Finished)
            assert answer.outcome is not None
            assert (answer.outcome.kind, answer.stderr) == (kind, said)
            assert project.outputs() == plain


async def test_a_crate_that_fails_says_why_each_time(project: Project) -> None:
    project.write("x.rs", "pub fn f() -> u32 { true }\n")
    expected = project.plain()
    for _ in range(2):
        answer = await project.call()
        assert isinstance(answer, Finished)
        assert answer.outcome is not None
        assert answer.outcome.kind is OutcomeKind.MISS_LOCAL
        assert (answer.exit_code, answer.stderr) == expected


async def test_the_jobserver_of_a_caller_is_not_asked_for(project: Project) -> None:
    variable = {"CARGO_MAKEFLAGS": "-j --jobserver-fds=98,99 --jobserver-auth=98,99"}
    _, said = project.plain()
    answer = await project.call(**variable)
    assert isinstance(answer, Finished)
    assert answer.stderr == said


async def test_static_libraries_are_inputs(project: Project) -> None:
    more = ("-lstatic=y", "-Lnative=one", "-Lnative=two")
    project.write("one/none", "")
    project.write("two/none", "")
    await _make_archive(project.root / "two", "liby.a")
    assert await project.kind(*more) is OutcomeKind.MISS_LOCAL
    assert await project.kind(*more) is OutcomeKind.HIT_LOCAL
    project.write("one/liby.a", "!<arch>\n")
    assert await project.kind(*more) is OutcomeKind.MISS_LOCAL
    (project.root / "one/liby.a").unlink()
    assert await project.kind(*more) is OutcomeKind.HIT_LOCAL


async def test_a_crate_with_a_library_that_its_source_names_is_not_kept(project: Project) -> None:
    await _make_archive(project.root, "liby.a")
    project.write("x.rs", '#[link(name = "y", kind = "static")] extern "C" {}\n')
    for _ in range(2):
        answer = await project.call("-Lnative=.")
        assert answer.outcome is not None
        assert answer.outcome.kind is OutcomeKind.MISS_LOCAL
        assert "not kept" in answer.outcome.reason
    assert await project.kind("-Lnative=.", "--cfg=a", "-lstatic=y") is OutcomeKind.MISS_LOCAL
    assert await project.kind("-Lnative=.", "--cfg=a", "-lstatic=y") is OutcomeKind.MISS_LOCAL


async def test_a_crate_that_only_may_name_a_library_is_kept(project: Project) -> None:
    """As libc does."""
    project.write("x.rs", '#[cfg(never)] #[link(name = "y", kind = "static")] extern "C" {}\n')
    assert await project.kind() is OutcomeKind.MISS_LOCAL
    assert await project.kind() is OutcomeKind.HIT_LOCAL


async def test_a_crate_whose_assembler_includes_files_is_not_kept(project: Project) -> None:
    project.write("y.bin", "y")
    project.write("x.rs", 'core::arch::global_asm!(".incbin \\"y.bin\\"");\n')
    for _ in range(2):
        assert await project.kind() is OutcomeKind.MISS_LOCAL


async def test_checks_of_build_scripts_stay_here(project: Project) -> None:
    answer = await project.call(CARGO_CFG_TARGET_ARCH="x86_64")
    assert isinstance(answer, Local)
    assert "build script" in answer.reason


async def _make_archive(directory: Path, name: str) -> None:
    """An archive with one object."""
    (directory / "y.c").write_text("int y;\n")
    for command in (["gcc", "-c", "y.c"], ["ar", "rc", name, "y.o"]):
        process = await asyncio.create_subprocess_exec(*command, cwd=directory)
        assert await process.wait() == 0


async def test_a_module_that_could_be_two_files_is_an_error_again(project: Project) -> None:
    project.write("x.rs", "pub mod part;\n")
    project.write("part.rs", "pub fn f() {}\n")
    await project.call()
    assert await project.kind() is OutcomeKind.HIT_LOCAL
    project.write("part/mod.rs", "pub fn g() {}\n")
    answer = await project.call()
    assert isinstance(answer, Finished)
    assert answer.exit_code == project.plain()[0] == 1


async def test_a_crate_of_a_dylib_stays_here(project: Project) -> None:
    project.write("liby.so", "of compressed metadata")
    answer = await project.call(f"--extern=y={project.root}/liby.so")
    assert isinstance(answer, Local)
    assert "dylib" in answer.reason


async def test_a_directory_that_may_have_crates_or_not_stays_when_it_has(project: Project) -> None:
    project.write("some/liby.a", "!<arch>\n")
    assert await project.kind("-Lsome") is OutcomeKind.MISS_LOCAL
    project.write("some/liby.rlib", "!<arch>\n")
    assert isinstance(await project.call("-Lsome", "-g"), Local)


async def test_rustup_is_no_compiler(project: Project) -> None:
    project.write("bin/rustup", "#!/bin/sh\n")
    (project.root / "bin/rustup").chmod(0o755)
    (project.root / "bin/rustc").symlink_to("rustup")
    project.rustc = "rustc"
    project.environment["PATH"] = f"{project.root}/bin"
    answer = await project.call()
    assert isinstance(answer, Local)
    assert "rustup" in answer.reason
