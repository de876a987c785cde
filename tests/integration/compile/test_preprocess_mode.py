"""Headers that do not leave this machine: their preprocessed text does."""

from pathlib import Path

import pytest

from reapi.clients.blobs import RemoteBlobStore
from reapi.clients.channel import Channel
from reapi.clients.compile.model import Finished, Local
from reapi.clients.compile.outcome import OutcomeKind
from reapi.core.digest import Digest, digest_of
from tests.integration.compile.checkout import COMPILERS, Checkout, Client, kind_of
from tests.integration.compile.test_compiler_flags import assert_same

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def project(checkout: Checkout, request: pytest.FixtureRequest) -> Checkout:
    secret = f"/* {request.node.name} */\n#define A 1\n"
    checkout.write("include/a.h", secret)
    checkout.write("foo.c", f'#include "a.h"\nint f(int x) {{ return x + A; }}\n{secret}')
    checkout.settings = {"mode": "preprocess"}
    return checkout


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "foo.c", "-Iinclude", "-O1"),
        ("-c", "foo.c", "-Iinclude", "-O2", "-MD", "-MT", "x", "-MP"),
        ("-c", "foo.c", "-Iinclude", "-MMD", "-MF", "x.d", "-o", "x.o"),
    ],
)
@pytest.mark.parametrize("compiler", COMPILERS)
async def test_what_is_made_of_preprocessed_text_is_the_same(
    project: Checkout, here: Client, elsewhere: Client, compiler: str, words: tuple[str, ...]
) -> None:
    call = project.call(compiler, *words)
    plain = project.plain(call)
    for client, kind in (
        (here, OutcomeKind.MISS_REMOTE),
        (here, OutcomeKind.HIT_LOCAL),
        (elsewhere, OutcomeKind.HIT_REMOTE),
    ):
        ended, answer = await project.through(client, call)
        await client.shared(call)
        assert kind_of(answer) is kind, answer
        assert isinstance(answer, Finished)
        assert_same(ended, plain)


async def test_no_header_and_no_source_is_sent(project: Checkout, here: Client) -> None:
    call = project.call("gcc", "-c", "foo.c", "-Iinclude")
    _, answer = await project.through(here, call)
    assert kind_of(answer) is OutcomeKind.MISS_REMOTE
    kept = _digests(project, "foo.c", "include/a.h")
    async with Channel(project.server) as channel:
        assert await RemoteBlobStore(channel).find_missing(kept) == kept


def _digests(project: Checkout, *names: str) -> list[Digest]:
    return [digest_of(Path(project.root, name).read_bytes()) for name in names]


async def test_a_header_that_changes_is_noticed(project: Checkout, here: Client) -> None:
    call = project.call("gcc", "-c", "foo.c", "-Iinclude")
    await project.through(here, call)
    project.write("include/a.h", "#define A 2\n")
    plain = project.plain(call)
    ended, answer = await project.through(here, call)
    assert kind_of(answer) is OutcomeKind.MISS_REMOTE
    assert_same(ended, plain)


async def test_debug_information_of_macros_stays_here(project: Checkout, here: Client) -> None:
    _, answer = await project.through(here, project.call("gcc", "-c", "foo.c", "-Iinclude", "-g3"))
    assert isinstance(answer, Local)
    assert "macros" in answer.reason
