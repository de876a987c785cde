"""Exit codes of reapi-cli (design: the usual ones of programs that run other programs)."""

TIMED_OUT = 124
FAILED = 125
INTERRUPTED = 130


def of_command(exit_code: int) -> int:
    """The code of a remote command as one that a process can have; failure stays failure."""
    if 0 <= exit_code <= 255:
        return exit_code
    return 128 - exit_code if -127 <= exit_code < 0 else 1
