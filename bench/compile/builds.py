"""Whole builds with make: how long, and how much of the processors, for all and for the client."""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .findings import CompileError
from .processes import cpu_seconds, cpu_seconds_below, ends_within
from .sources import Project
from .tools import JOBS, Tool

_BUILD_SECONDS = 900
_SETTLING_SECONDS = 1.0
"""In which daemons store what they have already answered: it is a part of the build's work."""
_TOLD_BYTES = 300


@dataclass(frozen=True)
class Build:
    """What a build took. `client_seconds` is `cpu_seconds` without the tool's servers."""

    seconds: float
    cpu_seconds: float
    client_seconds: float


def build(project: Project, tool: Tool) -> Build:
    """Makes all objects of the project anew; raises CompileError."""
    out = project.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [*tool.within, "make", "-s", f"-j{JOBS}", "-C", str(project.folder)]
    command.append(f"LAUNCHER={' '.join(tool.launcher)}")
    cpu_before, servers_before = cpu_seconds(), cpu_seconds_below(tool.servers)
    started = time.perf_counter()
    _make(command, tool, project.folder / "make.log")
    seconds = time.perf_counter() - started
    time.sleep(_SETTLING_SECONDS)
    cpu = cpu_seconds() - cpu_before
    made = len(list(out.glob("*.o")))
    if made != project.units:
        raise CompileError(f"{made} objects of {project.units}")
    return Build(seconds, cpu, cpu - (cpu_seconds_below(tool.servers) - servers_before))


def _make(command: list[str], tool: Tool, log: Path) -> None:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            env=tool.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as make,
    ):
        if not ends_within(make.pid, _BUILD_SECONDS):
            make.kill()
            raise CompileError(f"not done after {_BUILD_SECONDS} s")
    if make.returncode:
        said = log.read_bytes()[-_TOLD_BYTES:].decode(errors="replace").strip()
        raise CompileError(f"make ended with {make.returncode}: {said}")
