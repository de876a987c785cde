"""The interop service in a process of its own: `python -m tests.interop.process TRANSPORT`.

With `--tls FOLDER` it speaks TLS, with `--asks-clients` as well only with those that show a
certificate. With `--impatient` silent connections are given a second each time. It says its port
on its output and serves until its input ends.
"""

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Self

import uvloop

from .service import Interop
from .transports import Tls, serve

END_DEADLINE_SECONDS = 30


class InteropProcess:
    """Such a process inside the context; leaving it expects the exit code 0."""

    def __init__(
        self,
        transport: str,
        tls: Path | None = None,
        *,
        asks_clients: bool = False,
        is_impatient: bool = False,
    ) -> None:
        self._command = [sys.executable, "-m", __spec__.name, transport]
        if tls is not None:
            self._command += ["--tls", str(tls)]
        if asks_clients:
            self._command.append("--asks-clients")
        if is_impatient:
            self._command.append("--impatient")
        self.transport = transport
        self.target = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            self.__exit__()
            raise AssertionError("the server ended before it said its port")
        self.target = f"127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            code = self._process.wait(END_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        assert code == 0, f"the server ended with {code}"

    @property
    def port(self) -> int:
        """On 127.0.0.1."""
        return int(self.target.rpartition(":")[2])

    def resident_kib(self) -> int:
        """The memory that it has now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1])


async def _serve(transport: str, tls: Tls | None, *, is_impatient: bool) -> None:
    async with serve(transport, Interop().rows(), tls, is_impatient=is_impatient) as port:
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("transport")
    parser.add_argument("--tls", type=Path)
    parser.add_argument("--asks-clients", action="store_true")
    parser.add_argument("--impatient", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.tls
    chosen = None if folder is None else Tls(folder, arguments.asks_clients)
    uvloop.run(_serve(arguments.transport, chosen, is_impatient=arguments.impatient))
