"""The filter of system calls that every action runs under, as a program of classic BPF.

It denies, with EPERM, what no compiler, test or tool needs and what has opened kernels to attackers
before: mounts and namespaces, keys, BPF, io_uring, performance events, modules, the kernel's log,
and characters pushed into a terminal (S13). Threads, ptrace of own children and all else stay
allowed: it narrows what a sandbox contains already, and is the most there is without one.
"""

import fcntl
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026

_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
"""Offsets in struct seccomp_data; of arguments the lower half, as these machines are all little-
endian: what is compared here has no more bits."""

_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

_TIME_NAMESPACE = 0x80
"""CLONE_NEWTIME, only for unshare: in clone these bits are the signal at exit."""

_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX, which types what is selected."""

_SINCE_LINUX_5 = {
    **{"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427},
    **{"open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431},
    **{"fsmount": 432, "fspick": 433, "mount_setattr": 442, "open_tree_attr": 467},
}
_CLONE3 = 435
"""The same number on all processors, as those above."""

_X86_64 = {
    **{"mount": 165, "umount2": 166, "pivot_root": 155, "setns": 308},
    **{"add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321},
    **{"perf_event_open": 298, "userfaultfd": 323, "open_by_handle_at": 304, "syslog": 103},
    **{"kexec_load": 246, "kexec_file_load": 320},
    **{"init_module": 175, "finit_module": 313, "delete_module": 176},
    **{"clone": 56, "unshare": 272, "ioctl": 16},
}
_I386 = {
    **{"mount": 21, "umount": 22, "umount2": 52, "pivot_root": 217, "setns": 346},
    **{"add_key": 286, "request_key": 287, "keyctl": 288, "bpf": 357},
    **{"perf_event_open": 336, "userfaultfd": 374, "open_by_handle_at": 342, "syslog": 103},
    **{"kexec_load": 283},
    **{"init_module": 128, "finit_module": 350, "delete_module": 129},
    **{"clone": 120, "unshare": 310, "ioctl": 54},
}
_AARCH64 = {
    **{"mount": 40, "umount2": 39, "pivot_root": 41, "setns": 268},
    **{"add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280},
    **{"perf_event_open": 241, "userfaultfd": 282, "open_by_handle_at": 265, "syslog": 116},
    **{"kexec_load": 104, "kexec_file_load": 294},
    **{"init_module": 105, "finit_module": 273, "delete_module": 106},
    **{"clone": 220, "unshare": 97, "ioctl": 29},
}

_MACHINES: Mapping[str, Mapping[int, Mapping[str, int]]] = {
    "x86_64": {0xC000003E: _X86_64, 0x40000003: _I386},
    "aarch64": {0xC00000B7: _AARCH64},
}
"""The system calls of each architecture, by its AUDIT_ARCH, that a machine runs programs of."""

_X32 = 0x40000000
"""From here on are calls of x32, which is x86-64 with another table; few kernels have it."""

_Instructions: TypeAlias = Sequence[bytes]


def is_supported(machine: str = platform.machine()) -> bool:
    """Whether there is a filter for this machine, and its kernel takes one."""
    return machine in _MACHINES and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")


def filter_program(machine: str = platform.machine()) -> bytes:
    """The filter as an array of struct sock_filter; one that allows all for an unknown machine.

    Programs of an architecture that it does not know get ENOSYS from every call.
    """
    tables = _MACHINES.get(machine)
    if tables is None:
        return _return(_ALLOW)
    program = [_load(_ARCHITECTURE)]
    for architecture, calls in tables.items():
        program += _when(_IF_EQUAL, architecture, _check(calls))
    return b"".join((*program, _return(_ENOSYS)))


def sealed_file(data: bytes) -> int:
    """A descriptor of a file in memory that nobody can change any more."""
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _check(calls: Mapping[str, int]) -> _Instructions:
    """What is done about a call of one architecture."""
    conditional = {"clone", "unshare", "ioctl"}
    denied = [number for name, number in calls.items() if name not in conditional]
    program = [_load(_NUMBER), *_when(_IF_AT_LEAST, _X32, [_return(_ENOSYS)])]
    for number in (*denied, *_SINCE_LINUX_5.values()):
        program += _when(_IF_EQUAL, number, [_return(_EPERM)])
    # Its flags are in memory, where a filter cannot look. Every libc falls back on clone.
    program += _when(_IF_EQUAL, _CLONE3, [_return(_ENOSYS)])
    program += _when(_IF_EQUAL, calls["clone"], _deny_bits(_NAMESPACES))
    program += _when(_IF_EQUAL, calls["unshare"], _deny_bits(_NAMESPACES | _TIME_NAMESPACE))
    ioctl = [_load(_SECOND_ARGUMENT)]
    for request in _TERMINAL_INPUT:
        ioctl += _when(_IF_EQUAL, request, [_return(_EPERM)])
    program += _when(_IF_EQUAL, calls["ioctl"], ioctl)
    return [*program, _return(_ALLOW)]


def _deny_bits(bits: int) -> _Instructions:
    denied = _when(_IF_ANY_BIT, bits, [_return(_EPERM)])
    return [_load(_FIRST_ARGUMENT), *denied, _return(_ALLOW)]


def _when(condition: int, operand: int, then: _Instructions) -> _Instructions:
    """Goes through `then` if the condition holds, else past it."""
    return [struct.pack("=HBBI", condition, 0, len(then), operand), *then]


def _load(offset: int) -> bytes:
    return struct.pack("=HBBI", _LOAD, 0, 0, offset)


def _return(action: int) -> bytes:
    return struct.pack("=HBBI", _RETURN, 0, 0, action)
