"""A child process and its parent, with real processes."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reapi.core.errors import Unavailable
from reapi.server import child_process
from reapi.server.child_process import ChildProcess
from reapi.server.config import ServerConfig

CONFIG = ServerConfig()
MODULE = "tests.fakes.server_child"
LONG = 30.0


def _child(folder: Path) -> ChildProcess:
    return ChildProcess("the child", MODULE, CONFIG, str(folder), grace_seconds=LONG)


@pytest.fixture(autouse=True)
def _restart_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_RESTART_SECONDS", 0.0)


async def test_a_child_has_its_settings_and_answers(tmp_path: Path) -> None:
    async with _child(tmp_path) as child:
        await child.first_ready()
        assert await child.ask("settings", LONG) == CONFIG.model_dump(mode="json")


async def test_those_who_ask_at_once_share_an_answer(tmp_path: Path) -> None:
    async with _child(tmp_path) as child:
        await child.first_ready()
        first, second = await asyncio.gather(child.ask("orders", LONG), child.ask("orders", LONG))
        assert first is second == []


async def test_a_child_that_does_not_answer_is_not_waited_for_long(tmp_path: Path) -> None:
    async with _child(tmp_path) as child:
        await child.first_ready()
        assert await child.ask("silence", 0.01) is None
        assert await child.ask("pid", LONG) is not None


async def test_leaving_the_context_lets_the_child_drain(tmp_path: Path) -> None:
    async with _child(tmp_path) as child:
        await child.first_ready()
        pid = await child.ask("pid", LONG)
    assert (tmp_path / "drained").exists()
    assert not _exists(pid)


async def test_a_child_that_does_not_drain_in_time_is_killed(tmp_path: Path) -> None:
    child = ChildProcess("the child", MODULE, CONFIG, str(tmp_path), grace_seconds=0.01)
    async with child:
        await child.first_ready()
        pid = await child.ask("pid", LONG)
        os.kill(pid, signal.SIGSTOP)
    assert not _exists(pid)
    assert not (tmp_path / "drained").exists()


async def test_leaving_the_context_as_the_child_ends_returns(tmp_path: Path) -> None:
    child = _child(tmp_path)
    async with child:
        await child.first_ready()
        pid = await child.ask("pid", LONG)
        os.kill(pid, signal.SIGKILL)
        # Ended, and the loop had no turn yet in which to hear of it.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
    assert not _exists(pid)


async def test_a_child_that_dies_is_replaced_and_hears_the_order_that_holds(tmp_path: Path) -> None:
    async with _child(tmp_path) as child:
        await child.first_ready()
        first = await child.ask("pid", LONG)
        child.tell("stay")
        assert await child.ask("orders", LONG) == ["stay"]
        for number in (signal.SIGKILL, signal.SIGTERM):
            await _replaced(child, number)
            assert await child.ask("orders", LONG) == ["stay"]
        assert await child.ask("pid", LONG) != first


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def _replaced(child: ChildProcess, number: int) -> None:
    """Ends the process; returns when another is ready."""
    ready = asyncio.Event()
    became_ready = child._became_ready

    def note() -> None:
        became_ready()
        ready.set()

    child._became_ready = note  # type: ignore[method-assign]
    os.kill(await child.ask("pid", LONG), number)
    await ready.wait()
    child._became_ready = became_ready  # type: ignore[method-assign]


async def test_who_asks_a_child_that_dies_gets_no_answer(tmp_path: Path) -> None:
    async with _child(tmp_path) as child:
        await child.first_ready()
        assert await child.ask("end", LONG) is None


async def test_a_child_that_cannot_begin_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    async with _child(tmp_path) as child:
        with pytest.raises(Unavailable, match="the child ended before it was ready"):
            await child.first_ready()
        assert not child.is_ready


def test_a_child_whose_parent_is_gone_notices_at_once(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([sys.executable, "-m", MODULE, str(tmp_path)], stdin=theirs.fileno())
    theirs.close()
    with process, ours, ours.makefile("rwb") as stream:
        stream.write(b'["settings", [{}, null]]\n')
        stream.flush()
        assert stream.readline() == b'["ready", null]\n'
        stream.close()
        ours.close()
        ended = select.poll()
        ended.register(os.pidfd_open(process.pid), select.POLLIN)
        assert ended.poll(LONG * 1000)
