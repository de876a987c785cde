"""The processes below this one: what they have used, and their end.

Daemons leave the process that started them. As subreaper (Linux) this process becomes their parent,
so the time of all that it has set going is found below it whatever the way, and without privileges:
with what lives, or with what has ended and was waited for.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.servers import cpu_seconds_of, process_tree

_PR_SET_CHILD_SUBREAPER = 36
_END_SECONDS = 15.0
_READY_SECONDS = 60.0


def adopt_orphans() -> None:
    """From now on processes below this one whose parent ends become its children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def processes() -> set[int]:
    """All that live below this one."""
    return set(process_tree(os.getpid())) - {os.getpid()}


def cpu_seconds() -> float:
    """What all below this process have used since it began, user and system."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + cpu_seconds_of(processes())


def cpu_seconds_below(roots: Iterable[int]) -> float:
    """What these processes and all below them have used."""
    return sum(cpu_seconds_of(process_tree(root)) for root in roots)


def spawn(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Starts a daemon, which must be inside `contained`; what it prints goes to `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Whatever begins below this process in the context ends with it, wherever it went."""
    before = processes()
    try:
        yield
    finally:
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            left = processes() - before
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal_number)
            wait_for_end(left)


def wait_for_end(pids: Iterable[int]) -> None:
    """Returns when all have ended, or are very slow to, and reaps those that are our children."""
    deadline = time.monotonic() + _END_SECONDS
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            ends_within(pid, deadline - time.monotonic())
            os.waitpid(pid, os.WNOHANG)


def ends_within(pid: int, seconds: float) -> bool:
    """Waits for a process to end; at once when it does, which Popen.wait(timeout) takes 50 ms for.

    A child is left to be reaped.
    """
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0, 1000 * seconds)))
    finally:
        os.close(descriptor)


def wait_until(is_ready: Callable[[], bool], what: str) -> None:
    """Asks until it is; raises TimeoutError, which says `what` is not ready."""
    deadline = time.monotonic() + _READY_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not ready after {_READY_SECONDS:.0f} s")
        time.sleep(0.05)
