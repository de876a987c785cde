"""A tool that stays warm between actions, and the conversation with it (Bazel's worker protocol).

The process runs as a command does, in the same tree and with the same rights, but its standard
input and output are a socket to the executor; it is never told to run two actions at once.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Self

from google.protobuf.message import DecodeError

from reapi.core.uninterrupted import uninterrupted
from reapi.protos.reapi.executor.v1.worker_protocol_pb2 import WorkRequest, WorkResponse

from .run_outcome import RunOutcome
from .runner import Runner

_LARGEST_RESPONSE_BYTES = 64 << 20
_LONGEST_VARINT_BYTES = 10
_QUOTED_BYTES = 2_000
_RECEIVE_BYTES = 1 << 16


class WorkerFailed(Exception):
    """The worker died or does not speak the protocol; the message says how. It is over."""


class PersistentWorker:
    """A warm process; an async context manager that kills it at the end.

    `open_runner` opens a runner of processes whose standard input and output are a descriptor;
    `start` runs the tool with it, and returns only when that has ended. One request at a time.
    """

    def __init__(
        self,
        open_runner: Callable[[int], AbstractAsyncContextManager[Runner]],
        start: Callable[[Runner], Coroutine[None, None, RunOutcome]],
    ) -> None:
        self._open_runner = open_runner
        self._start = start
        self._stack = AsyncExitStack()
        self._runner: Runner
        self._process: asyncio.Task[RunOutcome]
        self._connection: socket.socket
        self._received = bytearray()

    async def __aenter__(self) -> Self:
        self._connection, theirs = socket.socketpair()
        self._stack.callback(self._connection.close)
        self._connection.setblocking(False)
        with theirs:
            opened = self._open_runner(theirs.fileno())
            self._runner = await self._stack.enter_async_context(opened)
        self._process = asyncio.create_task(self._start(self._runner))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.cancel()
        try:
            await uninterrupted(asyncio.wait((self._process,)))
        finally:
            await self._stack.aclose()

    @property
    def is_alive(self) -> bool:
        return not self._process.done()

    async def work(self, request: WorkRequest) -> WorkResponse:
        """The answer to `request`. Raises WorkerFailed, and what starting the process raised.

        After any exception, CancelledError too, the worker is in no known state: leave its context.
        """
        self._runner.stderr.clear()
        talk = asyncio.create_task(self._converse(request))
        try:
            await asyncio.wait((talk, self._process), return_when=asyncio.FIRST_COMPLETED)
            if talk.done():
                return talk.result()
        except ConnectionError:
            await asyncio.wait((self._process,))
        finally:
            talk.cancel()
            await asyncio.wait((talk,))
        outcome = self._process.result()
        raise WorkerFailed(f"it ended with exit code {outcome.exit_code}{self._last_words()}")

    def _last_words(self) -> str:
        log = self._runner.stderr
        said = log.read(_QUOTED_BYTES, max(0, log.size_bytes - _QUOTED_BYTES))
        return f", saying: {said.decode(errors='replace').strip()}" if said.strip() else ""

    async def _converse(self, request: WorkRequest) -> WorkResponse:
        data = request.SerializeToString()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._connection, _varint(len(data)) + data)
        size = await self._receive_varint()
        if size > _LARGEST_RESPONSE_BYTES:
            raise WorkerFailed(
                f"its answer is to have {size} bytes: it does not speak the protocol"
            )
        while len(self._received) < size:
            await self._receive()
        try:
            response = WorkResponse.FromString(bytes(self._received[:size]))
        except DecodeError as error:
            raise WorkerFailed("its answer is no WorkResponse") from error
        del self._received[:size]
        if self._received:
            raise WorkerFailed("it said more than one answer to one request")
        return response

    async def _receive_varint(self) -> int:
        value = 0
        for index in range(_LONGEST_VARINT_BYTES):
            while not self._received:
                await self._receive()
            byte = self._received.pop(0)
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value
        raise WorkerFailed("its answer begins with no length: that is not the protocol")

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        chunk = await loop.sock_recv(self._connection, _RECEIVE_BYTES)
        if not chunk:
            raise ConnectionResetError
        self._received += chunk


def _varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
