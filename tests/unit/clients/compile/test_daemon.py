"""The daemon in this process: slots, cancellation, and what it remembers."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from reapi.clients.compile.daemon import Daemon
from reapi.clients.compile.journal import Journal, read_journal
from reapi.clients.compile.local_slots import LocalSlots
from reapi.clients.compile.messages import FINISHED, LOCAL, WORKING, encode_request
from reapi.clients.compile.model import Answer, Finished, Invocation, Local
from reapi.clients.compile.statistics import Statistics, read_statistics


class ScriptedEngine:
    """Answers `now` at once; `wait` never, and tells of its cancellation."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    def answer_now(self, invocation: Invocation) -> Answer | None:
        """By the compiler's name."""
        match invocation.arguments[0]:
            case "now":
                return Finished(0, b"done")
            case "probe":
                return Local("a probe", is_work=False)
            case "link":
                return Local("a link")
        return None

    async def answer(self, invocation: Invocation) -> Answer:
        """Never."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError


@dataclass
class Call:
    """The stub's end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def reply(self) -> tuple[int, bytes]:
        """Kind of the next reply, and what it prints to stdout."""
        head = await self.reader.readexactly(20)
        _, kind, _, stdout_size, _ = struct.unpack("!IIIII", head)
        return kind, await self.reader.readexactly(stdout_size)

    async def end(self) -> None:
        """As a process that ends."""
        self.writer.close()
        await self.writer.wait_closed()


class Served:
    """A daemon with two slots, listening."""

    def __init__(self, directory: Path) -> None:
        self.engine = ScriptedEngine()
        self.directory = directory
        self.socket = str(directory / "s")
        self.daemon = Daemon(
            self.engine,
            LocalSlots(2),
            Statistics(directory / "statistics.json"),
            Journal(directory / "journal.jsonl"),
            facts={},
            stop=lambda: None,
        )

    async def call(self, compiler: str) -> Call:
        """A stub that has sent its request."""
        call = Call(*await asyncio.open_unix_connection(self.socket))
        call.writer.write(encode_request(Invocation((compiler, "x.o"), "/", {})))
        return call


@asynccontextmanager
async def serve(directory: Path) -> AsyncIterator[Served]:
    served = Served(directory)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(served.daemon.connection, served.socket)
    async with server:
        yield served
        server.close()
        await served.daemon.wait_until_idle()
        served.daemon.flush()


async def test_an_answer_at_once_is_one_message(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        call = await served.call("now")
        assert await call.reply() == (FINISHED, b"done")
        await call.end()


async def test_local_work_waits_for_a_slot_in_the_order_of_its_arrival(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        running = [await served.call("link") for _ in range(2)]
        assert [await call.reply() for call in running] == [(LOCAL, b"")] * 2
        first = await served.call("link")
        assert await first.reply() == (WORKING, b"")
        second = await served.call("link")
        assert await second.reply() == (WORKING, b"")
        probe = await served.call("probe")
        assert await probe.reply() == (LOCAL, b"")
        assert (served.daemon.slots.taken, served.daemon.slots.waiting) == (2, 2)
        await running[0].end()
        assert await first.reply() == (LOCAL, b"")
        assert (served.daemon.slots.taken, served.daemon.slots.waiting) == (2, 1)
        await running[1].end()
        assert await second.reply() == (LOCAL, b"")
        for call in (first, second, probe):
            await call.end()


async def test_a_call_that_ends_while_it_waits_leaves_its_place(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        running = [await served.call("link") for _ in range(2)]
        assert [await call.reply() for call in running] == [(LOCAL, b"")] * 2
        impatient, patient = await served.call("link"), await served.call("link")
        assert await impatient.reply() == (WORKING, b"")
        assert await patient.reply() == (WORKING, b"")
        await impatient.end()
        await running[0].end()
        assert await patient.reply() == (LOCAL, b"")
        for call in (running[1], patient):
            await call.end()
    assert served.daemon.slots.taken == 0


async def test_a_connection_that_is_lost_cancels_its_work(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        call = await served.call("wait")
        assert await call.reply() == (WORKING, b"")
        await served.engine.begun.wait()
        await call.end()
        await served.engine.cancelled.wait()


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n" + b" " * 20, b"\0" * 64])
async def test_a_stranger_is_cut_off(tmp_path: Path, noise: bytes) -> None:
    async with serve(tmp_path) as served:
        reader, writer = await asyncio.open_unix_connection(served.socket)
        writer.write(noise)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_a_second_request_is_cut_off(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        call = await served.call("link")
        assert await call.reply() == (LOCAL, b"")
        call.writer.write(b"x")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await call.reader.readexactly(1)
        await asyncio.sleep(0)
        call.writer.close()
    assert served.daemon.slots.taken == 0


async def test_a_local_call_is_remembered_when_it_has_ended(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        call = await served.call("link")
        assert await call.reply() == (LOCAL, b"")
        served.daemon.flush()
        assert list(read_journal(tmp_path / "journal.jsonl")) == []
        await call.end()
    entry = next(read_journal(tmp_path / "journal.jsonl"))
    assert (entry.kind, entry.reason, entry.files) == ("local", "a link", ["x.o"])
    assert read_statistics(tmp_path / "statistics.json")["calls"] == {"local": 1}
