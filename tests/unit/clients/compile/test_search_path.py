"""Where a compiler looks for headers, by its own word."""

from pathlib import Path

import pytest

from reapi.clients.compile import search_path
from reapi.clients.compile.model import Family
from reapi.clients.compile.search_path import SearchPaths
from reapi.core.errors import FailedPrecondition

from .units import Call, Named, Project


@pytest.fixture
def project(tmp_path: Path, family: Family) -> Project:
    return Project(tmp_path, family)


async def test_directories_are_told_in_order_and_whether_they_exist_or_not(
    project: Project,
) -> None:
    words = ["-Ione", "-I", "two", "-iquote", "q", "-isystem/sys", "-idirafter", "last", "-Wp,-I,p"]
    environment = {"CPATH": "path:", "C_INCLUDE_PATH": "/env"}
    found = await SearchPaths().find(project.call(*words, environment=environment))
    root = str(project.root)
    assert found.quote == (f"{root}/q",)
    assert found.angle == tuple(f"{root}/{name}" for name in ("one", "two", "p", "path", ""))
    assert found.system[:2] == ("/sys", "/env")
    assert "/usr/include" in found.system
    assert "/usr/local/include" in found.system
    assert found.after == (f"{root}/last",)
    assert found.directories[0] == f"{root}/q"


async def test_names_of_headers_on_the_command_line_are_told(project: Project) -> None:
    found = await SearchPaths().find(
        project.call("-include", "a.h", "-imacrosb.h", "--include=c.h")
    )
    assert found.names == ("a.h", "b.h", "c.h")


async def test_words_that_change_what_is_built_in_are_heeded(project: Project) -> None:
    paths = SearchPaths()
    plain = await paths.find(project.call())
    without = await paths.find(project.call("-nostdinc"))
    assert not without.directories
    other = await paths.find(project.call("--sysroot=/nowhere", "-I=include"))
    assert "/nowhere/usr/include" in other.directories
    assert "/nowhereinclude" in other.directories
    assert "/usr/include" not in other.directories
    assert await paths.find(project.call()) == plain


async def test_a_compiler_is_asked_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = SearchPaths()
    assert paths.known(project.call("-Ia")) is None
    first = await paths.find(project.call("-Ia"))
    assert paths.known(project.call("-Ia")) is first
    assert paths.known(project.call("-Ib")) is None
    monkeypatch.setattr(search_path, "run_process", None)
    other = await paths.find(project.call("-Ib"))
    assert other.system == first.system


async def test_a_program_that_does_not_tell_is_an_error(project: Project) -> None:
    call = project.call()
    for path in ("/bin/true", "/bin/false", "/nowhere/gcc"):
        other = Call(Named(path), Named(path), call.compilation, call.invocation, call.directory)
        with pytest.raises(FailedPrecondition):
            await SearchPaths().find(other)
