"""Where a miss is compiled, what is shared of it, and what happens when the service cannot."""

import asyncio
import os
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reapi.clients.compile import local_compile, service
from reapi.clients.compile.model import Finished
from reapi.clients.compile.outcome import OutcomeKind
from reapi.clients.compile.remote_compile import RemoteCompiles
from reapi.core.digest import Digest
from reapi.core.errors import PermissionDenied, ReapiError, Unauthenticated, Unimplemented
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteResponse
from tests.fakes.fault_proxy import FaultProxy
from tests.integration.compile.checkout import (
    COMPILERS,
    Checkout,
    Client,
    kind_of,
    open_client,
)
from tests.integration.compile.test_compiler_flags import assert_same
from tests.integration.system import open_system
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALL = ("-c", "foo.c", "-Iinclude", "-MMD", "-O1", "-Wall")
WRITES = ("UpdateActionResult", "BatchUpdateBlobs", "Write", "SpliceBlob", "Execute")


@pytest.fixture
def project(checkout: Checkout, request: pytest.FixtureRequest) -> Checkout:
    checkout.write("include/a.h", "#define A 1\n")
    checkout.write(
        "foo.c",
        f'#include "a.h"\nint f(int x) {{ int y; return x + A; }}\n// {request.node.name}\n',
    )
    return checkout


async def ends(
    project: Checkout, client: Client, kind: OutcomeKind, *words: str, compiler: str = "gcc"
) -> Finished:
    """Asserts that the call ends as with the plain compiler."""
    call = project.call(compiler, *(words or CALL))
    plain = project.plain(call)
    ended, answer = await project.through(client, call)
    await client.shared(call)
    assert kind_of(answer) is kind, answer
    assert isinstance(answer, Finished)
    assert_same(ended, plain)
    return answer


@pytest.mark.parametrize(
    "words",
    [
        CALL,
        ("-c", "HERE/foo.c", "-IHERE/include", "-MD", "-Wall", "-O2"),
        ("-c", "foo.c", "-Iinclude", "-g", "-gsplit-dwarf", "-MD", "-MF", "x.d"),
        ("-c", "foo.c", "-Iinclude", "--coverage", "-frandom-seed=1", "-fstack-usage"),
        ("-c", "-x", "cpp-output", "plain.i"),
        ("-c", "plain.s"),
    ],
)
@pytest.mark.parametrize("compiler", COMPILERS)
async def test_what_is_compiled_here_is_shared_by_manifest(
    project: Checkout, here: Client, elsewhere: Client, compiler: str, words: tuple[str, ...]
) -> None:
    project.write("plain.i", f'int f(void);\n# 1 "{compiler} {words}"\n'.replace("'", ""))
    project.write("plain.s", f"# {compiler} {words}\n.globl f\nf: .long 4\n")
    project.settings = {"strategy": "local"}
    await ends(project, here, OutcomeKind.MISS_LOCAL, *words, compiler=compiler)
    await ends(project, here, OutcomeKind.HIT_LOCAL, *words, compiler=compiler)
    await ends(project, elsewhere, OutcomeKind.HIT_REMOTE, *words, compiler=compiler)


async def test_a_failure_here_is_said_as_by_the_compiler(project: Checkout, here: Client) -> None:
    project.write("foo.c", '#include "a.h"\nint f(void) { return nothing; }\n')
    project.settings = {"strategy": "local"}
    answer = await ends(project, here, OutcomeKind.MISS_LOCAL)
    assert answer.exit_code == 1


async def test_M9_a_reader_takes_results_and_writes_nothing_to_the_server(
    open_path: Path, project: Checkout, server_calls: "Calls", here: Client
) -> None:
    async with open_client(open_path / "reader") as reader:
        before = server_calls()
        reading = Checkout(project.root, project.server, {"read_only": "true"})
        await ends(reading, reader, OutcomeKind.MISS_LOCAL)
        assert server_calls() == before
    await ends(project, here, OutcomeKind.MISS_REMOTE)
    assert server_calls() != before
    async with open_client(open_path / "another") as reader:
        before = server_calls()
        await ends(reading, reader, OutcomeKind.HIT_REMOTE)
        assert server_calls() == before


class Calls:
    """Counts the calls that write, by what the server itself tells."""

    def __init__(self, http: str) -> None:
        self._url = f"http://{http}/metrics"

    def __call__(self) -> dict[str, float]:
        with urllib.request.urlopen(self._url, timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        found = {}
        for line in lines:
            name, _, value = line.rpartition(" ")
            if "_handled_total{" in name and any(f'/{word}"' in name for word in WRITES):
                found[name] = float(value)
        return found


@pytest.fixture
def server_calls(server: ServerProcess) -> Calls:
    return Calls(server.http)


async def test_a_race_is_won_by_what_is_made_remotely_and_the_compiler_here_is_ended(
    project: Checkout, here: Client, open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def waits(*_: object) -> Finished:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    monkeypatch.setattr(local_compile.LocalCompiles, "run", waits)
    project.settings = {"strategy": "race"}
    await ends(project, here, OutcomeKind.MISS_REMOTE)
    assert ended.is_set()


async def test_a_race_is_won_here_while_executors_are_slow(
    project: Checkout, here: Client, elsewhere: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def waits(*_: object) -> Finished:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    monkeypatch.setattr(RemoteCompiles, "run", waits)
    project.settings = {"strategy": "race"}
    await ends(project, here, OutcomeKind.MISS_LOCAL)
    assert ended.is_set()
    await ends(project, elsewhere, OutcomeKind.HIT_REMOTE)


async def test_a_race_is_not_won_by_a_failure_of_the_service_or_of_the_source(
    project: Checkout, here: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> Finished:
        return Finished(1, stderr=b"remotely")

    monkeypatch.setattr(RemoteCompiles, "run", fails)
    project.settings = {"strategy": "race"}
    await ends(project, here, OutcomeKind.MISS_LOCAL)


async def test_an_interrupted_compile_here_leaves_no_half_object(
    project: Checkout, here: Client, open_path: Path
) -> None:
    project.settings = {"strategy": "local"}
    os.mkfifo(project.root / "slow.h")
    project.write("foo.c", '#include "a.h"\n#include "slow.h"\n')
    project.write("foo.o", "old")
    call = project.call("gcc", "-c", "foo.c", "-Iinclude", "-I.", "-MD")
    running = asyncio.create_task(here.answer(call))
    opened = await asyncio.to_thread(open, project.root / "slow.h", "wb")
    (project.root / "foo.o").write_text("half")
    running.cancel()
    await asyncio.wait((running,))
    opened.close()
    assert running.cancelled()
    assert not (project.root / "foo.o").exists()


@asynccontextmanager
async def without_a_server() -> AsyncIterator[str]:
    """An address where nobody answers, at once."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    yield f"127.0.0.1:{port}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PATIENCE_SECONDS", 0.1)


@pytest.mark.parametrize("fallback", ["on_infra_error", "always"])
async def test_M8_without_a_server_a_build_goes_on_here_and_keeps_what_it_makes(
    project: Checkout, open_path: Path, impatient: None, fallback: str
) -> None:
    project.settings = {"fallback": fallback}
    async with without_a_server() as address, open_client(open_path / "cache") as client:
        project.server = address
        answer = await ends(project, client, OutcomeKind.FALLBACK)
        assert answer.outcome is not None
        assert address in answer.outcome.trouble
        assert answer.outcome.failure == "unavailable"
        again = await ends(project, client, OutcomeKind.HIT_LOCAL)
        assert again.outcome is not None
        assert not again.outcome.trouble


async def test_M8_never_means_that_the_call_fails(
    project: Checkout, open_path: Path, impatient: None
) -> None:
    project.settings = {"fallback": "never"}
    async with without_a_server() as address, open_client(open_path / "cache") as client:
        project.server = address
        ended, answer = await project.through(client, project.call("gcc", *CALL))
    assert kind_of(answer) is OutcomeKind.FALLBACK
    assert ended.exit_code == 1
    assert b'fallback = "never"' in ended.stderr
    assert not ended.files


@pytest.mark.parametrize("settings", [{"strategy": "local"}, {"read_only": "true"}])
async def test_never_is_about_calls_that_are_for_executors(
    project: Checkout, open_path: Path, impatient: None, settings: dict[str, str]
) -> None:
    project.settings = {"fallback": "never", **settings}
    async with without_a_server() as address, open_client(open_path / "cache") as client:
        project.server = address
        answer = await ends(project, client, OutcomeKind.MISS_LOCAL)
        assert answer.outcome is not None
        assert address in answer.outcome.trouble


async def test_M8_a_server_that_comes_back_is_used_again(
    project: Checkout, open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_FIRST_REST_SECONDS", 0.0)
    async with FaultProxy(project.server) as proxy, open_client(open_path / "cache") as client:
        project.server = proxy.endpoint
        proxy.cut_after_bytes = [0] * 1000
        await ends(project, client, OutcomeKind.FALLBACK)
        proxy.cut_after_bytes = []
        await ends(project, client, OutcomeKind.MISS_REMOTE, *CALL, "-DX=2")


async def test_M8_executors_that_cannot_have_a_root_are_asked_once_and_said_once_a_call(
    project: Checkout, open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reapi.executor.roots.can_change_roots", lambda _: False)
    async with (
        open_system(open_path) as system,
        system.worker(sandbox="none"),
        open_client(open_path / "cache") as client,
    ):
        project.server = system.address
        asked = []
        execute = service.Service._execute

        async def counted(this: service.Service, action: Digest) -> ExecuteResponse:
            asked.append(action)
            return await execute(this, action)

        monkeypatch.setattr(service.Service, "_execute", counted)
        for number in range(3):
            words = (*CALL, f"-DX={number}")
            answer = await ends(project, client, OutcomeKind.FALLBACK, *words)
            assert answer.outcome is not None
            assert answer.outcome.failure == "failed_precondition"
            assert "input-root" in answer.outcome.trouble
            await ends(project, client, OutcomeKind.HIT_LOCAL, *words)
        assert len(asked) == 1


@pytest.mark.parametrize("refusal", [Unimplemented, PermissionDenied, Unauthenticated])
async def test_M8_who_may_not_execute_is_told_once_for_a_while(
    project: Checkout,
    open_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusal: type[ReapiError],
) -> None:
    asked = []

    async def refuses(_: service.Service, action: Digest) -> ExecuteResponse:
        asked.append(action)
        raise refusal("not for you")

    monkeypatch.setattr(service.Service, "_execute", refuses)
    async with open_client(open_path / "cache") as client:
        for number in range(2):
            answer = await ends(
                project,
                client,
                OutcomeKind.FALLBACK,
                *CALL,
                f"-DX={number}",
                f"-D{refusal.__name__}",
            )
            assert answer.outcome is not None
            assert "not for you" in answer.outcome.trouble
    assert len(asked) == 1
