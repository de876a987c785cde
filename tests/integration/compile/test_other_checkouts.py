"""What one checkout has made is used in another one where it is what the compiler makes there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reapi.clients.compile.outcome import OutcomeKind
from tests.integration.compile.checkout import COMPILERS, Checkout, Client, Ended, kind_of
from tests.integration.compile.test_compiler_flags import assert_same
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

HIT, MISS = OutcomeKind.HIT_REMOTE, OutcomeKind.MISS_REMOTE
FILES = {
    "src/foo.c": '#include <stddef.h>\n#include "a.h"\nint f(int x) { return x + A; }\n',
    "src/warn.c": '#include "a.h"\nint f(int unused) { int x; return x + A; }\n',
    "src/named.c": '#include "named.h"\nconst char *f(void) { return __FILE__ NAME; }\n',
    "src/said.c": '#include "a.h"\n#pragma message "in " __FILE__\nint f(void) { return A; }\n',
    "include/a.h": "#pragma once\n#define A 1\n",
    "include/named.h": "#pragma once\n#define NAME __FILE__\n",
    "build/.keep": "",
}

Make = Callable[[str], Checkout]


@pytest.fixture
def make(server: ServerProcess, open_path: Path, request: pytest.FixtureRequest) -> Make:
    """Makes a checkout in a directory of that name; all have the same sources."""

    def checkout(name: str) -> Checkout:
        root = open_path / name
        root.mkdir(parents=True)
        made = Checkout(root, server.grpc)
        for path, text in FILES.items():
            made.write(path, f"{text}// {request.node.name}\n" if path.endswith(".c") else text)
        return made

    return checkout


SHARED = [
    "-c ../src/foo.c -I../include -o foo.o",
    "-c ../src/foo.c -I../include -O2 -MD -MP -o foo.o",
    "-c HERE/src/foo.c -IHERE/include -O2 -o foo.o",
    "-c HERE/src/foo.c -IHERE/include -MD -MT HERE/build/foo.o -MF HERE/build/foo.d -o foo.o",
    "-c HERE/src/foo.c -IHERE/include -MMD -MP -o HERE/build/foo.o",
    "-c HERE/src/warn.c -IHERE/include -Wall -Wextra -o warn.o",
    "-c ../src/named.c -I../include -o named.o",
    "-c HERE/src/foo.c -IHERE/include -g -ffile-prefix-map=HERE=. -o foo.o",
    "-c HERE/src/named.c -IHERE/include -ffile-prefix-map=HERE/= -o named.o",
]
NOT_SHARED = [
    "-c ../src/foo.c -I../include -g -o foo.o",
    "-c ../src/foo.c -I../include --coverage -frandom-seed=1 -o foo.o",
    "-c HERE/src/named.c -I../include -o named.o",
    "-c HERE/src/foo.c -IHERE/include -g -gsplit-dwarf -o foo.o",
    "-c HERE/src/foo.c -IHERE/include -ftest-coverage -frandom-seed=1 -o foo.o",
    "-c ../src/said.c -IHERE/include -o said.o",
    "-c ../src/foo.c -I../include -g -fdebug-prefix-map=HERE/src=. -o foo.o",
]
PORTABLE = [
    "-c ../src/foo.c -I../include -g -o foo.o",
    "-c HERE/src/foo.c -IHERE/include -g -O2 -MD -o foo.o",
    "-c HERE/src/named.c -IHERE/include -g3 -o named.o",
    "-c HERE/src/named.c -IHERE/include -MMD -MF HERE/build/x.d -o named.o",
]


async def in_both(
    make: Make, here: Client, elsewhere: Client, compiler: str, text: str, **settings: str
) -> tuple[list[Ended], list[Ended], OutcomeKind]:
    """What comes of a call in two checkouts, what should, and what became of the second."""
    ended, plain = [], []
    kind = MISS
    for name, client in (("one", here), ("another/place", elsewhere)):
        checkout = make(name)
        checkout.settings = settings
        call = checkout.call(compiler, *text.split(), directory="build")
        more = ("-ffile-prefix-map=HERE=.",) if settings.get("portable") else ()
        plain.append(
            checkout.plain(checkout.call(compiler, *text.split(), *more, directory="build"))
        )
        assert plain[-1].exit_code == 0, plain[-1].stderr
        result, answer = await checkout.through(client, call)
        await client.shared(call)
        ended.append(result)
        kind = kind_of(answer)
        assert kind is MISS or client is elsewhere, answer
    return ended, plain, kind


@pytest.mark.parametrize("text", SHARED)
@pytest.mark.parametrize("compiler", COMPILERS)
async def test_S3_another_checkout_hits_and_gets_what_the_compiler_makes_there(
    make: Make, here: Client, elsewhere: Client, compiler: str, text: str
) -> None:
    ended, plain, kind = await in_both(make, here, elsewhere, compiler, text)
    for one, other in zip(ended, plain, strict=True):
        assert_same(one, other)
    assert kind is HIT


@pytest.mark.parametrize("text", NOT_SHARED)
@pytest.mark.parametrize("compiler", COMPILERS)
async def test_S3_what_has_the_checkouts_path_in_it_is_made_there_again(
    make: Make, here: Client, elsewhere: Client, compiler: str, text: str
) -> None:
    ended, plain, kind = await in_both(make, here, elsewhere, compiler, text)
    for one, other in zip(ended, plain, strict=True):
        assert_same(one, other)
    assert kind is MISS


@pytest.mark.parametrize("text", PORTABLE)
@pytest.mark.parametrize("compiler", COMPILERS)
async def test_S3_portable_objects_are_shared_with_debug_information(
    make: Make, here: Client, elsewhere: Client, compiler: str, text: str
) -> None:
    ended, plain, kind = await in_both(make, here, elsewhere, compiler, text, portable="true")
    for one, other in zip(ended, plain, strict=True):
        assert_same(one, other)
    assert kind is HIT


LAMBDA = """
template <class T> const char *name(T) { return __PRETTY_FUNCTION__; }
const char *f() { return name([] {}); }
"""


@pytest.mark.parametrize("strategy", ["remote", "local"])
@pytest.mark.parametrize("portable", ["true", "false"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
async def test_S3_a_path_that_no_map_takes_out_of_an_object_is_noticed_in_it(
    make: Make, here: Client, elsewhere: Client, compiler: str, portable: str, strategy: str
) -> None:
    for name, client in (("one", here), ("another/place", elsewhere)):
        checkout = make(name)
        checkout.settings = {"portable": portable, "strategy": strategy}
        checkout.write("l.cc", f"{LAMBDA}// {compiler} {portable} {strategy}\n")
        words = ["-c", "HERE/l.cc", "-o", "l.o"]
        plain = checkout.plain(checkout.call(compiler, *words, "-ffile-prefix-map=HERE=."))
        ended, answer = await checkout.through(client, checkout.call(compiler, *words))
        await client.shared(checkout.call(compiler))
        assert_same(ended, plain)
        is_hit = client is elsewhere and compiler == "g++" and portable == "true"
        assert (kind_of(answer) is HIT) is is_hit


@pytest.mark.parametrize("compiler", COMPILERS)
async def test_checkouts_that_cannot_share_do_not_push_each_other_out(
    make: Make,
    here: Client,
    elsewhere: Client,
    compiler: str,
    open_path: Path,
    server: ServerProcess,
) -> None:
    text = "-c HERE/src/named.c -IHERE/include -o named.o"
    _, _, kind = await in_both(make, here, elsewhere, compiler, text)
    assert kind is MISS
    first = Checkout(open_path / "one", server.grpc)
    call = first.call(compiler, *text.split(), directory="build")
    plain = first.plain(call)
    ended, answer = await first.through(elsewhere, call)
    assert kind_of(answer) is HIT
    assert_same(ended, plain)
