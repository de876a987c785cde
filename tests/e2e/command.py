"""Runs a command of another project with all that it starts, and shows what it said."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def run_command(
    command: Sequence[str | Path],
    directory: Path,
    *,
    environment: Mapping[str, str] | None = None,
    deadline_seconds: float,
    interrupt_after: Callable[[], None] | None = None,
) -> tuple[int, str]:
    """The exit code, whatever it is, and the output of both kinds.

    It gets a Ctrl-C when `interrupt_after` has returned. At the deadline its whole process group is
    killed, and this raises subprocess.TimeoutExpired.
    """
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            if interrupt_after is not None:
                interrupt_after()
                process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=deadline_seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    print(f"$ {' '.join(str(word) for word in command)}\n{output}")
    return process.returncode, output
