"""Runs commands in one slot: the executor's side of slot_process.py, and the slot's log files."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from reapi.core.errors import Internal, InvalidArgument, ResourceExhausted
from reapi.core.uninterrupted import uninterrupted

from . import slot_process
from .sandbox import Enclosure, enclosed
from .seccomp import filter_program, is_supported, sealed_file
from .slot_process import descendants, frame, set_subreaper


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a command ended. Exit codes are a shell's: 127 not found, 126 not executable, 128 + n
    killed by signal n. `seconds` is measured by the clock that enforces the timeout."""

    ended_by: Literal["exit", "timeout", "killed"]
    exit_code: int
    started_ns: int
    ended_ns: int
    seconds: float


class LogFile:
    """stdout or stderr of the running command: a file without a name, emptied by each command.

    Only its descriptor leads to it, so nothing that an action does to paths can redirect a reader.
    """

    def __init__(self, directory: Path, uid: int | None) -> None:
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        self.fd = self._file.fileno()
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_APPEND)
        if uid is not None:
            os.fchown(self.fd, uid, uid)  # so that a command can open /dev/stderr

    @property
    def size_bytes(self) -> int:
        return os.fstat(self.fd).st_size

    def read(self, size: int, offset: int = 0) -> bytes:
        """Up to `size` bytes from `offset` on."""
        return os.pread(self.fd, size, offset)

    def clear(self) -> None:
        """Empties it, if something is in it."""
        if self.size_bytes:
            os.ftruncate(self.fd, 0)

    def close(self) -> None:
        self._file.close()


class Runner:
    """Runs one command at a time, under `uid` or this process's own one; see slot_process.py.

    An async context manager. `stdout` and `stderr` hold what the last command wrote.
    """

    def __init__(
        self, directory: Path, uid: int | None = None, bubblewrap: str | None = None
    ) -> None:
        self._directory = directory
        self._uid = uid
        self._bubblewrap = bubblewrap
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket
        self.stdout: LogFile
        self.stderr: LogFile

    async def __aenter__(self) -> Self:
        self.stdout = LogFile(self._directory, self._uid)
        self.stderr = LogFile(self._directory, self._uid)
        if self._uid is not None:
            set_subreaper()  # what a killed slot process leaves behind comes to us: see _lost
        self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._control.close()
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
        self.stdout.close()
        self.stderr.close()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        seccomp = sealed_file(filter_program())
        fds = (theirs.fileno(), self.stdout.fd, self.stderr.fd, seccomp)
        sandbox = "bubblewrap" if self._bubblewrap else "filter" if is_supported() else "none"
        uid = "-" if self._uid is None else str(self._uid)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", slot_process.__file__, *map(str, fds), sandbox, uid],
            env={},
            stdin=subprocess.DEVNULL,
            pass_fds=fds,
            start_new_session=True,  # a terminal's Ctrl-C is for the executor, which drains
        )
        theirs.close()
        os.close(seccomp)

    async def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        timeout_seconds: float,
        enclosure: Enclosure | None = None,
    ) -> RunOutcome:
        """Returns when no process of the command is left; so does cancelling it, after a kill.

        With bubblewrap there must be an `enclosure`, and `directory` is a path inside of it.
        Raises InvalidArgument for a command that the system cannot take, ResourceExhausted when it
        cannot start processes or set up the enclosure now, Internal when the slot process was
        killed.
        """
        if self._process is None:
            self._start()
        self.stdout.clear()
        self.stderr.clear()
        name = arguments[0]
        if self._bubblewrap is not None:
            assert enclosure is not None
            arguments = enclosed(self._bubblewrap, enclosure, arguments, environment, directory)
            environment, directory = {}, "/"
        command = {
            "name": name,
            "arguments": list(arguments),
            "environment": dict(environment),
            "directory": directory,
            "timeout_seconds": timeout_seconds,
        }
        outcome = await uninterrupted(self._ask({"run": command}), on_cancel=self._kill)
        if "refused" in outcome:
            raise InvalidArgument(f"the command cannot be started: {outcome['refused']}")
        if "failed" in outcome:
            raise ResourceExhausted(f"this worker cannot start a process: {outcome['failed']}")
        return RunOutcome(**outcome)

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        data = b""
        try:
            await loop.sock_sendall(self._control, frame(message))
            while len(data) < 4 or len(data) < 4 + struct.unpack("!I", data[:4])[0]:
                chunk = await loop.sock_recv(self._control, 1 << 16)
                if not chunk:
                    raise ConnectionResetError
                data += chunk
        except ConnectionError as error:
            self._lost()
            raise Internal("the process that runs commands was killed") from error
        outcome: dict[str, Any] = json.loads(data[4:])
        return outcome

    def _kill(self) -> None:
        with suppress(OSError):  # the slot process is gone, which `_ask` finds out
            self._control.send(frame({"kill": True}))

    def _lost(self) -> None:
        """Kills what the dead slot process was to kill: those of its uid, ours by adoption."""
        assert self._process is not None
        self._control.close()
        self._process.wait()
        self._process = None
        while self._uid is not None and (orphans := _of_uid(self._uid)):
            for pid in orphans:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in orphans:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _of_uid(uid: int) -> list[int]:
    """Descendants of this process whose real uid is `uid`."""
    found = []
    for pid in descendants(os.getpid()):
        with suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{pid}/status").read_text()
            if status.partition("\nUid:")[2].split(maxsplit=1)[0] == str(uid):
                found.append(pid)
    return found
