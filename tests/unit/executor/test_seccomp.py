"""The filter as a program: what it says of each call, in an interpreter of its instructions."""

import errno
import struct

import pytest

from reapi.executor.seccomp import filter_program

X86_64, I386, AARCH64, RISCV64 = 0xC000003E, 0x40000003, 0xC00000B7, 0xC00000F3
ALLOW, EPERM, ENOSYS = "allow", errno.EPERM, errno.ENOSYS
NEW_USER, TIOCSTI, TIOCGWINSZ = 0x10000000, 0x5412, 0x5413


def verdict(
    machine: str, architecture: int, number: int, first: int = 0, second: int = 0
) -> str | int:
    """What the filter of a machine answers to one call."""
    seccomp_data = struct.pack("<IIQ6Q", number, architecture, 0, first, second, 0, 0, 0, 0)
    program = list(struct.iter_unpack("<HBBI", filter_program(machine)))
    position = accumulator = 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", seccomp_data, operand)
            case 0x15:
                position += if_true if accumulator == operand else if_false
            case 0x35:
                position += if_true if accumulator >= operand else if_false
            case 0x45:
                position += if_true if accumulator & operand else if_false
            case 0x06:
                return ALLOW if operand == 0x7FFF0000 else operand & 0xFFFF
            case _:
                raise AssertionError(f"instruction {code:#x}")


@pytest.mark.parametrize(
    ("machine", "architecture", "number", "answer"),
    [
        ("x86_64", X86_64, 165, EPERM),  # mount
        ("x86_64", X86_64, 425, EPERM),  # io_uring_setup
        ("x86_64", X86_64, 0, ALLOW),  # read
        ("x86_64", X86_64, 101, ALLOW),  # ptrace
        ("x86_64", X86_64, 435, ENOSYS),  # clone3
        ("x86_64", X86_64, 0x40000000 | 165, ENOSYS),  # mount of x32
        ("x86_64", I386, 21, EPERM),  # mount
        ("x86_64", I386, 165, ALLOW),  # getresuid
        ("x86_64", AARCH64, 40, ENOSYS),
        ("aarch64", AARCH64, 40, EPERM),  # mount
        ("aarch64", AARCH64, 165, ALLOW),  # getrusage
        ("aarch64", AARCH64, 435, ENOSYS),
        ("aarch64", X86_64, 0, ENOSYS),
        ("riscv64", RISCV64, 40, ALLOW),
    ],
)
def test_S13_calls_are_told_apart_by_number_and_architecture(
    machine: str, architecture: int, number: int, answer: str | int
) -> None:
    assert verdict(machine, architecture, number) == answer


@pytest.mark.parametrize(
    ("architecture", "clone", "unshare", "ioctl"),
    [(X86_64, 56, 272, 16), (I386, 120, 310, 54), (AARCH64, 220, 97, 29)],
)
def test_S13_namespaces_and_terminal_input_are_told_by_arguments(
    architecture: int, clone: int, unshare: int, ioctl: int
) -> None:
    machine = "aarch64" if architecture == AARCH64 else "x86_64"
    for number in (clone, unshare):
        assert verdict(machine, architecture, number, NEW_USER | 17) == EPERM
        assert verdict(machine, architecture, number, 0xFFFFFFFF00000000 | NEW_USER) == EPERM
    assert verdict(machine, architecture, clone, 0x003D0F00 | 0x80) == ALLOW  # a thread
    assert verdict(machine, architecture, unshare, 0x400) == ALLOW
    assert verdict(machine, architecture, unshare, 0x80) == EPERM
    assert verdict(machine, architecture, ioctl, 0, TIOCSTI) == EPERM
    assert verdict(machine, architecture, ioctl, 0, 0xFFFFFFFF00000000 | TIOCSTI) == EPERM
    assert verdict(machine, architecture, ioctl, 0, TIOCGWINSZ) == ALLOW
