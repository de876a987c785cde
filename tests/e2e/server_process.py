"""Starts the real `reapi-server` as its user does, and ends it by its process id."""

import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

START_DEADLINE_SECONDS = 30
STOP_DEADLINE_SECONDS = 20


@dataclass(frozen=True)
class RunningServer:
    """Where it listens, each HOST:PORT."""

    grpc: str
    http: str


def first_line(pipe: IO[bytes]) -> str:
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


def parse_ready(line: str) -> RunningServer:
    """The addresses of the line `ready grpc=HOST:PORT http=HOST:PORT`, the whole of stdout."""
    words = line.split()
    addresses = dict(word.split("=", 1) for word in words[1:])
    if words[:1] != ["ready"] or set(addresses) != {"grpc", "http"} or line.count("\n") != 1:
        raise AssertionError(f"expected one ready line on standard output, got {line!r}")
    return RunningServer(**addresses)


@contextmanager
def running_server(program: Path, data_dir: Path, log: Path) -> Iterator[RunningServer]:
    """A server on free ports with its state in `data_dir`; SIGTERM at the end, and exit code 0."""
    command: list[str | Path] = [program, "serve", "--data-dir", data_dir]
    command += ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("REAPI_")}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            yield parse_ready(first_line(process.stdout))
            process.terminate()
            exit_code = process.wait(STOP_DEADLINE_SECONDS)
            assert exit_code == 0, f"the server ended with {exit_code} after SIGTERM"
        finally:
            process.kill()
