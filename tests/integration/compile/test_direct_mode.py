"""What was made before is used as long as the compiler would make the same, and no longer."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_asyncio

from reapi.clients.compile.model import Answer, Invocation, Local
from reapi.clients.compile.outcome import OutcomeKind
from tests.integration.compile.checkout import COMPILERS, Checkout, Client, kind_of
from tests.integration.compile.test_compiler_flags import assert_same

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORDS = ("-c", "foo.c", "-Ifirst", "-Isecond")
HIT, MISS, LOCAL = OutcomeKind.HIT_LOCAL, OutcomeKind.MISS_REMOTE, OutcomeKind.LOCAL


@pytest.fixture(params=COMPILERS)
def compiler(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(checkout: Checkout, request: pytest.FixtureRequest) -> Checkout:
    checkout.write(
        "foo.c", f'#include "a.h"\nint f(void) {{ return A; }}\n// {request.node.name}\n'
    )
    checkout.write("second/a.h", "#define A 1\n")
    for name in ("first", "sub"):
        checkout.write(f"{name}/other.h", "")
    return checkout


class Unit:
    """One call, checked against the plain compiler each time."""

    def __init__(self, project: Checkout, client: Client, call: Invocation) -> None:
        self.project = project
        self.client = client
        self.call = call

    async def ends(self, kind: OutcomeKind) -> Answer:
        plain = self.project.plain(self.call)
        ended, answer = await self.project.through(self.client, self.call)
        assert kind_of(answer) is kind, answer
        if not isinstance(answer, Local):
            assert_same(ended, plain)
        return answer


@pytest_asyncio.fixture(loop_scope="session")
async def unit(project: Checkout, here: Client, compiler: str) -> Unit:
    made = Unit(project, here, project.call(compiler, *WORDS, "-MD"))
    await made.ends(MISS)
    await made.ends(HIT)
    return made


SHADOWS = ("a.h", "first/a.h")


@pytest.mark.parametrize("shadow", SHADOWS)
async def test_M3_a_new_header_that_shadows_another_is_a_miss_and_its_end_a_hit(
    unit: Unit, shadow: str
) -> None:
    path = unit.project.write(shadow, "#define A 2\n")
    answer = await unit.ends(MISS)
    assert answer.outcome is not None
    assert "added or removed" in answer.outcome.details[0]
    await unit.ends(HIT)
    path.unlink()
    await unit.ends(HIT)


async def test_M3_a_header_that_changes_back_hits_again(unit: Unit) -> None:
    unit.project.write("second/a.h", "#define A 3\n")
    answer = await unit.ends(MISS)
    assert answer.outcome is not None
    assert answer.outcome.details == (f"{unit.project.root}/second/a.h has changed",)
    unit.project.write("second/a.h", "#define A 1\n")
    await unit.ends(HIT)
    unit.project.write("second/a.h", "#define A 3\n")
    await unit.ends(HIT)


async def test_a_file_that_is_only_touched_hits(unit: Unit) -> None:
    for name in ("foo.c", "second/a.h"):
        os.utime(unit.project.root / name)
    await unit.ends(HIT)


async def test_a_header_that_is_gone_is_the_compilers_to_report(unit: Unit) -> None:
    (unit.project.root / "second/a.h").unlink()
    answer = await unit.ends(LOCAL)
    assert isinstance(answer, Local)
    assert answer.reason == "it did not compile remotely"
    unit.project.write("second/a.h", "#define A 1\n")
    await unit.ends(HIT)


async def test_a_source_that_changes_is_a_miss(unit: Unit) -> None:
    text = (unit.project.root / "foo.c").read_text()
    unit.project.write("foo.c", f"{text}int g;\n")
    answer = await unit.ends(MISS)
    assert answer.outcome is not None
    assert answer.outcome.details == ("the source has changed",)
    unit.project.write("foo.c", text)
    await unit.ends(HIT)


async def test_other_arguments_and_directories_in_the_environment_are_misses(
    unit: Unit, compiler: str
) -> None:
    project, client = unit.project, unit.client
    words = [*WORDS, "-MD"]
    other = Unit(project, client, project.call(compiler, *words, "-DB=1"))
    answer = await other.ends(MISS)
    assert answer.outcome is not None
    assert answer.outcome.details == ("the argument -DB=1 is new",)
    await Unit(project, client, project.call(compiler, *words, CPATH="sub")).ends(MISS)
    await Unit(project, client, project.call(compiler, *words, TERM="dumb")).ends(HIT)


async def test_a_precompiled_header_that_appears_keeps_the_call_here(unit: Unit) -> None:
    there = unit.project.write("second/a.h.gch", "")
    answer = await unit.ends(LOCAL)
    assert isinstance(answer, Local)
    assert "precompiled" in answer.reason
    there.unlink()
    await unit.ends(HIT)
    unit.project.write("first/a.h.gch", "")
    answer = await unit.ends(LOCAL)
    assert isinstance(answer, Local)
    assert "may be taken for a header" in answer.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("const char *g = __DATE__;", "asks for the time"),
        ("const char *g = __TIME__;", "asks for the time"),
        ('__asm__(".incbin \\"second/a.h\\"");', "has .incbin"),
        ("#define N <a.h>\n#if __has_include(N)\n#endif", "computes which header"),
    ],
)
async def test_M1_what_nobody_can_know_stays_here_and_says_why(
    project: Checkout, here: Client, text: str, reason: str
) -> None:
    for name in ("foo.c", "second/a.h"):
        project.write("foo.c", '#include "a.h"\n')
        project.write("second/a.h", "")
        project.write(name, f"{(project.root / name).read_text()}{text}\n")
        call = project.call("gcc", *WORDS)
        answer = await Unit(project, here, call).ends(LOCAL)
        assert isinstance(answer, Local)
        assert reason in answer.reason


async def test_the_time_in_an_argument_keeps_the_call_here(project: Checkout, here: Client) -> None:
    call = project.call("gcc", *WORDS, "-DB=__TIME__")
    answer = await Unit(project, here, call).ends(LOCAL)
    assert isinstance(answer, Local)
    assert "arguments ask for the time" in answer.reason


@pytest.fixture
def own_compiler(open_path: Path) -> Callable[[bytes], Path]:
    """A copy of gcc's driver, with something behind its end."""

    def copy(more: bytes) -> Path:
        path = open_path / "bin" / "gcc"
        if not path.parent.exists():
            path.parent.mkdir()
            (open_path / "lib").symlink_to("/usr/lib")
        path.unlink(missing_ok=True)
        shutil.copyfile(os.path.realpath(shutil.which("gcc") or ""), path)
        with path.open("ab") as file:
            file.write(more)
        path.chmod(0o755)
        return path

    return copy


async def test_M2_another_compiler_of_the_same_name_is_a_miss(
    project: Checkout, here: Client, own_compiler: Callable[[bytes], Path]
) -> None:
    path = own_compiler(b"one")
    unit = Unit(project, here, project.call(str(path), *WORDS))
    await unit.ends(MISS)
    await unit.ends(HIT)
    own_compiler(b"two")
    answer = await unit.ends(MISS)
    assert answer.outcome is not None
    assert answer.outcome.details[0].startswith("the compiler is another")
    own_compiler(b"one")
    await unit.ends(HIT)
