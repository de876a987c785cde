"""What the slot process does about limits: enters them, notices their breach, counts what is used.

It imports nothing but light parts of the standard library, as slot_process.py says.
"""

import contextlib
import os
import resource
import select
from collections.abc import Iterator, Sequence
from typing import Any

_KILLED_FIRST = b"1000"
"""The highest oom_score_adj; who has no privileges may take back what it has raised itself."""

_CHECK_MS = 10
_CHECKS = 100


def enter(cgroups: Sequence[str], rlimits: dict[str, int]) -> None:
    """Puts this process, and all that it will start, into `cgroups` and under `rlimits`."""
    for entrance in cgroups:
        with open(entrance, "w") as members:
            members.write("0")
    for name, most in rlimits.items():
        number = getattr(resource, name)
        soft, hard = (_less(one, most) for one in resource.getrlimit(number))
        resource.setrlimit(number, (soft, hard))


def _less(limit: int, most: int) -> int:
    return most if limit == resource.RLIM_INFINITY else min(limit, most)


def memory_kills(counter: int) -> int:
    """How many processes the kernel has killed for memory so far; `counter` is the descriptor of
    memory.oom_control in cgroups of version 1, of memory.events in version 2."""
    words = os.pread(counter, 4096, 0).split()
    return int(words[words.index(b"oom_kill") + 1])


class OutOfMemory:
    """Notices that the kernel killed a process of the slot because its memory was at the limit.

    `event` wakes a poll with `mask`: an eventfd in cgroups of version 1, in version 2 the same file
    as `counter`, which is the one that has the number of kills.
    """

    def __init__(self, event: int, counter: int) -> None:
        self.event = event
        self.mask = select.POLLIN if event != counter else select.POLLPRI
        self._counter = counter
        self._kills = 0
        self._checks_left = 0

    @property
    def wait_ms(self) -> int | None:
        """How long to wait at most before the next `has_happened`; None for no reason to ask."""
        return _CHECK_MS if self._checks_left else None

    def has_happened(self) -> bool:
        """Since this was asked last.

        The event of version 1 comes before the choice of who is killed, or also for others below a
        common limit: after one the number is worth looking at for a while.
        """
        if self._checks_left:
            self._checks_left -= 1
        if self.event != self._counter:
            with contextlib.suppress(BlockingIOError):
                os.read(self.event, 8)
                self._checks_left = _CHECKS
        before, self._kills = self._kills, memory_kills(self._counter)
        return self._kills > before


class KilledFirst:
    """Makes what is spawned inside the first to be killed for memory, before this process."""

    def __init__(self) -> None:
        self._score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self._own = os.pread(self._score, 16, 0)

    def __enter__(self) -> None:
        os.pwrite(self._score, _KILLED_FIRST, 0)

    def __exit__(self, *_: object) -> None:
        os.pwrite(self._score, self._own, 0)


class ProcessLimit:
    """The limit of processes of the slot's cgroup: its files pids.max and pids.events."""

    def __init__(self, limit: int, events: int) -> None:
        self._limit = limit
        self._events = events
        self._refused = 0

    def was_met(self) -> bool:
        """Whether a fork was refused since this was asked last."""
        before, self._refused = self._refused, int(os.pread(self._events, 4096, 0).split()[1])
        return self._refused > before

    @contextlib.contextmanager
    def zero(self) -> Iterator[None]:
        """Nothing is born meanwhile."""
        limit = os.pread(self._limit, 16, 0)
        os.pwrite(self._limit, b"0", 0)
        try:
            yield
        finally:
            os.pwrite(self._limit, limit, 0)


class Spent:
    """What the processes that were reaped have used, together."""

    def __init__(self) -> None:
        self._user = self._system = 0.0
        self._largest = self._read = self._written = self._switches = 0

    def add(self, usage: resource.struct_rusage) -> None:
        """Counts a process with all the children that it has waited for."""
        self._user += usage.ru_utime
        self._system += usage.ru_stime
        self._largest = max(self._largest, usage.ru_maxrss)
        self._read += usage.ru_inblock
        self._written += usage.ru_oublock
        self._switches += usage.ru_nivcsw

    def as_message(self) -> dict[str, Any]:
        """The fields of run_outcome.ProcessUsage."""
        return {
            "user_seconds": self._user,
            "system_seconds": self._system,
            "largest_process_bytes": self._largest << 10,
            "read_bytes": self._read << 9,
            "written_bytes": self._written << 9,
            "involuntary_switches": self._switches,
        }
