"""Which file a command runs, and what it means when none can be run.

It imports nothing but light parts of the standard library, as slot_process.py says.
"""

import errno
import os
import stat

REFUSALS = {
    errno.E2BIG: "its arguments and environment together are larger than this system takes",
    errno.ENAMETOOLONG: "a path in it is longer than this system takes",
}
"""Errors of starting a command that its author can mend; others are troubles of this machine."""

_NOT_FOUND = (errno.ENOENT, errno.ENOTDIR)
_NOT_EXECUTABLE = (errno.EACCES, errno.ENOEXEC, errno.EISDIR, errno.ELOOP, errno.EPERM)


def exit_of(error: OSError) -> tuple[int, str] | None:
    """Exit code and reason, as of a shell: 127 for what is not there, 126 for what cannot be run;
    None when the machine is to blame, not the command."""
    if error.errno in _NOT_FOUND:
        return 127, "command or its interpreter not found"
    if error.errno in _NOT_EXECUTABLE:
        return 126, f"cannot be executed: {os.strerror(error.errno)}"
    return None


def error_of_bubblewrap(said: str) -> OSError:
    """Why bubblewrap ran nothing, by what it `said` on stderr."""
    if said.startswith("bwrap: execvp "):
        for number in (*_NOT_FOUND, *_NOT_EXECUTABLE, *REFUSALS):
            if said.endswith(f": {os.strerror(number)}"):
                return OSError(number, os.strerror(number))
    return OSError(said or "bubblewrap ended without a word")


def find_program(name: bytes, search_path: bytes) -> bytes:
    """The file of argv[0] (IN1); like a shell, prefers one that may be executed."""
    if b"/" in name:
        return name
    found_error: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for directory in search_path.split(b":"):
        candidate = os.path.join(directory or b".", name)
        try:
            if not stat.S_ISREG(os.stat(candidate).st_mode):
                continue
        except OSError:
            continue
        if os.access(candidate, os.X_OK, effective_ids=True):
            return candidate
        found_error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    raise found_error
