"""Child processes of the server: started with the settings, told and asked things, replaced when
they die, and gone when their parent is.

Parent and child talk over one socket, which is the child's standard input, in lines of JSON:
`[word, value]`. The kernel closes it when either ends, however it ends. The child's side is
parent_process.py.
"""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

from reapi.core.errors import Unavailable

from .config import ServerConfig

logger = logging.getLogger(__name__)

LONGEST_LINE_BYTES = 16 << 20
"""Of settings and answers; both are some kilobytes."""

_RESTART_SECONDS = 1.0


class ChildProcess:
    """Keeps `python -m MODULE ARGUMENTS` running inside the context; one that dies is replaced.

    Leaving the context lets it drain for `grace_seconds`, then kills it. `name` is for the log.
    `own_token` is what the processes of the server show each other: no file and no argument has it.
    """

    def __init__(
        self,
        name: str,
        module: str,
        config: ServerConfig,
        *arguments: str,
        grace_seconds: float,
        own_token: str | None = None,
    ) -> None:
        self.name = name
        self._grace_seconds = grace_seconds
        self._command = [sys.executable, "-m", module, *arguments]
        self._config = config
        self._own_token = own_token
        self._supervisor: asyncio.Task[None]
        self._first_start: asyncio.Future[bool]
        self._writer: asyncio.StreamWriter | None = None
        self._standing_order: str | None = None
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self.is_ready = False
        """Whether the present process has said that it does its work."""

    async def __aenter__(self) -> Self:
        self._first_start = asyncio.get_running_loop().create_future()
        self._supervisor = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._supervisor.cancel()
        await asyncio.wait([self._supervisor])
        if not self._supervisor.cancelled():
            self._supervisor.result()

    async def first_ready(self) -> None:
        """Returns when the process does its work; Unavailable when the first one never did."""
        if not await asyncio.shield(self._first_start):
            raise Unavailable(f"{self.name} ended before it was ready; the log says why")

    def tell(self, word: str) -> None:
        """An order that holds from now on, also for a process that takes the place of this one."""
        self._standing_order = word
        if self.is_ready:
            self._send(word)

    async def ask(self, word: str, timeout_seconds: float) -> Any:
        """The answer of the process; None when it gives none in time. Askers share one answer."""
        if not self.is_ready:
            return None
        answer = self._answers.get(word)
        if answer is None:
            answer = self._answers[word] = asyncio.get_running_loop().create_future()
            self._send(word)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.shield(answer)
        except TimeoutError:
            return None

    async def _supervise(self) -> None:
        while True:
            try:
                status = await self._run()
                logger.error("%s ended with status %s; starting another", self.name, status)
            except OSError:
                logger.exception("cannot start %s; trying again", self.name)
            if not self._first_start.done():
                self._first_start.set_result(False)
            await asyncio.sleep(_RESTART_SECONDS)

    async def _run(self) -> int:
        """One process from start to end. Cancelling it lets the process drain."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = _started(self._command, theirs)
        except OSError:
            ours.close()
            raise
        listener = asyncio.create_task(self._listen(ours))
        with process:
            try:
                await _ended(process)
            except asyncio.CancelledError:
                await self._end(process)
                raise
            finally:
                listener.cancel()
                await asyncio.wait([listener])
            if not listener.cancelled():
                listener.result()
        return process.returncode

    async def _listen(self, connection: socket.socket) -> None:
        """Gives the process its settings and hears it until it ends."""
        reader, self._writer = await asyncio.open_unix_connection(
            sock=connection, limit=LONGEST_LINE_BYTES
        )
        try:
            self._send("settings", [self._config.model_dump(mode="json"), self._own_token])
            while line := await reader.readline():
                word, value = json.loads(line)
                if word == "ready":
                    self._became_ready()
                elif (answer := self._answers.pop(word, None)) is not None:
                    answer.set_result(value)
        except ConnectionError:
            logger.debug("the connection to %s broke", self.name)
        finally:
            self.is_ready = False
            for answer in self._answers.values():
                answer.set_result(None)
            self._answers.clear()
            self._writer.close()

    def _became_ready(self) -> None:
        self.is_ready = True
        logger.info("%s is ready", self.name)
        if self._standing_order is not None:
            self._send(self._standing_order)
        if not self._first_start.done():
            self._first_start.set_result(True)

    def _send(self, word: str, value: object = None) -> None:
        """Never waits: there are few words, and no question is put again before its answer."""
        assert self._writer is not None
        self._writer.write(json.dumps([word, value]).encode() + b"\n")

    async def _end(self, process: "subprocess.Popen[bytes]") -> None:
        """Lets what runs finish, for a while."""
        process.terminate()
        try:
            async with asyncio.timeout(self._grace_seconds):
                await _ended(process)
        except TimeoutError:
            logger.warning("%s still runs after %g s; killing it", self.name, self._grace_seconds)
            process.kill()


def _started(command: Sequence[str], stdin: socket.socket) -> "subprocess.Popen[bytes]":
    """Not asyncio's own way, which forks: gRPC's threads mind that."""
    return subprocess.Popen(
        command,
        stdin=stdin.fileno(),
        # Ctrl-C in a terminal is for the parent, which then lets the child drain.
        start_new_session=True,
    )


async def _ended(process: "subprocess.Popen[bytes]") -> None:
    """Waits for the end of the process without a thread."""
    if process.returncode is not None:
        # Reaped already, as a signal to it does: its number may be another process's by now.
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
