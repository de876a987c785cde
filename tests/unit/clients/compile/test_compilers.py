"""Which compiler a call means, what it is, and that both are found anew when they change."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reapi.clients.compile import compilers as module
from reapi.clients.compile.compilers import Compiler, Compilers
from reapi.clients.compile.model import Compilation, Family, Local, Product, Word
from reapi.clients.compile.toolchain import Toolchain
from reapi.core.digest import Digest, digest_of
from tests.unit.clients.compile.conftest import call


def local_digest(path: str | Path) -> Digest:
    return digest_of(Path(path).read_bytes())


class Reading:
    """Digests of files, and how many were read."""

    def __init__(self) -> None:
        self.files = 0

    def __call__(self, path: str) -> Digest:
        self.files += 1
        return local_digest(path)


@pytest.fixture
def reading() -> Reading:
    return Reading()


@pytest.fixture
def compilers(reading: Reading) -> Compilers:
    return Compilers(reading)


def is_here(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {missing}")


async def compiler_of(
    compilers: Compilers, name: str, directory: Path, **variables: str
) -> Compiler:
    found = await compilers.find(call(name, directory, **variables))
    assert isinstance(found, Compiler), found
    return found


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("name", "family", "is_cplusplus"),
    [
        pytest.param("gcc", Family.GCC, False, marks=is_here("gcc")),
        pytest.param("cc", Family.GCC, False, marks=is_here("cc")),
        pytest.param("g++", Family.GCC, True, marks=is_here("g++")),
        pytest.param("c++", Family.GCC, True, marks=is_here("c++")),
        pytest.param(
            "x86_64-linux-gnu-g++", Family.GCC, True, marks=is_here("x86_64-linux-gnu-g++")
        ),
        pytest.param("clang", Family.CLANG, False, marks=is_here("clang")),
        pytest.param("clang++", Family.CLANG, True, marks=is_here("clang++")),
        pytest.param("clang++-14", Family.CLANG, True, marks=is_here("clang++-14")),
    ],
)
async def test_a_compiler_says_what_it_is(
    compilers: Compilers, tmp_path: Path, name: str, family: Family, is_cplusplus: bool
) -> None:
    found = await compiler_of(compilers, name, tmp_path)
    assert (found.family, found.is_cplusplus) == (family, is_cplusplus)
    assert found.command == name
    assert found.path == shutil.which(name)
    assert found.version[0].isdigit()
    assert "-" in found.target
    assert found.path in found.toolchain.files


async def test_a_known_compiler_is_not_asked_again(
    compilers: Compilers, reading: Reading, gcc: Path, tmp_path: Path
) -> None:
    first = call("gcc", tmp_path, PATH=str(gcc.parent))
    assert compilers.known(first) is None
    found = await compilers.find(first)
    before = reading.files
    assert compilers.known(first) is found
    assert await compilers.find(first) is found
    assert reading.files == before > 0


async def test_a_compiler_that_changes_is_another(
    compilers: Compilers, gcc: Path, tmp_path: Path
) -> None:
    path = f"{gcc.parent}:{os.environ['PATH']}"
    before = await compiler_of(compilers, "gcc", tmp_path, PATH=path)
    with gcc.open("ab") as file:
        file.write(b"changed")
    after = await compiler_of(compilers, "gcc", tmp_path, PATH=path)
    assert before.digest != after.digest
    assert before.path == after.path == str(gcc)


async def test_a_compiler_that_comes_earlier_on_the_path_is_taken(
    compilers: Compilers, gcc: Path, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier" / "gcc"
    path = f"{earlier.parent}:{gcc.parent}:{os.environ['PATH']}"
    assert (await compiler_of(compilers, "gcc", tmp_path, PATH=path)).path == str(gcc)
    earlier.parent.mkdir()
    shutil.copy(gcc, earlier)
    assert (await compiler_of(compilers, "gcc", tmp_path, PATH=path)).path == str(earlier)
    earlier.unlink()
    assert (await compiler_of(compilers, "gcc", tmp_path, PATH=path)).path == str(gcc)


@pytest.mark.parametrize("is_called_by_path", [False, True])
@pytest.mark.parametrize("kind", ["symlink", "stub"])
async def test_the_wrapper_itself_is_passed_over(
    compilers: Compilers, gcc: Path, tmp_path: Path, kind: str, is_called_by_path: bool
) -> None:
    ours = tmp_path / "ours" / "gcc"
    stub = write_script(tmp_path / "reapi-cc", "#!/bin/sh\n")
    if kind == "symlink":
        ours.parent.mkdir()
        ours.symlink_to(stub)
    else:
        write_script(ours, "#!/bin/sh\n# REAPI_CC_SOCKET\n")
    name = str(ours) if is_called_by_path else "gcc"
    path = f"{ours.parent}:{gcc.parent}:{os.environ['PATH']}"
    found = await compiler_of(compilers, name, tmp_path, PATH=path)
    assert found.path == str(gcc)
    assert found.command == (str(gcc) if is_called_by_path else "gcc")


@pytest.mark.parametrize("name", ["bin/gcc", "../{}/bin/gcc", "{}/bin/gcc"])
async def test_a_compiler_may_be_called_by_a_path(
    compilers: Compilers, gcc: Path, tmp_path: Path, name: str
) -> None:
    name = name.format(tmp_path.name if name.startswith("..") else tmp_path)
    found = await compiler_of(compilers, name, tmp_path)
    assert found.command == name
    assert found.toolchain.files[found.path] == local_digest(gcc)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("absent", None, "not on the PATH"),
        ("gcc", lambda path: path.symlink_to("/usr/bin/env"), "is env, which is not known"),
        ("afl-gcc", lambda path: shutil.copy(shutil.which("gcc") or "", path), "another target"),
        ("clang-cl", lambda path: path.symlink_to(shutil.which("clang") or ""), "not known"),
        ("clang", lambda path: shutil.copy(shutil.which("gcc") or "", path), "does not say"),
        ("gcc", lambda path: write_script(path, "#!/bin/sh\necho 1\n"), "does not say"),
        ("gcc", lambda path: write_script(path, "#!/bin/sh\necho no; exit 1\n"), "says: no"),
        (
            "gcc",
            lambda path: write_script(path, '#!/bin/sh\nexec /usr/bin/gcc "$@"\n'),
            "not an ELF",
        ),
    ],
)
async def test_what_cannot_be_packaged_stays_here(
    compilers: Compilers,
    tmp_path: Path,
    name: str,
    make: Callable[[Path], object] | None,
    reason: str,
) -> None:
    path = tmp_path / "bin" / name
    path.parent.mkdir()
    if make is not None:
        make(path)
    invocation = call(name, tmp_path, PATH=f"{path.parent}:{os.environ['PATH']}")
    found = await compilers.find(invocation)
    assert isinstance(found, Local)
    assert reason in found.reason
    assert compilers.known(invocation) is found


async def test_arguments_may_choose_another_toolchain(
    compilers: Compilers, gcc: Path, tmp_path: Path
) -> None:
    invocation = call(str(gcc), tmp_path)
    compiler = await compiler_of(compilers, str(gcc), tmp_path)

    def compilation(*words: str) -> Compilation:
        return Compilation(compiler.family, tuple(map(Word, words)), "a.c", "c", "a.o")

    plain = await compilers.toolchain(compiler, compilation("-O2", "-Ix"), invocation)
    assert plain is compiler.toolchain
    chosen = compilation("-B", "tools", "-O2")
    assert compilers.known_toolchain(compiler, chosen, invocation) is None
    before = await compilers.toolchain(compiler, chosen, invocation)
    assert isinstance(before, Toolchain)
    assert before.digest == plain.digest
    assert compilers.known_toolchain(compiler, chosen, invocation) is before

    tools = tmp_path / "tools"
    tools.mkdir()
    shutil.copy("/usr/bin/as", tools / "as")
    assert compilers.known_toolchain(compiler, chosen, invocation) is None
    after = await compilers.toolchain(compiler, chosen, invocation)
    assert isinstance(after, Toolchain)
    assert any(path.endswith("/tools/as") for path in after.files)


async def test_links_need_more(compilers: Compilers, gcc: Path, tmp_path: Path) -> None:
    invocation = call(str(gcc), tmp_path)
    compiler = await compiler_of(compilers, str(gcc), tmp_path)
    link = Compilation(Family.GCC, (), "", "", "app", product=Product.PROGRAM)
    linking = await compilers.toolchain(compiler, link, invocation)
    assert isinstance(linking, Toolchain)
    more = {os.path.basename(path) for path in linking.files.keys() - compiler.toolchain.files}
    assert {"collect2", "ld"} <= more
    assert any(name.startswith("liblto_plugin") for name in more)


async def test_many_calls_at_once_ask_once(
    gcc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compilers: Compilers
) -> None:
    asked = []
    find = module._find
    monkeypatch.setattr(module, "_find", lambda *each: (asked.append(each), find(*each))[1])
    invocation = call(str(gcc), tmp_path)
    answers = await asyncio.gather(*(compilers.find(invocation) for _ in range(20)))
    assert len(asked) == 1
    assert all(answer is answers[0] for answer in answers)
