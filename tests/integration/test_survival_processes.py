"""What an executor has done and what it was doing, when it or its server dies."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from reapi.clients.channel import Channel
from reapi.clients.history import list_history
from reapi.clients.model import HistoryQuery
from reapi.clients.operations import get_operation
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteResponse
from reapi.scheduler.history import COMPLETED, LOST
from reapi.server.config import ServerConfig
from tests.integration.system import Gate, Notes, System, sh
from tests.ports import lasting_port
from tests.server_process import ServerProcess
from tests.unit.scheduler.harness import response_of

ROLES = ("--role", "frontend", "--role", "scheduler")
HEARTBEAT_SECONDS = 0.5
LEASE_SECONDS = 2 * HEARTBEAT_SECONDS
LEAVES_SOON = {"REAPI_SERVER__DRAIN_SECONDS": "0.1"}


class Place:
    """Where a server and its executors are, whichever of them live."""

    def __init__(self, folder: Path, notes: Notes) -> None:
        self.folder = folder
        self.notes = notes
        self._address = f"127.0.0.1:{lasting_port()}"

    def server(self, **scheduler: object) -> ServerProcess:
        """The same one again, at the same address."""
        settings = {f"REAPI_SCHEDULER__{key.upper()}": str(it) for key, it in scheduler.items()}
        arguments = (*ROLES, "--listen", self._address)
        return ServerProcess(self.folder / "server", *arguments, environment=settings)

    def executor(self, name: str = "executor", **environment: str) -> ServerProcess:
        own = {
            "REAPI_SCHEDULER__ENDPOINT": self._address,
            "REAPI_EXECUTOR__WORKER_ID": name,
            "REAPI_EXECUTOR__SLOTS": "1",
        }
        arguments = ("--role", "executor")
        return ServerProcess(self.folder / name, *arguments, environment=own | environment)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[System]:
        async with Channel(self._address) as channel:
            yield System(ServerConfig(), self._address, channel, self.folder)

    async def begin(self, script: str) -> str:
        """The name of an operation that nobody watches any more."""
        async with self.client() as system:
            stream = system.stream(await system.add(sh(script)))
            name = (await anext(stream)).name
            await stream.aclose()
        return name

    async def result(self, name: str) -> ExecuteResponse:
        async with self.client() as system:
            last = (await system.wait(name))[-1]
            assert (await system.wait(name))[-1] == last
            return response_of(last)

    async def ran_once(self, response: ExecuteResponse) -> bool:
        """Whether an action that notes its runs did it once, in the only attempt at it."""
        assert response.status.code == 0, response.status.message
        async with self.client() as system:
            (entry,) = await list_history(system.channel, HistoryQuery())
        return self.notes.lines() == ["run"] and len(entry.attempts) == 1


@pytest.fixture
def place(open_path: Path, notes: Notes) -> Place:
    return Place(open_path, notes)


async def _begun(place: Place, gate: Gate, then: str = "") -> str:
    name = await place.begin(gate.script(f"echo run >'{place.notes.path}'; {then}"))
    await gate.begun()
    return name


async def test_compile_clients_F6_what_ends_while_the_server_is_away_is_stored_and_told_once(
    place: Place, gate: Gate
) -> None:
    """Scheduler and storage are gone; the executor brings first the outputs, then the result."""
    with place.server() as server, place.executor() as executor:
        name = await _begun(place, gate, "echo printed; echo failed >&2")
        server.kill()
        gate.open()
        executor.wait_for_log("trying again for")
        with place.server():
            response = await place.result(name)
            assert await place.ran_once(response)
            async with place.client() as system:
                assert await system.stdout(response) == "printed\n"
            executor.terminate()


@pytest.mark.parametrize("end", ["kill -9", "SIGTERM"])
async def test_what_ended_while_the_scheduler_was_away_outlives_its_executor_too(
    place: Place, gate: Gate, end: str
) -> None:
    with place.server() as server:
        with place.executor(**LEAVES_SOON) as executor:
            name = await _begun(place, gate)
            server.kill()
            gate.open()
            executor.wait_for_log("keeping the result")
            if end == "kill -9":
                executor.kill()
        with place.server():
            async with place.client() as system:
                assert not (await get_operation(system.channel, name)).is_done
            with place.executor():
                assert await place.ran_once(await place.result(name))
        assert list((place.folder / "executor" / "executor" / "completions").iterdir()) == []


async def test_sigterm_lets_an_action_end_and_its_result_be_taken(place: Place, gate: Gate) -> None:
    with place.server():
        with place.executor() as executor:
            name = await _begun(place, gate)
            executor.terminate()
            gate.open()
            response = await place.result(name)
        assert await place.ran_once(response)


@pytest.mark.parametrize("sandbox", ["none", "auto"])
async def test_reliability_F5_kill_9_of_an_executor_leaves_one_result_and_no_trace(
    place: Place, gate: Gate, sandbox: str
) -> None:
    """Its slot processes die with it, so that nobody is left to clean up but its next life, or who
    is given its uid before that. A sandbox ends with its slot process."""
    quick = {"heartbeat_seconds": HEARTBEAT_SECONDS, "worker_timeout_seconds": 2 * LEASE_SECONDS}
    marker = f"98765.{time.time_ns()}"
    baits = f"sleep {marker} & (cd /; setsid env -i /bin/sleep {marker} >/dev/null 2>&1 &); : >bait"
    with place.server(**quick):
        with place.executor("mortal", REAPI_EXECUTOR__SANDBOX=sandbox) as mortal:
            name = await place.begin(f"{baits}; {gate.script()}")
            await gate.begun()
            while len(_sleeping(marker)) < 2:
                pass
            with place.executor("heir"):
                _kill_with_its_slots(mortal)
                await gate.begun()
                gate.open()
                gate.open()
                response = await place.result(name)
                assert response.status.code == 0
                assert response.result.execution_metadata.worker == "heir"
        async with place.client() as system:
            (entry,) = await list_history(system.channel, HistoryQuery())
        attempts = [(one.worker, one.end) for one in entry.attempts]
        assert attempts == [("mortal", LOST), ("heir", COMPLETED)]
        assert list((place.folder / "mortal").rglob("bait"))
        with place.executor("mortal"):
            assert not _sleeping(marker)
            assert not list((place.folder / "mortal").rglob("bait"))
    _check_lease_ended_in_time(place.folder / "server" / "scheduler.db")


def _kill_with_its_slots(executor: ServerProcess) -> None:
    slots = executor.child_pids()
    for pid in slots:
        os.kill(pid, signal.SIGSTOP)
    executor.kill()
    for pid in slots:
        os.kill(pid, signal.SIGKILL)


def _sleeping(marker: str) -> set[int]:
    """The processes that a `sleep` with this argument has become."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if arguments[0].endswith(b"sleep") and marker.encode() in arguments:
            found.add(int(folder.name))
    return found


def _check_lease_ended_in_time(journal: Path) -> None:
    """As the scheduler's own clock had it: nothing happened between the deadline and the lease."""
    with closing(sqlite3.connect(journal)) as database:
        rows = database.execute("SELECT record FROM events ORDER BY sequence").fetchall()
    events: list[Any] = [json.loads(record)[1:] for (record,) in rows]
    ends = [now for now, event, *_ in events if event[:2] == ["WorkerDisconnected", "mortal"]]
    deadline = ends[0] + round(LEASE_SECONDS * 1_000_000)
    leases = [
        (now, decision[1])
        for now, _, decisions in events
        for decision in decisions
        if decision[0] == "lease"
    ]
    assert [worker for _, worker in leases] == ["mortal", "heir"]
    later = [(now, event[0]) for now, event, *_ in events if now >= deadline]
    assert later[0] == (leases[1][0], "TimePassed")
