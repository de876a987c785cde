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
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from reapi.core.errors import Internal, InvalidArgument, ResourceExhausted
from reapi.core.uninterrupted import uninterrupted

from . import slot_process
from .enforcement import Enforcement
from .limits import Limits
from .processes import state_of
from .run_outcome import KILLED_EXIT_CODE, ProcessUsage, RunOutcome
from .run_watch import RunWatch, log_breach
from .sandbox import Enclosure, enclosed
from .seccomp import filter_program, is_supported, sealed_file
from .slot_cgroup import SlotCgroup
from .slot_kernel import descendants, set_subreaper
from .slot_limits import Spent
from .slot_messages import frame

_LAUNCH = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from reapi.executor.slot_process import main; main()"
)
_PACKAGES = str(Path(slot_process.__file__).parents[2])
_NOTHING: Mapping[str, int] = {}


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

    def cut(self, size_bytes: int) -> bool:
        """Takes away what is beyond `size_bytes`; says whether there was anything."""
        is_longer = self.size_bytes > size_bytes
        if is_longer:
            os.ftruncate(self.fd, size_bytes)
        return is_longer

    def write(self, data: bytes) -> None:
        """Adds to it in the name of the command."""
        self._file.write(data)

    def clear(self) -> None:
        """Empties it, if something is in it."""
        if self.size_bytes:
            os.ftruncate(self.fd, 0)

    def close(self) -> None:
        self._file.close()


class Runner:
    """Runs one command at a time, under `uid` or this process's own one; see slot_process.py.

    An async context manager. `stdout` and `stderr` hold what the last command wrote. Commands write
    to `directory` and are held to `limits`, by means of a `cgroup` where there is one. With a
    `conversation`, a descriptor, that is a command's standard input and output.
    """

    def __init__(
        self,
        directory: Path,
        uid: int | None = None,
        bubblewrap: str | None = None,
        limits: Limits | None = None,
        cgroup: SlotCgroup | None = None,
        conversation: int | None = None,
    ) -> None:
        self._conversation = conversation
        self._directory = directory
        self._uid = uid
        self._bubblewrap = bubblewrap
        self._enforcement = Enforcement(limits or Limits(), cgroup, has_own_uid=uid is not None)
        self._breach = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket
        self.stdout: LogFile
        self.stderr: LogFile

    async def __aenter__(self) -> Self:
        self.stdout = LogFile(self._directory, self._uid)
        self.stderr = LogFile(self._directory, self._uid)
        if self._uid is not None:
            set_subreaper()  # what a killed slot process leaves behind comes to us: see _lost
        self._logs = {"stdout": self.stdout, "stderr": self.stderr}
        self._watch = RunWatch(
            self._logs,
            [str(self._directory)],
            self._enforcement.limits,
            self._end_for,
        )
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
        output = self.stdout.fd if self._conversation is None else self._conversation
        fds = (theirs.fileno(), output, self.stderr.fd, seccomp)
        settings = {
            "uid": self._uid,
            "is_conversation": self._conversation is not None,
            "sandbox": "bubblewrap" if self._bubblewrap else "filter" if is_supported() else "none",
            **self._enforcement.begin(),
        }
        arguments = (_PACKAGES, *map(str, fds), json.dumps(settings))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, *arguments],
            env={},
            stdin=subprocess.DEVNULL,
            pass_fds=(*fds, *self._enforcement.descriptors),
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
        root: str | None = None,
        booked: Mapping[str, int] = _NOTHING,
    ) -> RunOutcome:
        """Returns when no process of the command is left; so does cancelling it, after a kill.

        Of what is `booked` for it, memory in bytes is its limit and cpu in thousandths its weight.
        With bubblewrap there must be an `enclosure`, and `directory` is a path inside of it. With
        a `root`, which needs a uid and no bubblewrap, that is all of the file system that the
        command can name, and `directory` is a path inside of it, too.
        Raises InvalidArgument for a command that the system cannot take, ResourceExhausted when it
        cannot start processes or set up the enclosure now, Internal when the slot process was
        killed, but for memory that the command used up.
        """
        if self._process is None:
            self._start()
        assert self._process is not None
        await self._enforcement.prepare(booked)
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
            "root": root,
            "timeout_seconds": timeout_seconds,
        }
        self._breach = ""
        self._watch.start(self._process.pid)
        try:
            outcome = await uninterrupted(self._outcome(command), on_cancel=self._kill)
        finally:
            await self._watch.stop()
            too_long = self._cut_logs()
        if "refused" in outcome:
            raise InvalidArgument(f"the command cannot be started: {outcome['refused']}")
        if "failed" in outcome:
            raise ResourceExhausted(f"this worker cannot start a process: {outcome['failed']}")
        usage = ProcessUsage(**outcome.pop("usage"))
        breach = self._breach or too_long
        return self._enforcement.explained(RunOutcome(**outcome, usage=usage), breach)

    async def _outcome(self, command: dict[str, Any]) -> dict[str, Any]:
        """What the slot process says; of one that memory killed with its command, what it would."""
        started_ns, started = time.time_ns(), time.monotonic()
        try:
            return await self._ask({"run": command})
        except Internal:
            if not self._enforcement.ran_out_of_memory():
                raise
        return {
            "ended_by": "memory",
            "exit_code": KILLED_EXIT_CODE,
            "started_ns": started_ns,
            "ended_ns": time.time_ns(),
            "seconds": time.monotonic() - started,
            "usage": Spent().as_message(),
        }

    def _cut_logs(self) -> str:
        """What is said of logs that are too long, of which no more is left than may be."""
        breaches = [
            log_breach(name, self._enforcement.limits)
            for name, log in self._logs.items()
            if log.cut(self._enforcement.limits.log_size_bytes)
        ]
        return breaches[0] if breaches else ""

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

    def processes(self) -> Iterator[int]:
        """All of the command that run now."""
        return descendants(self._process.pid) if self._process else iter(())

    def _kill(self) -> None:
        with suppress(OSError):  # the slot process is gone, which `_ask` finds out
            self._control.send(frame({"kill": True}))

    def _end_for(self, breach: str) -> None:
        self._breach = breach
        self._kill()

    def _lost(self) -> None:
        """Kills what the dead slot process was to kill: those of its uid, ours by adoption."""
        assert self._process is not None
        self._control.close()
        self._process.wait()
        self._process = None
        self._enforcement.kill()
        while self._uid is not None and (orphans := _of_uid(self._uid)):
            for pid in orphans:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in orphans:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _of_uid(uid: int) -> list[int]:
    """Descendants of this process whose real uid is `uid`."""
    below = ((pid, state_of(pid)) for pid in descendants(os.getpid()))
    return [pid for pid, state in below if state is not None and state.real_uid == uid]
