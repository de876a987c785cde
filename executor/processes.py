"""Processes of this machine, as /proc shows them, and their end."""

import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from reapi.core.errors import FailedPrecondition

_DEADLINE_SECONDS = 10.0
_GONE = (FileNotFoundError, ProcessLookupError)


class ProcessState(NamedTuple):
    """`is_over` is true of one that waits for nothing but its parent's attention, `is_contained`
    of one in a PID namespace below ours."""

    real_uid: int
    is_over: bool
    is_contained: bool


def state_of(pid: int) -> ProcessState | None:
    """None when there is no such process (any more)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except _GONE:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return ProcessState(
        int(fields["Uid"].split()[0]),
        fields["State"].split()[0] in "ZX",
        len(fields.get("NSpid", "").split()) > 1,
    )


def others() -> Iterator[tuple[int, ProcessState]]:
    """All processes that this one can see and that run, but for itself."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            state = state_of(int(name))
            if state is not None and not state.is_over:
                yield int(name), state


def wait_for_end(pids: Collection[int], seconds: float) -> None:
    """Returns when all have ended, or so much time has passed. Blocks."""
    poll = select.poll()
    descriptors = set()
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                descriptors.add(descriptor)
                poll.register(descriptor, select.POLLIN)
        left, deadline = descriptors.copy(), time.monotonic() + seconds
        while left and (ready := poll.poll(max(0.0, deadline - time.monotonic()) * 1000)):
            for descriptor, _ in ready:
                poll.unregister(descriptor)
                left.discard(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def end_all(find: Callable[[], Collection[int]]) -> int:
    """Kills what `find` finds until it finds nothing; returns how many that were. Blocks.

    Raises FailedPrecondition when they do not end or one may not be killed.
    """
    deadline = time.monotonic() + _DEADLINE_SECONDS
    killed: set[int] = set()
    while found := find():
        if time.monotonic() > deadline:
            raise FailedPrecondition(f"processes of an earlier life do not end: {sorted(found)}")
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            except PermissionError as error:
                raise FailedPrecondition(f"process {pid} of an earlier life: {error}") from error
        killed.update(found)
        wait_for_end(found, deadline - time.monotonic())
    return len(killed)
