"""The cgroup of one slot: the limits of the action that runs there, and what it has used.

The slot process enters at its birth, and all that it starts is born inside: nothing has to be
moved, which would cost milliseconds for each action, and nothing runs outside for a moment. When
memory runs out the kernel kills a process of the action first (slot_limits.py sees to that); if
something needs memory before that of the dead one is free, it may kill the slot process next.
"""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from reapi.core.errors import ResourceExhausted

from .cgroup_members import kill_members, remove_cgroup
from .cgroup_places import Place
from .limits import CPU, CPU_TIME, MEMORY, OWN_PROCESSES, PROCESSES, Limits
from .slot_limits import memory_kills

_CPU_PERIOD_MICROSECONDS = 100_000
_WHOLE_CORE = 1000


class _Files(NamedTuple):
    """What the files of a version are called, and what stands in them."""

    memory_limit: str
    memory_unlimited: str
    memory_usage: str
    memory_peak: str
    swap: tuple[str, str]
    cpu_limit: str
    cpu_unlimited: str
    cpu_limited: str
    cpu_weight: str
    weight_of_core: int
    largest_weight: int


_FILES = {
    1: _Files(
        memory_limit="memory.limit_in_bytes",
        memory_unlimited="-1",
        memory_usage="memory.usage_in_bytes",
        memory_peak="memory.max_usage_in_bytes",
        swap=("memory.swappiness", "0"),
        cpu_limit="cpu.cfs_quota_us",
        cpu_unlimited="-1",
        cpu_limited="{quota}",
        cpu_weight="cpu.shares",
        weight_of_core=1024,
        largest_weight=1 << 18,
    ),
    2: _Files(
        memory_limit="memory.max",
        memory_unlimited="max",
        memory_usage="memory.current",
        memory_peak="memory.peak",
        swap=("memory.swap.max", "0"),
        cpu_limit="cpu.max",
        cpu_unlimited=f"max {_CPU_PERIOD_MICROSECONDS}",
        cpu_limited=f"{{quota}} {_CPU_PERIOD_MICROSECONDS}",
        cpu_weight="cpu.weight",
        weight_of_core=100,
        largest_weight=10_000,
    ),
}


class SlotCgroup:
    """The cgroups of one slot, one directory for each controller; in version 2 all are the same.

    For one task at a time. `close` removes them, when no process is left in them.
    """

    def __init__(self, name: str, places: Mapping[str, Place], limits: Limits) -> None:
        self._places = {
            controller: Place(place.version, place.directory / name)
            for controller, place in places.items()
        }
        self._limits = limits
        self._fds: list[int] = []
        self._values: dict[str, str] = {}
        self.memory_bytes: int | None = None
        """The limit of the action that runs."""
        self.out_of_memory: tuple[int, int] | None = None
        """The descriptors that slot_limits.OutOfMemory is made of."""
        self.processes: tuple[int, int] | None = None
        """The descriptors that slot_limits.ProcessLimit is made of."""
        self._usage = self._peak = -1
        self._start_bytes = 0
        self._start_kills = 0
        self._times: tuple[int, ...] = ()
        self._start_times = (0, 0)
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        for directory in self._directories():
            directory.mkdir()
        if MEMORY in self._places:
            files = _FILES[self._places[MEMORY].version]
            with suppress(OSError):  # a kernel without swap has no such file
                self._write(MEMORY, *files.swap)
            self._usage = self._open(MEMORY, files.memory_usage)
            with suppress(OSError):  # kernels before 5.19 have none in version 2
                self._peak = self._open(MEMORY, files.memory_peak)
            self.out_of_memory = self._watch_memory()
        if PROCESSES in self._places:
            self.allow_processes()
            limit = self._open(PROCESSES, "pids.max")
            self.processes = limit, self._open(PROCESSES, "pids.events")

        if CPU_TIME in self._places:
            counters = ("cpuacct.usage_user", "cpuacct.usage_sys")
            self._times = tuple(self._open(CPU_TIME, counter) for counter in counters)
        elif found := [name for name, place in self._places.items() if place.version == 2]:
            self._times = (self._open(found[0], "cpu.stat"),)

    @property
    def controllers(self) -> Collection[str]:
        return self._places.keys()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the slot process needs open."""
        return (*dict.fromkeys(self.out_of_memory or ()), *(self.processes or ()))

    @property
    def entrances(self) -> list[str]:
        """A process that writes 0 to these files is inside."""
        return [str(directory / "cgroup.procs") for directory in self._directories()]

    def allow_processes(self) -> None:
        """As many as the limit says."""
        if PROCESSES in self._places:
            self._write(PROCESSES, "pids.max", str(self._limits.processes + OWN_PROCESSES))

    def needs_change(self, memory_bytes: int, cpu_milli: int) -> bool:
        """Whether `change` would alter anything."""
        return bool(self._changes(memory_bytes, cpu_milli))

    def change(self, memory_bytes: int, cpu_milli: int) -> None:
        """Sets the limits for an action that has booked so much; 0 is nothing.

        Blocks while memory is reclaimed that an earlier action left in the page cache. Raises
        ResourceExhausted when that does not succeed.
        """
        for (controller, file), value in self._changes(memory_bytes, cpu_milli).items():
            try:
                self._write(controller, file, value)
            except OSError as error:
                raise ResourceExhausted(
                    f"this worker cannot set a limit of the action: {file} = {value}: "
                    f"{os.strerror(error.errno or 0)}"
                ) from error
            self._values[file] = value
        self.memory_bytes = memory_bytes or self._limits.memory_bytes

    def start(self) -> None:
        """An action begins now: its time and its peak of memory are counted from here."""
        self._start_times = self._nanoseconds()
        if self.out_of_memory:
            self._start_kills = memory_kills(self.out_of_memory[1])
        if self._peak >= 0:
            try:
                os.pwrite(self._peak, b"0", 0)
            except OSError:  # kernels before 6.12 have a peak that stays, in version 2
                self._peak = -1
                return
            self._start_bytes = int(os.pread(self._usage, 32, 0))

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed a process for memory since `start`, whoever that was."""
        counted = self.out_of_memory
        return counted is not None and memory_kills(counted[1]) > self._start_kills

    def seconds(self) -> tuple[float, float]:
        """User and system time since `start`, of this slot's own process too; 0 if not counted."""
        user, system = self._nanoseconds()
        return (user - self._start_times[0]) / 1e9, (system - self._start_times[1]) / 1e9

    def peak_bytes(self) -> int:
        """By how much memory grew at most since `start`; 0 where the kernel does not say."""
        if self._peak < 0:
            return 0
        return max(0, int(os.pread(self._peak, 32, 0)) - self._start_bytes)

    def kill(self) -> None:
        """Returns when no process is left inside; none can be born until `allow_processes`."""
        for directory in self._directories():
            kill_members(directory)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        for directory in self._directories():
            remove_cgroup(directory)

    def _changes(self, memory_bytes: int, cpu_milli: int) -> dict[tuple[str, str], str]:
        """What does not stand in the files yet."""
        wanted: dict[tuple[str, str], str] = {}
        if MEMORY in self._places:
            files = _FILES[self._places[MEMORY].version]
            limit = memory_bytes or self._limits.memory_bytes
            wanted[MEMORY, files.memory_limit] = str(limit or files.memory_unlimited)
        if CPU in self._places:
            files = _FILES[self._places[CPU].version]
            most = self._limits.cpu_milli
            quota = most and most * _CPU_PERIOD_MICROSECONDS // _WHOLE_CORE
            text = files.cpu_limited.format(quota=quota) if quota else files.cpu_unlimited
            wanted[CPU, files.cpu_limit] = text
            weight = files.weight_of_core * (cpu_milli or _WHOLE_CORE) // _WHOLE_CORE
            wanted[CPU, files.cpu_weight] = str(min(max(weight, 2), files.largest_weight))
        return {key: value for key, value in wanted.items() if self._values.get(key[1]) != value}

    def _watch_memory(self) -> tuple[int, int]:
        if self._places[MEMORY].version == 2:
            events = self._open(MEMORY, "memory.events")
            return events, events
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._fds.append(event)
        control = self._open(MEMORY, "memory.oom_control")
        self._write(MEMORY, "cgroup.event_control", f"{event} {control}")
        return event, control

    def _nanoseconds(self) -> tuple[int, int]:
        texts = [os.pread(fd, 4096, 0) for fd in self._times]
        if len(texts) == 1:
            words = texts[0].split()
            microseconds = dict(zip(words[::2], map(int, words[1::2]), strict=True))
            return microseconds[b"user_usec"] * 1000, microseconds[b"system_usec"] * 1000
        return (int(texts[0]), int(texts[1])) if texts else (0, 0)

    def _directories(self) -> list[Path]:
        return list(dict.fromkeys(place.directory for place in self._places.values()))

    def _write(self, controller: str, file: str, value: str) -> None:
        (self._places[controller].directory / file).write_text(value)

    def _open(self, controller: str, file: str) -> int:
        path = self._places[controller].directory / file
        writable = os.access(path, os.W_OK)
        fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        self._fds.append(fd)
        return fd
