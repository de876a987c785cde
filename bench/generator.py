"""The load generator in load/, a Go program: a client in Python cannot keep a quick server busy."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Message = Sequence[bytes]
"""Parts that are sent one after the other as one message; equal objects are stored once."""

_SOURCE = Path(__file__).parent / "load"


@dataclass(frozen=True)
class Job:
    """Calls of one method, each a list of messages, made again and again or each once."""

    path: str
    calls: Sequence[Sequence[Message]]
    in_flight: int
    streams_requests: bool = False
    streams_replies: bool = False
    once: bool = False
    connections: int = 2


@dataclass(frozen=True)
class Figures:
    """What came of a job."""

    per_second: float
    p50_ms: float
    bytes_per_second: float


class Generator:
    """The program, built in `folder`; it runs on `core`, beside nothing of the server's."""

    def __init__(self, folder: Path, core: int) -> None:
        if shutil.which("go") is None:
            raise SystemExit("Go is missing: it builds the load generator of these rows")
        self._program = folder / "load"
        self._core = core
        built = subprocess.run(
            ["go", "build", "-o", self._program, "."], cwd=_SOURCE, capture_output=True, text=True
        )
        if built.returncode:
            raise SystemExit(f"the load generator cannot be built:\n{built.stderr}")

    def run(
        self, target: str, job: Job, *, seconds: float, warm_up_seconds: float = 0.5
    ) -> Figures:
        """Keeps the server at `target` busy for so long."""
        settings = {
            "target": target,
            "path": job.path,
            "streams_requests": job.streams_requests,
            "streams_replies": job.streams_replies,
            "in_flight": job.in_flight,
            "connections": min(job.connections, job.in_flight),
            "once": job.once,
            "seconds": seconds,
            "warm_up_seconds": warm_up_seconds,
        }
        done = subprocess.run(
            self._command(), input=_encoded(settings, job.calls), stdout=subprocess.PIPE
        )
        if done.returncode:
            raise SystemExit(f"the load on {job.path} failed")
        found: dict[str, Any] = json.loads(done.stdout)
        elapsed = found["seconds"]
        return Figures(found["calls"] / elapsed, found["p50_ms"], found["bytes"] / elapsed)

    @contextmanager
    def workers(self, target: str, workers: int, slots: int) -> Iterator[None]:
        """Workers that run nothing, and complete every lease at once, inside the context."""
        process = subprocess.Popen(
            self._command("workers", target, str(workers), str(slots)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise SystemExit("the workers that run nothing did not connect")
            yield
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait()

    def _command(self, *arguments: str) -> list[str | Path]:
        return ["taskset", "-c", str(self._core), self._program, *arguments]


def _encoded(settings: Mapping[str, Any], calls: Sequence[Sequence[Message]]) -> bytes:
    """As load/job.go reads it."""
    numbers: dict[int, int] = {}
    segments: list[bytes] = []
    encoded = bytearray(_number(len(calls)))
    for messages in calls:
        encoded += _number(len(messages))
        for message in messages:
            encoded += _number(len(message))
            for part in message:
                number = numbers.setdefault(id(part), len(segments))
                if number == len(segments):
                    segments.append(part)
                encoded += _number(number)
    parts = [_sized(json.dumps(settings).encode()), _number(len(segments))]
    return b"".join((*parts, *map(_sized, segments), encoded))


def _sized(data: bytes) -> bytes:
    return _number(len(data)) + data


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")
