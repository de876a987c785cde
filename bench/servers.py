"""Starts the real server, pinned to one core, and reads what its processes use."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class RunningServer:
    """A server that listens on `target`; `pid` is its first process."""

    pid: int
    target: str

    def pids(self) -> list[int]:
        """The server's processes that live now: itself and all below it."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo.extend(parents.get(pid, []))
        return sorted(found)

    def forget_peak(self) -> None:
        """From now on `peak_mib` counts anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """The most memory that the first process has had resident since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return int(peak) / 1024

    def cpu_seconds(self) -> float:
        """Of all processes and of their children that have ended."""
        return (
            sum(sum(int(tick) for tick in _stat(pid)[11:15]) for pid in self.pids()) / _CLOCK_TICKS
        )

    def resident_mib(self) -> dict[str, float]:
        """Resident memory of each process, by what it is."""
        return {_name(pid): int(_stat(pid)[21]) * _PAGE_BYTES / (1 << 20) for pid in self.pids()}


@contextlib.contextmanager
def running_server(data_dir: Path, core: int) -> Iterator[RunningServer]:
    """An all-in-one server on free ports inside the context."""
    process = subprocess.Popen(
        [
            *("taskset", "-c", str(core), sys.executable, "-m", "reapi.server", "serve"),
            *("--data-dir", str(data_dir), "--listen", "127.0.0.1:0"),
            *("--http-listen", "127.0.0.1:0"),
        ],
        stdout=subprocess.PIPE,
        stderr=(data_dir / "server.log").open("w"),
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        if not ready:
            raise SystemExit(f"the server did not start; see {data_dir / 'server.log'}")
        yield RunningServer(process.pid, ready[1].removeprefix("grpc="))
    finally:
        process.terminate()
        process.wait()


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 50


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    script = next((word for word in words[1:] if not word.startswith("-")), words[0])
    return f"{script.rpartition('/')[2]} ({pid})"
