"""A -j8 build through `reapi-cc` while what it rests on dies, freezes, or is cut off."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from reapi.clients.channel import Channel
from reapi.clients.operations import list_operations
from tests.e2e.compile.forty_files import FILES, FortyFiles
from tests.fakes.fault_proxy import FaultProxy
from tests.ports import lasting_port
from tests.server_process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.soak]

_MADE_BEFORE = 8
"""Objects that are there when the trouble begins; as many are under way."""
_RECOVERY_SECONDS = 60


class Site:
    """A server and two executors, each a process of its own, and a network before the server."""

    def __init__(self, folder: Path, project: FortyFiles, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._address = f"127.0.0.1:{lasting_port()}"
        self.project = project
        self.network: FaultProxy
        self.server: ServerProcess
        self.executors: list[ServerProcess] = []

    async def start_server(self) -> None:
        """At the address of the one before, with its data."""
        roles = ("--role", "frontend", "--role", "scheduler", "--listen", self._address)
        settings = {"WORKER_TIMEOUT_SECONDS": "2"}
        environment = {f"REAPI_SCHEDULER__{key}": value for key, value in settings.items()}
        server = ServerProcess(self._folder / "server", *roles, environment=environment)
        self.server = await self._start(server)

    async def start_executors(self) -> None:
        """Two, with two slots each."""
        for _ in range(2):
            name = f"executor-{len(self.executors)}"
            environment = {
                "REAPI_SCHEDULER__ENDPOINT": self._address,
                "REAPI_EXECUTOR__WORKER_ID": name,
                "REAPI_EXECUTOR__SLOTS": "2",
            }
            executor = ServerProcess(
                self._folder / name, "--role", "executor", environment=environment
            )
            self.executors.append(await self._start(executor))

    async def _start(self, process: ServerProcess) -> ServerProcess:
        await asyncio.to_thread(self._stack.enter_context, process)
        # An executor whose scheduler has died keeps its results, and does not end when it is asked.
        self._stack.callback(process.kill)
        return process


async def server_dies(site: Site) -> None:
    site.server.kill()


async def server_dies_and_comes_back(site: Site) -> None:
    site.server.kill()
    await site.start_server()


async def server_freezes(site: Site) -> None:
    site.server.freeze()


async def network_is_cut(site: Site) -> None:
    site.network.flowing.clear()


async def daemon_dies(site: Site) -> None:
    site.project.kill_daemon()


async def executor_dies(site: Site) -> None:
    site.executors[0].kill()


async def executors_die(site: Site) -> None:
    for executor in site.executors:
        executor.kill()


@dataclass(frozen=True)
class Trouble:
    """What happens, whether calls must compile here then or may do so, and what ends it."""

    begin: Callable[[Site], Awaitable[None]]
    must_fall_back: bool
    end: Callable[[Site], Awaitable[None]] | None = None


async def _server_is_started(site: Site) -> None:
    await site.start_server()


async def _server_goes_on(site: Site) -> None:
    site.server.thaw()


async def _network_is_mended(site: Site) -> None:
    site.network.flowing.set()


async def _executors_are_started(site: Site) -> None:
    await site.start_executors()


TROUBLES = [
    Trouble(server_dies, True, _server_is_started),
    Trouble(server_dies_and_comes_back, False),
    Trouble(server_freezes, True, _server_goes_on),
    Trouble(network_is_cut, True, _network_is_mended),
    Trouble(daemon_dies, False),
    Trouble(executor_dies, False),
    Trouble(executors_die, True, _executors_are_started),
]


@pytest.fixture
async def site(open_path: Path) -> AsyncIterator[Site]:
    project = FortyFiles(open_path)
    with ExitStack() as stack:
        made = Site(open_path, project, stack)
        await made.start_server()
        await made.start_executors()
        stack.callback(project.end_daemon)
        async with FaultProxy(made.server.grpc) as made.network:
            project.use(made.network.endpoint)
            yield made


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.begin.__name__)
async def test_a_build_ends_green_and_right_whatever_happens_in_its_middle(
    site: Site, trouble: Trouble
) -> None:
    plain = site.project.build_plainly()
    assert len(plain) == 2 * FILES
    async with site.project.build() as build:
        await build.has_made(_MADE_BEFORE)
        await trouble.begin(site)
        exit_code, printed = await build.end()
    assert exit_code == 0, printed
    assert site.project.made() == plain
    assert site.project.leftovers() == []
    warnings = [line for line in printed.splitlines() if not line.startswith("made ")]
    assert len(warnings) <= 1, warnings
    statistics = site.project.statistics()
    assert bool(statistics["calls"].get("fallback")) == bool(warnings), statistics
    assert bool(statistics["failures"]) == bool(warnings), statistics
    assert warnings or not trouble.must_fall_back

    if trouble.end is not None:
        await trouble.end(site)
    async with asyncio.timeout(_RECOVERY_SECONDS):
        await _is_remote_again(site)


async def _is_remote_again(site: Site) -> None:
    """Returns when a compile was done by an executor; until then they are done here."""
    before = site.project.statistics()["calls"].get("miss-remote", 0)
    attempt = 0
    while site.project.statistics()["calls"].get("miss-remote", 0) == before:
        attempt += 1
        site.project.write("src/c0.c", f"int attempt = {attempt};\n")
        async with site.project.build() as build:
            assert (await build.end())[0] == 0


async def test_an_interrupted_build_cancels_its_actions_and_leaves_the_daemon_well(
    site: Site,
) -> None:
    plain = site.project.build_plainly()
    async with Channel(site.server.grpc) as channel, site.project.build() as build:
        await build.has_made(_MADE_BEFORE)
        for executor in site.executors:
            executor.freeze()
        async with asyncio.timeout(_RECOVERY_SECONDS):
            while not await _unfinished(channel):
                pass
        daemon = site.project.daemon_pid()
        build.interrupt()
        exit_code, printed = await build.end()
        assert exit_code != 0
        assert "warning" not in printed
        async with asyncio.timeout(_RECOVERY_SECONDS):
            while await _unfinished(channel):
                pass
    for executor in site.executors:
        executor.thaw()
    async with site.project.build() as build:
        assert (await build.end())[0] == 0
    assert site.project.made() == plain
    assert site.project.leftovers() == []
    assert site.project.daemon_pid() == daemon


async def _unfinished(channel: Channel) -> list[str]:
    """The names of the operations that wait or run."""
    return [one.name async for one in list_operations(channel, "") if not one.is_done]
