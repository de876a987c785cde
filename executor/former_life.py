"""What a killed executor left behind: processes of its actions, and mounts in its directory.

Its slot processes end what runs below them as soon as they notice its death. This is for what
remains when they were killed, too. A process that has given up its directory, its environment, its
output and its uid cannot be told from a stranger; cgroups and PID namespaces hold it all the same.
"""

import ctypes
import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reapi.core.errors import FailedPrecondition

from .action_uid import end_processes_of, is_action_uid
from .processes import end_all, others, wait_for_end

_LOG = logging.getLogger(__name__)
_SLOT_PROCESS = b"slot_process"
_SLOT_PROCESS_SECONDS = 5.0
_MNT_DETACH = 2
_OUT_OF_REACH = (FileNotFoundError, ProcessLookupError, PermissionError)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def end_former_life(directory: Path) -> None:
    """Returns when nothing runs in, or is mounted below, `directory`, of which we are the owner.

    Blocks. Raises FailedPrecondition when something cannot be ended.
    """
    area = os.path.realpath(directory) + "/"
    slots = area + "slots/"
    wait_for_end(_slot_processes(slots), _SLOT_PROCESS_SECONDS)
    ended = end_all(lambda: {*_slot_processes(slots), *_of_actions(slots)})
    if ended:
        _LOG.warning("ended %d processes that an earlier life had left in %s", ended, directory)
    for uid in _uids(slots):
        end_processes_of(uid)
    _unmount(area)


def _uids(slots: str) -> set[int]:
    """Those under which commands ran: each may enter the directory of its slot by its group."""
    try:
        with os.scandir(slots) as entries:
            groups = {entry.stat(follow_symlinks=False).st_gid for entry in entries}
    except FileNotFoundError:
        return set()
    return {group for group in groups if is_action_uid(group)}


def _candidates() -> Iterator[int]:
    """Processes that can be ours: those of strangers are never looked at."""
    for pid, state in others():
        if state.real_uid == os.geteuid() or is_action_uid(state.real_uid):
            yield pid


def _slot_processes(slots: str) -> list[int]:
    """Only they have the logs of a slot open beside their own output."""
    return [
        pid
        for pid in _candidates()
        if _SLOT_PROCESS in _read(pid, "cmdline") and any(_is_below(pid, _descriptors(pid), slots))
    ]


def _of_actions(slots: str) -> list[int]:
    temporary = b"TMPDIR=" + os.fsencode(slots)
    return [
        pid
        for pid in _candidates()
        if any(_is_below(pid, ("root", "exe", "fd/1", "fd/2"), slots))
        or any(value.startswith(temporary) for value in _read(pid, "environ").split(b"\0"))
        # A person may look around in a slot: no action has a terminal of ours.
        or (any(_is_below(pid, ("cwd",), slots)) and not _has_terminal(pid))
    ]


def _is_below(pid: int, links: tuple[str, ...], folder: str) -> Iterator[bool]:
    for link in links:
        with suppress(*_OUT_OF_REACH):
            yield (os.readlink(f"/proc/{pid}/{link}") + "/").startswith(folder)


def _descriptors(pid: int) -> tuple[str, ...]:
    try:
        return tuple(f"fd/{number}" for number in os.listdir(f"/proc/{pid}/fd"))
    except _OUT_OF_REACH:
        return ()


def _has_terminal(pid: int) -> bool:
    after_name = _read(pid, "stat").rpartition(b")")[2].split()
    return len(after_name) > 4 and after_name[4] != b"0"


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except _OUT_OF_REACH:
        return b""


def _unmount(area: str) -> None:
    """Before anything is removed: what is mounted there is not ours to delete."""
    for point in reversed(_mount_points(area)):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(point), _MNT_DETACH) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise FailedPrecondition(f"{point} is mounted and cannot be unmounted: {reason}")
        _LOG.warning("unmounted %s, which an earlier life had left", point)


def _mount_points(area: str) -> list[str]:
    """Those below, outer ones before what is mounted inside of them."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        if point.startswith(area):
            points.append(point)
    return points
