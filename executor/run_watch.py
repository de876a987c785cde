"""Looks at what a running command writes, so that it fills neither its logs nor the disk.

The kernel bounds single files (RLIMIT_FSIZE) and memory, but not all that one user writes; so this
looks now and then while a command runs, and costs one that ends sooner nothing but a timer.
"""

import asyncio
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from reapi.core.uninterrupted import uninterrupted

from .fetch import FILE_TIME_NS
from .limits import Limits, size_text
from .slot_kernel import descendants

_INTERVAL_SECONDS = 0.2
_LARGEST_SHARE_OF_TIME = 0.1
"""Adding up files may take this much of the time, while more is written than one action may."""

_BLOCK_BYTES = 512


class Log(Protocol):
    """stdout or stderr."""

    @property
    def size_bytes(self) -> int: ...


class RunWatch:
    """Watches one command at a time, from `start` to `stop`; calls `on_breach` once at most.

    `directories` are those that commands write to. `on_breach` is given a sentence for the user.
    """

    def __init__(
        self,
        logs: Mapping[str, Log],
        directories: Sequence[str],
        limits: Limits,
        on_breach: Callable[[str], None],
    ) -> None:
        self._logs = logs
        self._directories = directories
        self._limits = limits
        self._on_breach = on_breach
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._free_bytes = 0
        self._not_before = 0.0

    def start(self, slot_process: int) -> None:
        """A command is about to run below the process of that number."""
        self._free_bytes = _free_bytes(self._directories[0])
        self._not_before = 0.0
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_INTERVAL_SECONDS, self._begin, slot_process)

    async def stop(self) -> None:
        """Nobody is called any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    def _begin(self, slot_process: int) -> None:
        self._task = asyncio.create_task(self._watch(slot_process))

    async def _watch(self, slot_process: int) -> None:
        while True:
            if breach := self._log_breach() or await self._disk_breach(slot_process):
                self._on_breach(breach)
                return
            await asyncio.sleep(_INTERVAL_SECONDS)

    def _log_breach(self) -> str:
        for name, log in self._logs.items():
            if log.size_bytes > self._limits.log_size_bytes:
                return log_breach(name, self._limits)
        return ""

    async def _disk_breach(self, slot_process: int) -> str:
        """Adds up files only when less is free by more than an action may use."""
        most = self._limits.disk_size_bytes
        if self._free_bytes - _free_bytes(self._directories[0]) <= most:
            return ""
        began = time.monotonic()
        if began < self._not_before:
            return ""
        used = await uninterrupted(
            asyncio.to_thread(disk_use_bytes, self._directories, slot_process, most)
        )
        ended = time.monotonic()
        self._not_before = ended + (ended - began) / _LARGEST_SHARE_OF_TIME
        if used <= most:
            return ""
        return f"the action used more than its disk limit of {size_text(most)} and was killed"


def log_breach(name: str, limits: Limits) -> str:
    """What is said of an action whose stdout or stderr is too long."""
    return f"the action wrote more than its limit of {size_text(limits.log_size_bytes)} to {name}"


def disk_use_bytes(directories: Iterable[str], slot_process: int, enough: int) -> int:
    """What an action has written below `directories`, and to files that only it still holds open.

    Input files are not counted, and a file with several names once. Stops when it is more than
    `enough`. Blocks; the tree may change meanwhile, and what cannot be read is passed over.
    """
    seen: set[int] = set()
    used = 0
    for status in _open_files(slot_process):
        used += _blocks(status, seen)
    for directory in directories:
        device = os.stat(directory).st_dev
        waiting = [directory]
        while waiting and used <= enough:
            with suppress(OSError), os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                            waiting.append(entry.path)
                        used += _blocks(status, seen)
    return used


def _blocks(status: os.stat_result, seen: set[int]) -> int:
    is_input = status.st_nlink > 1 and status.st_mtime_ns == FILE_TIME_NS
    if is_input or status.st_ino in seen:
        return 0
    if status.st_nlink > 1:
        seen.add(status.st_ino)
    return status.st_blocks * _BLOCK_BYTES


def _open_files(slot_process: int) -> Iterable[os.stat_result]:
    """Of files without a name that processes below `slot_process` have open, each once."""
    found: dict[int, os.stat_result] = {}
    for pid in descendants(slot_process):
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    status = os.stat(Path(f"/proc/{pid}/fd", name))
                    if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                        found[status.st_ino] = status
    return found.values()


def _free_bytes(directory: str) -> int:
    status = os.statvfs(directory)
    return status.f_bfree * status.f_frsize
