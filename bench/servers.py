"""Starts the real server, pinned to cores, and reads what its processes use."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        return process_tree(self.pid)

    def forget_peak(self) -> None:
        """From now on `peak_mib` counts anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """The most memory that the first process has had resident since `forget_peak`."""
        return memory_mib(self.pid)["VmHWM"]

    def unshared_mib(self) -> float:
        """Memory of the first process that no file stands for."""
        return memory_mib(self.pid)["RssAnon"]

    def cpu_seconds(self) -> float:
        """Of all processes and of their children that have ended."""
        return cpu_seconds_of(self.pids())

    def resident_mib(self) -> dict[str, float]:
        """Resident memory of each process, by what it is."""
        return {_name(pid): int(_stat(pid)[21]) * _PAGE_BYTES / (1 << 20) for pid in self.pids()}


ALL_CORES = tuple(sorted(os.sched_getaffinity(0)))
"""Those that the benchmarks may use."""

FRONTEND = ("frontend", "scheduler")
"""The roles of a server that runs no actions: nothing of an executor is in its figures."""


@contextlib.contextmanager
def running_server(
    data_dir: Path,
    cores: Sequence[int],
    *,
    roles: Sequence[str] = (),
    settings: Mapping[str, str | Path] | None = None,
) -> Iterator[RunningServer]:
    """A server on free ports inside the context, with all roles unless some are named.

    `settings` are keys without their prefix, as STORAGE__STATE__KIND.
    """
    data_dir.mkdir(exist_ok=True)
    environment = {f"REAPI_{key}": str(value) for key, value in (settings or {}).items()}
    process = subprocess.Popen(
        [
            *("taskset", "-c", ",".join(map(str, cores))),
            *(sys.executable, "-m", "reapi.server", "serve"),
            *("--data-dir", str(data_dir), "--listen", "127.0.0.1:0"),
            *("--http-listen", "127.0.0.1:0"),
            *(f"--role={role}" for role in roles),
        ],
        stdout=subprocess.PIPE,
        stderr=(data_dir / "server.log").open("w"),
        text=True,
        env=os.environ | environment,
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


def pin(cores: Sequence[int]) -> None:
    """All threads of this process, and those that they start, run on `cores` from now on."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores)


def process_tree(root: int) -> list[int]:
    """The processes that live now: `root` and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo.extend(parents.get(pid, []))
    return sorted(found)


def cpu_seconds_of(pids: Iterable[int]) -> float:
    """Of these processes, and of their children that have ended."""
    return sum(int(tick) for pid in pids for tick in _stat(pid)[11:15]) / _CLOCK_TICKS


def memory_mib(pid: int) -> dict[str, float]:
    """The lines of /proc/PID/status that are sizes, such as RssAnon and RssFile."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {
        line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith(" kB")
    }


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 50


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    script = next((word for word in words[1:] if not word.startswith("-")), words[0])
    return f"{script.rpartition('/')[2]} ({pid})"
