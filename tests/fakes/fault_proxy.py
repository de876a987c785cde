"""A TCP proxy that cuts connections and falls silent when a test says so."""

import asyncio
from contextlib import suppress
from typing import Self

_PIECE_BYTES = 64 << 10


class FaultProxy:
    """Passes everything on to `target` (HOST:PORT). Use it as an async context manager."""

    def __init__(self, target: str) -> None:
        self._host, port = target.split(":")
        self._port = int(port)
        self.endpoint = ""
        self.cut_after_bytes: list[int] = []
        """The next answers are cut off after so many bytes, one connection each."""
        self.is_silent = False
        """Connections are accepted, and nothing ever comes back."""
        self.gate = asyncio.Event()
        """While it is not set, new connections wait."""
        self.gate.set()
        self.flowing = asyncio.Event()
        """While it is not set, nothing passes in either direction, as on a network that is cut."""
        self.flowing.set()
        self.connections = 0
        """That were ever made."""
        self.ended = asyncio.Event()
        """Set whenever a connection ends; for tests to clear."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.endpoint = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.is_silent:
                await reader.read()
                return
            await self.gate.wait()
            back, forth = await asyncio.open_connection(self._host, self._port)
            try:
                await self._exchange(reader, writer, back, forth)
            finally:
                forth.transport.abort()
        except OSError:
            pass  # one of the two has hung up
        finally:
            writer.transport.abort()
            self.ended.set()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        forth: asyncio.StreamWriter,
    ) -> None:
        limit = self.cut_after_bytes[0] if self.cut_after_bytes else None
        ways = {
            asyncio.create_task(self._pass_on(reader, forth, None)),
            asyncio.create_task(self._pass_on(back, writer, limit)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
        if any(not way.cancelled() and way.exception() is None and way.result() for way in ways):
            self.cut_after_bytes.pop(0)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
    ) -> bool:
        """Until the end; says whether the limit was reached before."""
        passed = 0
        with suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                await self.flowing.wait()
                passed += len(piece)
                if limit is not None and passed > limit:
                    return True
                writer.write(piece)
                await writer.drain()
        return False
