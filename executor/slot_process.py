"""The process that runs the commands of one slot, one at a time.

It imports nothing but light parts of the standard library, and siblings that say the same of
themselves: it lives as long as the executor, once per slot, and spawning from a small process is
what makes an action cheap. It knows no digests and no protocol of ours but the one below.

On the control socket stand messages (slot_messages.py). `{"run": …}` starts a command and is
answered once, when no process of it is left; `{"kill": true}` ends it early and
means nothing between commands. When the socket ends, so do the command and this process.

Every descendant of a command ends up under this process, a subreaper, however often it forks or
calls setsid; so `waitpid` that knows no child any more proves that nothing is left (S12).
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from .slot_kernel import descendants, install_filter, refuse_privileges, set_subreaper
from .slot_limits import KilledFirst, OutOfMemory, ProcessLimit, Spent, enter
from .slot_messages import frame, read_message
from .slot_program import REFUSALS, error_of_bubblewrap, exit_of, find_program

STATUS_FD = 3
"""Where bubblewrap is to say how far it came (--json-status-fd)."""

SECCOMP_FD = 4
"""Where it finds the filter of system calls (--seccomp)."""

_LONGEST_POLL_MS = 2**31 - 1
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class SlotProcess:
    """Runs the commands that come over `control`.

    With `is_enclosed` they are command lines of bubblewrap, which are to end as what it runs does.

    With a `uid`, commands run under it, but this process keeps root as its real and saved uid: so
    no command can signal or trace it, while its effective uid can still signal the command. In the
    instant between the start of a command and the return of `posix_spawn` a signal is possible: who
    sends one ends itself, for the executor then kills what is left (runner.py).
    """

    def __init__(
        self,
        control: socket.socket,
        logs: tuple[int, int],
        seccomp: int,
        settings: dict[str, Any],
    ) -> None:
        self._control = control
        stdout, self._stderr = logs
        self._seccomp = _out_of_the_way(seccomp)
        self._uid: int | None = settings["uid"]
        self._is_enclosed = settings["sandbox"] == "bubblewrap"
        self._root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        memory: list[int] | None = settings["out_of_memory"]
        self._out_of_memory = OutOfMemory(*memory) if memory else None
        processes: list[int] | None = settings["processes"]
        self._processes = ProcessLimit(*processes) if processes else None
        self._killed_first = KilledFirst()
        self._status, status = map(_out_of_the_way, os.pipe2(os.O_NONBLOCK))
        stdin = stdout if settings["is_conversation"] else os.open(os.devnull, os.O_RDONLY)
        self._file_actions = [
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, self._stderr, 2),
        ]
        if self._is_enclosed:
            self._file_actions += [
                (os.POSIX_SPAWN_DUP2, status, STATUS_FD),
                (os.POSIX_SPAWN_DUP2, self._seccomp, SECCOMP_FD),
            ]
        self._child_changed, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(self._child_changed, select.POLLIN)
        if self._out_of_memory:
            self._poll.register(self._out_of_memory.event, self._out_of_memory.mask)
        self._child_pid = 0
        self._child_status: int | None = None
        self._spent = Spent()

    def serve(self) -> None:
        """Returns when the executor is gone; no process of a command is left then."""
        while (message := read_message(self._control)) is not None:
            if "run" in message:
                outcome = self._run(message["run"])
                if outcome is None:
                    return
                self._control.sendall(frame(outcome))

    def _run(self, command: dict[str, Any]) -> dict[str, Any] | None:
        """The outcome; None when the executor went away meanwhile."""
        started_ns, started = time.time_ns(), time.monotonic()
        self._spent = Spent()
        if self._out_of_memory:
            self._out_of_memory.has_happened()  # what did concerned an earlier command
        if self._processes:
            self._processes.was_met()
        try:
            self._spawn(command)
        except OSError as error:
            if self._is_enclosed and error.errno not in REFUSALS:
                return {"failed": str(error)}  # it is bubblewrap that cannot be started
            return self._not_started(command["name"], error, started_ns)
        ended_by = self._wait(started + command["timeout_seconds"])
        ended_ns, seconds = time.time_ns(), time.monotonic() - started
        met_processes = self._processes is not None and self._processes.was_met()
        if not self._reap():
            self._kill_all()
        if ended_by == "lost":
            return None
        if ended_by == "exit" and self._out_of_memory and self._out_of_memory.has_happened():
            ended_by = "memory"
        assert self._child_status is not None
        code = os.waitstatus_to_exitcode(self._child_status)
        if self._is_enclosed and not self._has_run() and ended_by == "exit" and code >= 0:
            return self._not_started(command["name"], self._refusal(), started_ns)
        return {
            "ended_by": ended_by,
            "exit_code": code if code >= 0 else 128 - code,
            "started_ns": started_ns,
            "ended_ns": ended_ns,
            "seconds": seconds,
            "met_processes": met_processes,
            "usage": self._spent.as_message(),
        }

    def _spawn(self, command: dict[str, Any]) -> None:
        arguments = [argument.encode() for argument in command["arguments"]]
        environment = {k.encode(): v.encode() for k, v in command["environment"].items()}
        os.lseek(self._seccomp, 0, os.SEEK_SET)
        self._child_status = None
        with self._below(command["root"]):
            os.chdir(command["directory"])
            path = find_program(arguments[0], environment.get(b"PATH", b""))
            with self._killed_first, self._as_action():
                self._child_pid = os.posix_spawn(
                    path,
                    arguments,
                    environment,
                    file_actions=self._file_actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=_IGNORED_BY_PYTHON,
                )

    @contextlib.contextmanager
    def _below(self, root: str | None) -> Iterator[None]:
        """To what is spawned inside, `root` is the whole file system; this needs a uid."""
        if root is None:
            yield
            return
        assert self._uid is not None
        try:
            os.seteuid(0)
            os.chroot(root)
            os.seteuid(self._uid)
            yield
        finally:
            os.seteuid(0)
            os.fchdir(self._root)
            os.chroot(".")
            os.seteuid(self._uid)

    @contextlib.contextmanager
    def _as_action(self) -> Iterator[None]:
        """What is spawned inside has no uid but the action's: exec sets the saved one, too."""
        if self._uid is None:
            yield
            return
        os.setresuid(self._uid, self._uid, 0)
        try:
            yield
        finally:
            os.setresuid(0, self._uid, 0)

    def _wait(self, deadline: float) -> str:
        """Waits for what comes first: the end of the command or of its memory, deadline, kill."""
        memory = self._out_of_memory
        while True:
            left_ms = max(0, int((deadline - time.monotonic()) * 1000) + 1)
            check_ms = memory and memory.wait_ms
            ready = self._poll.poll(min(left_ms, check_ms or _LONGEST_POLL_MS))
            events = [fd for fd, _ in ready]
            if self._control.fileno() in events:
                return "killed" if read_message(self._control) else "lost"
            if memory and (check_ms or memory.event in events) and memory.has_happened():
                return "memory"
            if ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._child_changed, 512)
                self._reap()
                if self._child_status is not None:
                    return "exit"
            elif time.monotonic() >= deadline:
                return "timeout"

    def _reap(self) -> bool:
        """Reaps all that have ended; says whether no descendant is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            self._spent.add(usage)
            if pid == self._child_pid:
                self._child_status = status

    def _kill_all(self) -> None:
        """Returns when no descendant is left, however fast they fork."""
        with self._processes.zero() if self._processes else contextlib.nullcontext():
            while True:
                for pid in descendants(os.getpid()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                pid, status, usage = os.wait4(-1, 0)
                self._spent.add(usage)
                if pid == self._child_pid:
                    self._child_status = status
                if self._reap():
                    return

    def _has_run(self) -> bool:
        """Whether bubblewrap came as far as to execute the command, which has ended since.

        It tells by an exit code on its status descriptor, which no command has. (One that a signal
        killed tells nothing; what it says on stderr is then the command's.)
        """
        status = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._status, 1 << 12):
                status += chunk
        return b'"exit-code"' in status

    def _refusal(self) -> OSError:
        """Why bubblewrap ran nothing, as it says on stderr, where so far nobody else can write."""
        said = os.pread(self._stderr, 1 << 12, 0).decode(errors="replace").strip()
        os.ftruncate(self._stderr, 0)
        return error_of_bubblewrap(said)

    def _not_started(self, name: str, error: OSError, started_ns: int) -> dict[str, Any]:
        if error.errno in REFUSALS:
            return {"refused": REFUSALS[error.errno]}
        ended = exit_of(error)
        if ended is None:
            return {"failed": str(error)}
        exit_code, reason = ended
        os.write(self._stderr, f"reapi: {name}: {reason}\n".encode())
        return {
            "ended_by": "exit",
            "exit_code": exit_code,
            "started_ns": started_ns,
            "ended_ns": time.time_ns(),
            "seconds": 0.0,
            "usage": self._spent.as_message(),
        }


def _out_of_the_way(fd: int) -> int:
    """The same file above the numbers that a command line refers to, and for this process only."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SECCOMP_FD + 1)
    os.close(fd)
    return moved


def main() -> None:
    """Arguments: the descriptors of control, stdout, stderr and the filter, and settings as JSON.

    Of those, `uid` is what commands run under, or null; `sandbox` is "bubblewrap", whose command
    lines they are then, "filter" for the filter alone, or "none"; in a conversation their stdin is
    what their stdout is, else it is empty; slot_limits.py has the others.
    """
    control, *logs, seccomp = map(_out_of_the_way, map(int, sys.argv[1:5]))
    stdout, stderr = logs
    settings: dict[str, Any] = json.loads(sys.argv[5])
    for fd in (*(settings["out_of_memory"] or ()), *(settings["processes"] or ())):
        os.set_inheritable(fd, False)
    enter(settings["cgroups"], settings["rlimits"])
    set_subreaper()
    refuse_privileges()
    os.umask(0o022)
    if settings["sandbox"] == "filter":
        install_filter(seccomp)
    control_socket = socket.socket(fileno=control)
    process = SlotProcess(control_socket, (stdout, stderr), seccomp, settings)
    uid = settings["uid"]
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(0, uid, 0)
    process.serve()
