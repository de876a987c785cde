"""What the slot process asks of the kernel by prctl and /proc.

It imports nothing but light parts of the standard library, as slot_process.py says.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2


def set_subreaper() -> None:
    """Orphaned descendants of this process become its children from now on."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def refuse_privileges() -> None:
    """Nothing that this process starts gains any by being executed (no_new_privs)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def descendants(pid: int) -> Iterator[int]:
    """All processes below `pid` at this moment, parents before children."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children", "rb") as children:
                    below = [int(child) for child in children.read().split()]
                found += below
                yield from below


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install_filter(fd: int) -> None:
    """This process, and all it starts, are under the seccomp filter in `fd` from now on."""
    instructions = os.pread(fd, 1 << 16, 0)
    program = _Program(len(instructions) // 8, instructions)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))


def _prctl(option: int, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *(*arguments, 0, 0, 0, 0)[:4]) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
