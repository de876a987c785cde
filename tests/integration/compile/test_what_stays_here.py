"""What stays on this machine does so without being asked, at once, and says why."""

import pytest

from reapi.clients.compile.model import Local
from reapi.clients.compile.outcome import OutcomeKind
from reapi.core.errors import InvalidArgument
from tests.integration.compile.checkout import Checkout, Client, kind_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("foo.c -o foo", "links"),
        ("foo.o bar.o -o foo", "links"),
        ("-shared foo.c -o foo.so", "links"),
        ("-E foo.c", "preprocesses"),
        ("-M foo.c", "preprocesses"),
        ("-MM foo.c", "preprocesses"),
        ("--version", "asks about"),
        ("-dumpmachine", "asks about"),
        ("-v", "no source"),
        ("-c - -xc", "stdin"),
        ("-c -x c -", "stdin"),
        ("-c conftest.c", "check of a configuration"),
        ("-c build/CMakeFiles/CMakeScratch/TryCompile-x/src.c", "check of a configuration"),
        ("-c build/CMakeFiles/3.25.1/CompilerIdC/CMakeCCompilerId.c", "check of a configuration"),
        ("-c build/meson-private/tmpabc/testfile.c", "check of a configuration"),
        ("-c /tmp/foo.c", "temporary"),
        ("-c foo.c bar.c", "several sources"),
        ("-c foo.c -march=native", "this machine"),
        ("-c foo.h", "precompiled header"),
        ("-c foo.c -fsyntax-only", ""),
        ("-c foo.c -save-temps", ""),
        ("-c foo.c -o /dev/null", "/dev/null"),
    ],
)
async def test_M4_a_call_of_this_kind_stays_here(
    checkout: Checkout, here: Client, text: str, reason: str
) -> None:
    for name in ("foo.c", "bar.c", "conftest.c"):
        checkout.write(name, "int f(void) { return 1; }\n")
    checkout.write("foo.h", "int f(void);\n")
    answer = await here.answer(checkout.call("gcc", *text.split()))
    assert isinstance(answer, Local)
    assert reason in answer.reason
    assert kind_of(answer) is OutcomeKind.LOCAL


async def test_a_compiler_that_is_none_stays_here(checkout: Checkout, here: Client) -> None:
    checkout.write("foo.c", "int f(void) { return 1; }\n")
    script = checkout.write("mycc", '#!/bin/sh\nexec gcc "$@"\n')
    script.chmod(0o755)
    for compiler in (str(script), "no-such-gcc"):
        answer = await here.answer(checkout.call(compiler, "-c", "foo.c"))
        assert isinstance(answer, Local)


async def test_a_wrong_setting_is_said(checkout: Checkout, here: Client) -> None:
    checkout.write("foo.c", "int f(void) { return 1; }\n")
    checkout.settings = {"strategy": "fastest"}
    with pytest.raises(InvalidArgument, match="REAPI_CC_STRATEGY"):
        await here.answer(checkout.call("gcc", "-c", "foo.c"))
