"""A real server at the price of a fork: its process comes from one that has imported everything."""

import asyncio
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

import uvloop

from reapi.server.config import ServerConfig
from reapi.server.serve import serve
from tests import transport

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


class ForkedServer:
    """A frontend on a free port with its state in `data_dir`, ready on entry; killed on exit.

    What it logs goes to the end of the file `log`.
    """

    def __init__(self, data_dir: Path, log: Path) -> None:
        self._log = log
        self._ready, child_end = _FORKS.Pipe(duplex=False)
        self._child_end = child_end
        self._process = _FORKS.Process(target=_serve, args=(data_dir, log, child_end))
        self.grpc = ""

    async def __aenter__(self) -> Self:
        self._process.start()
        self._child_end.close()
        words = (await asyncio.to_thread(self._first_line)).split()
        if words[:1] != ["ready"]:
            await self.__aexit__()
            raise AssertionError(f"the server does not start: {self._log.read_text()}")
        self.grpc = words[1].removeprefix("grpc=")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await asyncio.to_thread(self._process.join)
        self._process.close()
        self._ready.close()

    def _first_line(self) -> str:
        with open(self._ready.fileno(), closefd=False) as ready:
            return ready.readline()

    def kill(self) -> None:
        """SIGKILL; it may have died before."""
        self._process.kill()


def _serve(data_dir: Path, log: Path, ready: Connection) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    server = {
        "listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "roles": ["frontend"],
        "transport": transport.SETTING,
    }
    config = ServerConfig.model_validate({"data_dir": data_dir, "server": server})
    sys.stdout = open(ready.fileno(), "w", closefd=False)  # noqa: SIM115
    uvloop.run(serve(config))
