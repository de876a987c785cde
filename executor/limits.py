"""What one action may use of its machine, and the part of it that resource limits enforce."""

from collections.abc import Collection
from dataclasses import dataclass

MEMORY = "memory"
PROCESSES = "pids"
CPU = "cpu"
CPU_TIME = "cpuacct"
"""Controllers of cgroups, by the kernel's names. The last one is of version 1 only: in version 2
every cgroup counts its time."""

OWN_PROCESSES = 8
"""Room for what runs a command and is no part of it: the slot process, and that of a sandbox."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The `[executor.limits]` table; None is no limit.

    What an action has booked, of memory and cpu, comes in the place of what stands here.
    """

    memory_bytes: int | None = None
    """Of all processes of the action together, page cache and tmpfs included."""

    cpu_milli: int | None = None
    """Thousandths of a core in any tenth of a second; what is booked is a weight, not a limit."""

    processes: int = 4096
    """Processes and threads at once."""

    open_files: int = 65_536
    """Of one process."""

    file_size_bytes: int = 32 << 30
    """Of the largest file that the action writes, holes included."""

    outputs_size_bytes: int = 32 << 30
    """Of all outputs together, holes included."""

    log_size_bytes: int = 64 << 20
    """Of stdout, and of stderr."""

    disk_size_bytes: int = 64 << 30
    """Of what the action has written to the slot's directories, at any time."""


def resource_limits(
    limits: Limits, controllers: Collection[str], *, has_own_uid: bool
) -> dict[str, int]:
    """What each process of an action is given, by the names of setrlimit(2).

    They also stand in for `controllers` that are not there, as well as they can: memory counts for
    each process on its own then, and processes only under a uid that is of one slot alone.
    """
    found = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": limits.file_size_bytes,
        "RLIMIT_NOFILE": limits.open_files,
    }
    if PROCESSES not in controllers and has_own_uid:
        found["RLIMIT_NPROC"] = limits.processes + OWN_PROCESSES
    if MEMORY not in controllers and limits.memory_bytes is not None:
        found["RLIMIT_DATA"] = limits.memory_bytes
    return found


def size_text(size_bytes: int) -> str:
    """An amount of bytes as a person writes it: "2 GiB", "1.5 MiB", "100 bytes"."""
    for exponent, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size_bytes >= 1 << exponent:
            return f"{size_bytes / (1 << exponent):.4g} {unit}"
    return f"{size_bytes} bytes"
