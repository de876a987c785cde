"""Real libraries: what the compile clients make is, byte for byte, what the compiler makes."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reapi.clients.compile.outcome import OutcomeKind
from tests.e2e.compile.library import DEADLINE_SECONDS, ERFA, FASTJET, Checkout, Library
from tests.e2e.compile.wrapper import Wrapper
from tests.e2e.conftest import PROGRAMS, TOOLS, installed
from tests.server_process import ServerProcess

minutes = pytest.mark.timeout(1200)
REAPI_CLI = PROGRAMS / "reapi-cli"


@dataclass(frozen=True)
class Reference:
    """A library that the compiler alone has built, and whose own tests passed."""

    checkout: Checkout
    objects: Mapping[str, str]
    depfiles: Mapping[str, str]
    linked: Mapping[str, str]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(ERFA, id="erfa"),
        pytest.param(FASTJET, id="fastjet", marks=pytest.mark.soak),
    ],
)
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Reference:
    library: Library = request.param
    installed(TOOLS / library.archive, f"scripts/install_tools.sh {library.archive}")
    checkout = Checkout(library, TOOLS, tmp_path_factory.mktemp("library"))
    checkout.configure(os.environ, is_wrapped=False)
    checkout.build(os.environ)
    checkout.run(library.test, os.environ)
    objects = checkout.made()
    assert len(objects) == library.compiles
    return Reference(checkout, objects, checkout.made("*.d"), checkout.linked())


@pytest.fixture
def wrapper(reference: Reference, server: ServerProcess, tmp_path: Path) -> Iterator[Wrapper]:
    with Wrapper(tmp_path / "home", reference.checkout.place, server.grpc) as running:
        yield running


def compile_database(directory: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What `reapi-cli compile` says of the database there, which has to succeed."""
    done = subprocess.run(
        [REAPI_CLI, "compile", "-p", ".", "-j8", "--json"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,  # compilers' warnings go to stderr
        timeout=DEADLINE_SECONDS,
    )
    print(done.stdout.decode())
    assert done.returncode == 0
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@minutes
def test_a_build_with_the_wrapper_is_that_of_the_compiler_cold_and_warm(
    reference: Reference, wrapper: Wrapper
) -> None:
    checkout, library = reference.checkout, reference.checkout.library

    def build() -> Mapping[OutcomeKind, int]:
        checkout.configure(wrapper.environment, is_wrapped=True)  # its probes stay here
        checkout.build(wrapper.environment)
        assert checkout.made() == reference.objects
        assert checkout.made("*.d") == reference.depfiles
        return wrapper.calls()

    assert build() == {OutcomeKind.MISS_REMOTE: library.compiles}
    checkout.run(library.test, wrapper.environment)

    assert build() == {OutcomeKind.HIT_LOCAL: library.compiles}
    checkout.run(library.test, wrapper.environment)

    wrapper.forget()
    assert build() == {OutcomeKind.HIT_REMOTE: library.compiles}


@pytest.mark.soak
@minutes
def test_links_by_executors_make_what_the_linker_makes(
    reference: Reference, wrapper: Wrapper
) -> None:
    checkout, library = reference.checkout, reference.checkout.library
    environment = {**wrapper.environment, "REAPI_CC_LINK": "1", **library.wrapped_links}

    def build() -> Mapping[OutcomeKind, int]:
        checkout.configure(environment, is_wrapped=True)
        checkout.build(environment)
        assert checkout.linked() == reference.linked
        return wrapper.calls()

    count = library.compiles + len(reference.linked)
    assert build() == {OutcomeKind.MISS_REMOTE: count}
    checkout.run(library.test, environment)
    assert build() == {OutcomeKind.HIT_LOCAL: count}


@pytest.mark.soak
@minutes
def test_a_compilation_database_is_made_as_by_the_compiler_cold_and_warm(
    reference: Reference, wrapper: Wrapper
) -> None:
    checkout, library = reference.checkout, reference.checkout.library
    checkout.configure(wrapper.environment, is_wrapped=False)

    def compile_all() -> Mapping[str, int]:
        checkout.remove_objects()
        account = compile_database(checkout.directory, wrapper.environment)
        assert checkout.made() == reference.objects
        return {key: account[key] for key in ("total", "hits", "compiled", "run_here")}

    count = library.compiles
    cold = {"total": count, "hits": 0, "compiled": count, "run_here": 0}
    warm = {"total": count, "hits": count, "compiled": 0, "run_here": 0}
    assert compile_all() == cold
    before = {path: (checkout.directory / path).stat().st_mtime_ns for path in reference.objects}
    checkout.run(library.link, wrapper.environment)
    after = {path: (checkout.directory / path).stat().st_mtime_ns for path in reference.objects}
    assert after == before, "what reapi-cli had made was compiled again"
    checkout.run(library.test, wrapper.environment)

    assert compile_all() == warm
    wrapper.forget()
    assert compile_all() == warm
