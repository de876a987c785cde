"""The whole way of a call: the stub, the daemon that it starts, the server, and back."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reapi.clients.compile.stub_build import build_stub, place_stub, this_installation
from tests.integration.compile.checkout import COMPILERS, Checkout
from tests.integration.compile.test_compiler_flags import assert_same


class Wrapper:
    """`reapi-cc` with a daemon of its own."""

    def __init__(self, stub: Path, home: Path) -> None:
        self.path = home / "bin" / "reapi-cc"
        self.path.parent.mkdir()
        place_stub(stub, self.path)
        self.variables = {
            "HOME": str(home),
            "REAPI_CC_CACHE_DIR": str(home / "cache"),
            "XDG_RUNTIME_DIR": str(home),
        }

    def stats(self) -> dict[str, int]:
        """How calls have ended so far."""
        done = subprocess.run(
            [self.path, "--stats", "--json"],
            env={"PATH": "/usr/bin:/bin", **self.variables},
            capture_output=True,
            check=True,
        )
        calls: dict[str, int] = json.loads(done.stdout)["calls"]
        return calls

    def stop(self) -> None:
        subprocess.run([self.path, "--stop"], env=self.variables, capture_output=True, check=True)


@pytest.fixture(scope="module")
def wrapper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wrapper]:
    stub = build_stub(this_installation(), tmp_path_factory.mktemp("stub"))
    with tempfile.TemporaryDirectory(prefix="reapi-test-") as folder:
        made = Wrapper(stub, Path(folder))
        yield made
        made.stop()


@pytest.fixture
def project(checkout: Checkout, wrapper: Wrapper, request: pytest.FixtureRequest) -> Checkout:
    checkout.variables = wrapper.variables
    checkout.write("include/a.h", "#pragma once\n#define A 1\n")
    text = f'#include "a.h"\nint f(int x) {{ int y; return x + A; }}\n// {request.node.name}\n'
    checkout.write("foo.c", text)
    checkout.write("main.c", "int main(void) { return 0; }\n")
    checkout.write("wrong.c", '#include "a.h"\nint f(void) { return nothing; }\n')
    checkout.write("absent.c", '#include "absent.h"\n')
    return checkout


def added(wrapper: Wrapper, before: dict[str, int]) -> dict[str, int]:
    """How the calls since then have ended."""
    now = wrapper.stats()
    return {
        name: now[name] - before.get(name, 0) for name in now if now[name] != before.get(name, 0)
    }


@pytest.mark.parametrize(
    "text",
    [
        "-c foo.c -Iinclude -Wall -MD -O2",
        "-c foo.c -Iinclude -g -gsplit-dwarf -o foo.o",
        "-c HERE/foo.c -IHERE/include -Wall -fdiagnostics-color=always -o x.o",
    ],
)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_M1_a_call_through_the_wrapper_ends_as_without_it(
    project: Checkout, wrapper: Wrapper, compiler: str, text: str
) -> None:
    plain = project.plain(project.call(compiler, *text.split()))
    before = wrapper.stats()
    for _ in range(2):
        ended = project.plain(project.call(str(wrapper.path), compiler, *text.split()))
        assert_same(ended, plain)
    assert added(wrapper, before) == {"miss-remote": 1, "hit-local": 1}


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("main.c -o main", {"local": 1}),
        ("-E main.c", {"local": 1}),
        ("--version", {"local": 1}),
        ("-c absent.c", {"local": 1}),
        ("-c wrong.c -Iinclude", {"local": 1}),
    ],
)
def test_M4_what_stays_here_or_fails_ends_as_without_the_wrapper(
    project: Checkout, wrapper: Wrapper, text: str, kinds: dict[str, int]
) -> None:
    plain = project.plain(project.call("gcc", *text.split()))
    before = wrapper.stats()
    ended = project.plain(project.call(str(wrapper.path), "gcc", *text.split()))
    assert_same(ended, plain)
    assert added(wrapper, before) == kinds


def test_M4_a_variable_keeps_a_call_from_the_daemon(project: Checkout, wrapper: Wrapper) -> None:
    words = ("-c", "foo.c", "-Iinclude")
    plain = project.plain(project.call("gcc", *words))
    before = wrapper.stats()
    call = project.call(str(wrapper.path), "gcc", *words, REAPI_CC_LOCAL="1")
    assert_same(project.plain(call), plain)
    assert added(wrapper, before) == {}


def test_the_wrapper_under_the_name_of_the_compiler(project: Checkout, wrapper: Wrapper) -> None:
    links = project.root / "links"
    links.mkdir()
    (links / "gcc").symlink_to(wrapper.path)
    words = ("-c", "foo.c", "-Iinclude")
    plain = project.plain(project.call("gcc", *words))
    call = project.call("gcc", *words)
    before = wrapper.stats()
    path = f"{links}:{call.environment['PATH']}"
    ended = project.plain(project.call(str(links / "gcc"), *words, PATH=path))
    assert_same(ended, plain)
    assert added(wrapper, before) == {"miss-remote": 1}


def test_M8_a_wrong_setting_ends_the_call_and_names_it(project: Checkout, wrapper: Wrapper) -> None:
    call = project.call(str(wrapper.path), "gcc", "-c", "foo.c", REAPI_CC_STRATEGY="fastest")
    ended = project.plain(call)
    assert ended.exit_code
    assert b"REAPI_CC_STRATEGY" in ended.stderr
