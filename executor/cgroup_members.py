"""Ends what is in a cgroup, and the cgroup."""

import logging
import os
import select
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_LOG = logging.getLogger(__name__)
_KILL_SECONDS = 10.0


def remove_cgroup(directory: Path) -> None:
    """Removes an empty cgroup, if it is there; the log says of one that is not empty."""
    try:
        directory.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        _LOG.warning("the cgroup %s cannot be removed: %s", directory, error)


def kill_members(directory: Path) -> None:
    """Returns when no process is left inside, or after some seconds for one that cannot die."""
    with suppress(OSError):  # no controller of processes there
        (directory / "pids.max").write_text("0")  # nothing is born while we kill
    deadline = time.monotonic() + _KILL_SECONDS
    while pids := _members(directory):
        _kill(pids, deadline)
        if time.monotonic() >= deadline:
            return


def _members(directory: Path) -> list[int]:
    """Those that we see: one of another pid namespace has the number 0."""
    numbers = (directory / "cgroup.procs").read_text().split()
    return [int(number) for number in numbers if number != "0"]


def _kill(pids: Collection[int], deadline: float) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            try:
                ended = select.poll()
                ended.register(fd, select.POLLIN)
                ended.poll(max(0, deadline - time.monotonic()) * 1000)
            finally:
                os.close(fd)
