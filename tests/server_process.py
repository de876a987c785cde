"""Starts the real `reapi-server` as its user does, and ends it by its process id."""

import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Self

START_DEADLINE_SECONDS = 30
STOP_DEADLINE_SECONDS = 30


class ServerProcess:
    """`reapi-server serve` on free ports, with its state in `data_dir`, ready on entry.

    Leaving the context sends SIGTERM and expects exit code 0; a server that was killed before is
    only waited for. `grpc` and `http` are HOST:PORT as the ready line says them. The log is shown
    when the context is left by an exception.
    """

    def __init__(
        self, data_dir: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._command = [
            *(sys.executable, "-m", "reapi.server", "serve", "--data-dir", str(data_dir)),
            *("--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"),
            *arguments,
        ]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REAPI_")}
        self._environment = kept | (environment or {})
        self._log = data_dir.with_name(data_dir.name + ".log")
        self._was_killed = False
        self.grpc = ""
        self.http = ""

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, env=self._environment
            )
        assert self._process.stdout is not None
        try:
            line = _first_line(self._process.stdout)
            words = line.split()
            if words[:1] != ["ready"] or line.count("\n") != 1:
                raise AssertionError(f"expected one ready line on standard output, got {line!r}")
            addresses = dict(word.split("=", 1) for word in words[1:])
            self.grpc = addresses.get("grpc", "")
            self.http = addresses["http"]
        except BaseException:
            self.kill()
            self._end()
            self._show_log()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if not self._was_killed:
            self._process.terminate()
        exit_code = self._end()
        if kind is not None:
            self._show_log()
        elif not self._was_killed:
            assert exit_code == 0, f"the server ended with {exit_code} after SIGTERM"

    @property
    def pid(self) -> int:
        """Of the first process of the server."""
        return self._process.pid

    def child_pids(self) -> list[int]:
        """The processes that the server has started and that live now."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def kill(self) -> None:
        """SIGKILL: nothing can be saved any more."""
        self._was_killed = True
        self._process.kill()
        self._process.wait()

    def _end(self) -> int:
        try:
            return self._process.wait(STOP_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _show_log(self) -> None:
        sys.stderr.write(self._log.read_text(errors="replace"))


def _first_line(pipe: IO[bytes]) -> str:
    """What the process says first; empty when it ends, or is not heard of before the deadline."""
    deadline = time.monotonic() + START_DEADLINE_SECONDS
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(deadline - time.monotonic()):
            read = os.read(pipe.fileno(), 4096)
            if not read:
                break
            line += read
    return line.decode()
