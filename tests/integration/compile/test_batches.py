"""`reapi-cli compile` with a database of real compiles."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from reapi.clients.compile import service
from reapi.clients.compile.batch import Account, Batch
from reapi.clients.compile.database import read_database
from reapi.clients.compile.local_slots import LocalSlots
from reapi.clients.execution import execute
from tests.integration.compile.checkout import Checkout, Client, open_client
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

SLOW = """
constexpr unsigned long turns(unsigned long n) {
  unsigned long x = 0;
  for (unsigned long i = 0; i < n; i++) x = x * 3 + i;
  return x;
}
constexpr unsigned long made = turns(1ul << 40);
unsigned long f() { return made; }
"""
ENDLESS = ("-fconstexpr-ops-limit=9000000000000000000", "-fconstexpr-loop-limit=2147483647")


@pytest.fixture
def project(checkout: Checkout, request: pytest.FixtureRequest) -> Checkout:
    """Four sources, the last of which does not compile; and a link, which is nobody else's."""
    checkout.write("include/a.h", "#pragma once\n#define A 1\n")
    for name in ("one", "two", "three"):
        text = f'#include "a.h"\nint {name}(void) {{ int x; return A; }}\n// {request.node.name}\n'
        checkout.write(f"{name}.c", text)
    checkout.write("wrong.c", '#include "a.h"\nint f(void) { return nothing; }\n')
    (checkout.root / "build").mkdir()
    return checkout


def database(project: Checkout, *names: str, extra: tuple[str, ...] = ()) -> Path:
    """compile_commands.json as CMake writes it."""
    entries = [
        {
            "directory": str(project.root / "build"),
            "file": f"../{name}.c",
            "arguments": [
                *("gcc", "-I../include", "-Wall", *extra),
                *("-o", f"{name}.o", "-c", f"../{name}.c"),
            ],
        }
        for name in names
    ]
    path = project.root / "build" / "compile_commands.json"
    path.write_text(json.dumps(entries))
    return path


class Cli:
    """The program, with a cache of its own."""

    def __init__(self, project: Checkout, cache: Path) -> None:
        self._project = project
        self._environment = {
            **project.call("").environment,
            "REAPI_CC_CACHE_DIR": str(cache),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(cache),
        }

    async def run(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Exit code, what --json prints, and stderr."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "reapi.clients.cli", "compile", "--json", *arguments],
            cwd=self._project.root,
            env=self._environment,
            capture_output=True,
            check=False,
            timeout=100,
        )
        return done.returncode, json.loads(done.stdout or b"{}"), done.stderr.decode()


def plain(project: Checkout, *names: str) -> dict[str, bytes]:
    objects = {}
    for name in names:
        words = ("-I../include", "-Wall", "-o", f"{name}.o", "-c", f"../{name}.c")
        ended = project.plain(project.call("gcc", *words, directory="build"))
        objects |= {path: content for path, (_, content) in ended.files.items()}
    return objects


async def test_M14_a_database_is_made_cold_warm_and_from_the_server(
    project: Checkout, open_path: Path
) -> None:
    names = ("one", "two", "three")
    objects = plain(project, *names)
    database(project, *names)
    for cache, hits in (("first", 0), ("first", 3), ("second", 3)):
        code, said, stderr = await Cli(project, open_path / cache).run("-p", "build", "-j", "8")
        assert code == 0, stderr
        assert (said["total"], said["done"], said["hits"]) == (3, 3, hits)
        assert said["compiled"] == 3 - hits
        assert (said["uploaded_blobs"] > 0) is not bool(hits)
        assert stderr.count("warning: unused variable") == 3
        made = {path: (project.root / path).read_bytes() for path in objects}
        assert made == objects
        for path in objects:
            (project.root / path).unlink()


async def test_M14_a_failure_shows_its_own_text_and_the_others_are_made_if_asked(
    project: Checkout, open_path: Path
) -> None:
    database(project, "wrong", "one", "two")
    cli = Cli(project, open_path / "cache")
    code, said, stderr = await cli.run("-p", "build/compile_commands.json", "-k")
    assert code == 1
    assert (said["done"], len(said["failures"])) == (3, 1)
    (failure,) = said["failures"]
    assert failure["name"] == "../wrong.c"
    assert "nothing" in failure["stderr"]
    assert "FAILED: ../wrong.c (exit code 1)" in stderr
    assert (project.root / "build/two.o").exists()
    assert not (project.root / "build/wrong.o").exists()


async def test_nothing_is_begun_after_a_failure(project: Checkout, here: Client) -> None:
    path = database(project, "wrong", "one", "two")
    account = await run(project, here, path, at_once=1)
    assert account.done == 1
    assert [failure.source for failure in account.failures] == ["../wrong.c"]
    assert not (project.root / "build/one.o").exists()


async def test_what_must_run_here_does(project: Checkout, here: Client) -> None:
    path = database(project, "one", "two", extra=("-march=native",))
    account = await run(project, here, path)
    assert (account.done, account.here) == (2, 2)
    assert (project.root / "build/two.o").exists()


async def test_a_header_that_is_absent_is_the_compilers_to_report(
    project: Checkout, here: Client
) -> None:
    project.write("one.c", '#include "absent.h"\n')
    account = await run(project, here, database(project, "one", "two"), keeps_going=True)
    assert account.done == 2
    (failure,) = account.failures
    assert b"absent.h: No such file" in failure.finished.stderr


async def run(
    project: Checkout, client: Client, path: Path, *, at_once: int = 8, keeps_going: bool = False
) -> Account:
    call = project.call("")
    invocations = read_database(path, environment=call.environment, umask=0o022, wants_colour=False)
    batch = Batch(
        client.engines,
        LocalSlots(2),
        at_once=at_once,
        keeps_going=keeps_going,
        price_per_slot_hour=0.0,
        report=lambda _: None,
        said=lambda _source, _finished: None,
    )
    return await batch.run(invocations)


def cancels(server: ServerProcess) -> float:
    """How many operations clients have cancelled."""
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if "_handled_total{" in line and "/CancelOperation" in line
    )


async def test_M14_interrupting_cancels_what_runs_remotely(
    project: Checkout, server: ServerProcess, open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def watched(*arguments: Any) -> AsyncIterator[Any]:
        async with aclosing(execute(*arguments)) as operations:
            async for operation in operations:
                begun.set()
                yield operation

    monkeypatch.setattr(service, "execute", watched)
    project.write("one.c", f"{SLOW}// {open_path}\n")
    path = database(project, "one", extra=("-xc++", "-std=c++17", *ENDLESS))
    before = cancels(server)
    async with open_client(open_path / "cache") as client:
        running = asyncio.create_task(run(project, client, path))
        await begun.wait()
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled()
    assert cancels(server) == before + 1
    assert not (project.root / "build/one.o").exists()
