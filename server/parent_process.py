"""The side of a child process: its settings, what its parent tells and asks, and the parent's end.

The other side, and how they talk, is child_process.py.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

from .child_process import LONGEST_LINE_BYTES
from .config import ServerConfig

Handler = Callable[[], Any]


class ParentProcess:
    """The parent as its child sees it. `config` is what the child was started with.

    `own_token` is what the processes of the server show each other, if they have to.
    """

    def __init__(
        self,
        config: ServerConfig,
        own_token: str | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.config = config
        self.own_token = own_token
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def connected(cls) -> AsyncIterator[Self]:
        """Call it once in a process; waits for the settings. Without a parent it is over."""
        # Nobody that this process starts shall inherit the connection as its standard input.
        connection = socket.socket(fileno=os.dup(0))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        reader, writer = await asyncio.open_unix_connection(
            sock=connection, limit=LONGEST_LINE_BYTES
        )
        try:
            line = await reader.readline()
            if not line:
                raise SystemExit(1)
            _, (settings, own_token) = json.loads(line)
            yield cls(ServerConfig.model_validate(settings), own_token, reader, writer)
        finally:
            writer.close()

    def say_ready(self) -> None:
        """This process does its work from now on."""
        self._send("ready", None)

    async def listen(self, handlers: Mapping[str, Handler]) -> None:
        """Calls the handler of each word of the parent; returns when the parent has ended.

        A handler that returns something other than None has been asked, and that is the answer.
        """
        try:
            while line := await self._reader.readline():
                word, _ = json.loads(line)
                answer = handlers[word]()
                if answer is not None:
                    self._send(word, answer)
        except ConnectionError:
            return

    def _send(self, word: str, value: object) -> None:
        """Never waits: the parent asks nothing twice at once."""
        self._writer.write(json.dumps([word, value]).encode() + b"\n")
