"""Compiles with a token that may not, or with settings that are wrong: one clear word, and an
object made here."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reapi.clients.compile.engines import Engines
from reapi.clients.compile.local_slots import LocalSlots
from reapi.clients.compile.making import make_engines
from reapi.clients.compile.model import Finished, Invocation
from reapi.clients.compile.outcome import Outcome, OutcomeKind
from reapi.clients.compile.settings import CompileSettings
from tests.integration.system import System, open_system
from tests.integration.test_access import auth, token_of

NOT_SHARED = "not shared: permission_denied"


@pytest.fixture
async def guarded(open_path: Path) -> AsyncIterator[System]:
    async with open_system(open_path, auth=auth(open_path)) as system, system.worker():
        yield system


@asynccontextmanager
async def engines_of(folder: Path) -> AsyncIterator[tuple[Engines, Counter[str]]]:
    """An engine with an empty cache, and the failures that it counts."""
    failures: Counter[str] = Counter()

    def count(failure: str) -> None:
        failures[failure] += 1

    settings = CompileSettings(cache_dir=str(folder / "cache"))
    async with make_engines(settings, LocalSlots(1), count, tool_name="test") as engines:
        yield engines, failures


async def compile_one(
    engines: Engines, system: System, source: str, token: str | None, **variables: str
) -> Outcome:
    """What became of a compile; the object must be there."""
    project = system.folder / "project"
    project.mkdir(exist_ok=True)
    (project / source).write_text(f'const char *name(void) {{ return "{source}"; }}\n')
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(system.folder),
        "REAPI_SERVER": system.address,
        "REAPI_CC_ROOT": str(project),
        **variables,
    }
    if token is not None:
        file = system.folder / "compile.token"
        file.write_text(token)
        environment["REAPI_TOKEN_FILE"] = str(file)
    arguments = ("cc", "-O1", "-c", source, "-o", f"{source}.o")
    answer = await engines.answer(Invocation(arguments, str(project), environment))
    assert isinstance(answer, Finished)
    assert answer.exit_code == 0, answer.stderr
    assert (project / f"{source}.o").stat().st_size > 0
    assert answer.outcome is not None
    return answer.outcome


async def test_a_writer_shares_what_it_makes(guarded: System, tmp_path: Path) -> None:
    async with engines_of(tmp_path) as (engines, failures):
        outcome = await compile_one(engines, guarded, "a.c", token_of("writer"))
    assert (outcome.trouble, failures) == ("", {})
    async with engines_of(tmp_path / "another") as (engines, failures):
        outcome = await compile_one(engines, guarded, "a.c", token_of("reader"))
    assert (outcome.kind, outcome.trouble) == (OutcomeKind.HIT_REMOTE, "")


async def test_who_may_not_share_is_told_with_the_first_compile(
    guarded: System, tmp_path: Path
) -> None:
    async with engines_of(tmp_path) as (engines, failures):
        outcome = await compile_one(engines, guarded, "a.c", token_of("runner"))
    assert outcome.kind is OutcomeKind.MISS_REMOTE
    assert outcome.trouble.startswith("nothing is shared: the server takes no results from this")
    assert "read_only = true" in outcome.trouble
    assert failures == {NOT_SHARED: 1}


@pytest.mark.parametrize(
    ("token", "variables", "words", "failure"),
    [
        (token_of("reader"), {}, "reader (reader) may not store blobs", "permission_denied"),
        ("wrong", {}, "the token is not one of this server's", "unauthenticated"),
        (None, {}, "this server asks who calls", "unauthenticated"),
        (
            token_of("writer"),
            {"REAPI_INSTANCE": "mian"},
            "no instance 'mian' here; this server has",
            "invalid_argument",
        ),
    ],
)
async def test_what_is_wrong_is_said_and_the_object_is_made_here(
    guarded: System,
    tmp_path: Path,
    token: str | None,
    variables: dict[str, str],
    words: str,
    failure: str,
) -> None:
    async with engines_of(tmp_path) as (engines, _):
        outcome = await compile_one(engines, guarded, "a.c", token, **variables)
    assert outcome.kind is OutcomeKind.FALLBACK
    assert words in outcome.trouble
    assert guarded.address in outcome.trouble
    assert outcome.failure == failure


async def test_a_reader_who_is_to_read_only_hears_of_no_trouble(
    guarded: System, tmp_path: Path
) -> None:
    async with engines_of(tmp_path) as (engines, failures):
        outcome = await compile_one(
            engines, guarded, "a.c", token_of("reader"), REAPI_CC_READ_ONLY="true"
        )
    assert (outcome.kind, outcome.trouble) == (OutcomeKind.MISS_LOCAL, "")
    assert not failures
