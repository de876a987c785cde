"""Starts the real `reapi-server` as its user does, and ends it by its process id."""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Self

from tests import transport

START_DEADLINE_SECONDS = 60
STOP_DEADLINE_SECONDS = 60


class ServerProcess:
    """`reapi-server serve` on free ports, with its state in `data_dir`, ready on entry.

    Leaving the context sends SIGTERM, unless `terminate` did, and expects exit code 0; a server
    that was killed before is only waited for. Actions see the folder `gates` beside `data_dir`, if
    there is one (integration/system.py). `grpc` and `http` are HOST:PORT as the ready line
    says them. The log is shown when the context is left by an exception.
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
        gates = data_dir.parent / "gates"
        shown = (
            {"REAPI_EXECUTOR__SANDBOX_PATHS": json.dumps([str(gates)])} if gates.exists() else {}
        )
        self._environment = kept | transport.environment() | shown | (environment or {})
        self._log = data_dir.with_name(data_dir.name + ".log")
        self._was_killed = False
        self._was_terminated = False
        self._lines: list[str] = []
        self._logged = threading.Condition()
        self.grpc = ""
        self.http = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._environment
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._logger = threading.Thread(
            target=self._copy_log, args=(self._process.stderr,), daemon=True
        )
        self._logger.start()
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
        if not (self._was_killed or self._was_terminated):
            self._process.terminate()
            self.thaw()
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

    def peak_memory_kib(self) -> int:
        """Of its first process, since it began or since `forget_peak_memory`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1])

    def forget_peak_memory(self) -> None:
        """From now on `peak_memory_kib` counts anew, from what it has now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def open_files(self) -> int:
        """How many descriptors its first process has, sockets included."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Blocks until so many lines of the log, since the start, have had `text` in them."""
        with self._logged:
            assert self._logged.wait_for(
                lambda: sum(text in line for line in self._lines) >= times, START_DEADLINE_SECONDS
            ), f"the log does not say {text!r}"

    def terminate(self) -> None:
        """SIGTERM: the server begins to drain."""
        self._was_terminated = True
        self._process.terminate()

    def terminate_again(self) -> int:
        """A second SIGTERM while it drains; the exit code."""
        self._was_killed = True
        self._process.terminate()
        return self._process.wait(STOP_DEADLINE_SECONDS)

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections, and does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self._process.send_signal(signal.SIGCONT)

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
            self._logger.join(STOP_DEADLINE_SECONDS)

    def _copy_log(self, pipe: IO[bytes]) -> None:
        with pipe, self._log.open("ab", buffering=0) as log:
            for line in pipe:
                log.write(line)
                with self._logged:
                    self._lines.append(line.decode(errors="replace"))
                    self._logged.notify_all()

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
