"""How a command ended, and what it has used."""

import signal
from dataclasses import dataclass
from typing import Literal

KILLED_EXIT_CODE = 128 + signal.SIGKILL


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """What all processes of a command used together, as far as somebody waited for them.

    `peak_memory_bytes` is that of all of them where a cgroup counts it, page cache included, else
    of the largest. Bytes are those read from and written to block devices.
    """

    user_seconds: float
    system_seconds: float
    largest_process_bytes: int
    read_bytes: int
    written_bytes: int
    involuntary_switches: int
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a command ended. Exit codes are a shell's: 127 not found, 126 not executable, 128 + n
    killed by signal n. `seconds` is measured by the clock that enforces the timeout.

    With `memory` and `limit` it was killed because it used too much. `message` names the limit
    that it met, also one that let it go on.
    """

    ended_by: Literal["exit", "timeout", "killed", "memory", "limit"]
    exit_code: int
    started_ns: int
    ended_ns: int
    seconds: float
    usage: ProcessUsage
    met_processes: bool = False
    """A fork was refused, for there were as many processes as may be."""
    message: str = ""
