"""The few devices without which no shell works, for commands that get no /dev of bubblewrap's."""

import os
import stat
from contextlib import suppress
from pathlib import Path

_NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
_CAP_SYS_CHROOT = 18


def can_change_roots(directory: Path) -> bool:
    """Whether this process may chroot, and make devices that work in `directory`. Blocks."""
    status = Path("/proc/self/status").read_text()
    capabilities = int(status.partition("\nCapEff:")[2].split(maxsplit=1)[0], 16)
    if not capabilities >> _CAP_SYS_CHROOT & 1:
        return False
    probe = directory / "null"
    try:
        os.mknod(probe, stat.S_IFCHR | 0o666, os.makedev(*_NODES["null"]))
        os.close(os.open(probe, os.O_WRONLY))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


def make_devices(root: str) -> list[str]:
    """Makes what is absent in the directory `dev` of `root`; returns the names of what it made.

    No process may change the tree meanwhile.
    """
    made = []
    for name, number in _NODES.items():
        path = f"{root}/dev/{name}"
        with suppress(FileExistsError):
            os.mknod(path, stat.S_IFCHR, os.makedev(*number))
            os.chmod(path, 0o666)  # whatever our umask is
            made.append(name)
    return made


def remove_devices(root: str, names: list[str]) -> None:
    """Removes what `make_devices` made, where it is still there, whatever an action put around it.

    No process may change the tree meanwhile.
    """
    try:
        directory = os.open(f"{root}/dev", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return  # the action has moved it away, or put something else there
    try:
        for name in names:
            with suppress(FileNotFoundError):
                if stat.S_ISCHR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)
