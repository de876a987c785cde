"""What this process may use of its machine, container limits included."""

import os
from pathlib import Path

_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def cpu_milli() -> int:
    """Thousandths of a core: of the processors that the process may run on."""
    return 1000 * len(os.sched_getaffinity(0))


def memory_bytes(limit_file: Path = _MEMORY_LIMIT) -> int:
    """The memory of the machine, or the limit of the container if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(limit_file.read_text()))
    except (OSError, ValueError):
        # No container, or one without a limit, which reads "max".
        return total
