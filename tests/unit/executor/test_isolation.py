"""What an action cannot reach, with each sandbox; what `none` cannot hold back is asserted, too."""

import asyncio
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reapi.executor import seccomp
from reapi.protos.reapi.executor.v1.isolation_pb2 import Isolation
from tests.unit.executor.harness import (
    Harness,
    Tree,
    needs_bubblewrap,
    needs_root,
    open_harness,
    processes_of,
)

SEPARATE_UID = os.geteuid() == 0
"""Without root there are no users for actions, and `none` protects from little: see the table in
docs/sandbox.md."""

BUBBLEWRAP, NONE = "bubblewrap", "none"

LOOK = b"""
import json, os, sys
found = {}
for path in sys.argv[1:]:
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            open(path, "rb").read(100)
        found[path] = "readable"
    except OSError as error:
        found[path] = type(error).__name__
print(json.dumps(found))
"""

CONNECT = b"""
import json, socket, sys
found = {}
for name, family, kind, address in json.loads(sys.argv[1]):
    with socket.socket(family, kind) as client:
        client.settimeout(60)
        try:
            client.connect(tuple(address) if isinstance(address, list) else address)
            client.send(b"x")
            found[name] = "reached"
        except OSError as error:
            found[name] = type(error).__name__
print(json.dumps(found))
"""

CALLS = b"""
import ctypes, errno, fcntl, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
result = {}
def call(name, number, *arguments):
    ctypes.set_errno(0)
    value = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if value == 0 and name.startswith("clone"):
        os._exit(0)
    result[name] = errno.errorcode.get(ctypes.get_errno(), "none") if value == -1 else "done"
for name, (number, *arguments) in json.loads(sys.argv[1]).items():
    call(name, number, *arguments)
leader, follower = os.openpty()
try:
    fcntl.ioctl(follower, 0x5412, b"x")
    result["TIOCSTI"] = "done"
except OSError as error:
    result["TIOCSTI"] = errno.errorcode[error.errno]
print(json.dumps(result))
"""

BUILDS_NEED = b"""
import ctypes, fcntl, multiprocessing, mmap, os, pty, signal, socket, sqlite3, subprocess, threading
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
with multiprocessing.Lock():
    pass
with sqlite3.connect("test.db") as database:
    database.execute("PRAGMA journal_mode=wal")
    database.execute("CREATE TABLE t (x)")
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0:
    libc.ptrace(0, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(7)
assert os.WIFSTOPPED(os.waitpid(child, 0)[1])
assert libc.ptrace(7, child, 0, 0) == 0
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
with socket.create_server(("localhost", 0)) as server:
    socket.create_connection(server.getsockname()).close()
leader, follower = pty.openpty()
fcntl.ioctl(follower, 0x5413, bytes(8))
os.memfd_create("x")
mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
with open("exclusive", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
assert libc.unshare(0x400) == 0  # CLONE_FILES
subprocess.run(["true"], check=True)
print("works")
"""


@pytest.fixture(
    params=[pytest.param(BUBBLEWRAP, marks=needs_bubblewrap), pytest.param(NONE, marks=needs_root)]
)
def sandbox(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
async def slot(sandbox: Any, reachable_path: Path) -> AsyncIterator[Harness]:
    async with open_harness(reachable_path, separate_uid=SEPARATE_UID, sandbox=sandbox) as opened:
        yield opened


async def python(slot: Harness, script: bytes, *arguments: str, **options: Any) -> str:
    """What a script prints that runs as an action."""
    tree: Tree = {"script.py": script}
    response = await slot.run(["python3", "script.py", *arguments], tree, **options)
    assert response.result.exit_code == 0, slot.stderr(response)
    return slot.stdout(response)


class TestS8:
    """What the host has and an action must not see."""

    async def test_S8_the_hosts_files_are_absent(
        self, sandbox: str, slot: Harness, reachable_path: Path
    ) -> None:
        """Without bubblewrap only their modes protect them."""
        home = reachable_path / "home" / ".aws"
        home.mkdir(parents=True)
        bait = {"open": home / "config", "private": home / "credentials"}
        for name, path in bait.items():
            path.write_text("secret")
            path.chmod(0o644 if name == "open" else 0o600)
        paths = [*map(str, bait.values()), "/sys/class/net", "/run", "/var", "/etc/hostname"]
        found = json.loads(await python(slot, LOOK, *paths))
        if sandbox == BUBBLEWRAP:
            assert found == dict.fromkeys(paths, "FileNotFoundError")
        else:
            assert found[str(bait["private"])] == "PermissionError"
            assert found[str(bait["open"])] == "readable"  # not isolated

    @needs_root
    async def test_S8_what_the_work_area_holds_of_others_is_out_of_reach(
        self, sandbox: str, slot: Harness, reachable_path: Path
    ) -> None:
        area = reachable_path / "cache"
        other = area / "slots" / "1"
        other.mkdir(mode=0o710)
        os.chown(other, -1, 60599)
        (other / "in").write_text("secret")
        paths = [str(path) for path in (other, other / "in", area / "files", area / "trash")]
        found = json.loads(await python(slot, LOOK, *paths))
        expected = "FileNotFoundError" if sandbox == BUBBLEWRAP else "PermissionError"
        assert found == dict.fromkeys(paths, expected)

    async def test_S8_the_executors_environment_and_processes_are_out_of_reach(
        self, sandbox: str, reachable_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REAPI_TEST_SECRET", "leaked")
        opened: Any = open_harness(reachable_path, separate_uid=SEPARATE_UID, sandbox=sandbox)  # type: ignore[arg-type]
        async with opened as slot:
            script = "env; cat /proc/[0-9]*/environ 2>/dev/null; echo; ls -d /proc/[0-9]* | wc -l"
            *text, processes = slot.stdout(await slot.sh(script)).splitlines()
        assert "leaked" not in "".join(text)
        if sandbox == BUBBLEWRAP:
            assert int(processes) <= 5
        else:
            assert int(processes) > 5  # not isolated: their names can be seen

    async def test_S8_the_kernels_log_cannot_be_read(self, slot: Harness) -> None:
        response = await slot.sh("dmesg")
        assert response.result.exit_code != 0
        assert "not permitted" in slot.stderr(response)

    async def test_S8_nothing_can_be_written_but_the_input_root_and_tmp(
        self, sandbox: str, slot: Harness
    ) -> None:
        """In files; devices and shared memory, whose size is bounded, aside."""
        script = "for d in / /dev /etc /usr /proc /bin; do touch $d/reapi-test && echo $d; done"
        assert slot.stdout(await slot.sh(script)) == ""
        assert slot.stdout(await slot.sh("touch x $TMPDIR/x && echo ok")) == "ok\n"
        if sandbox == BUBBLEWRAP:
            assert slot.stdout(await slot.sh("touch /dev/shm/x && echo ok")) == "ok\n"


class Listeners:
    """Sockets of the host, as an executor's neighbours have them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        def listen(family: int, address: Any, kind: int = socket.SOCK_STREAM) -> socket.socket:
            listener = stack.enter_context(socket.socket(family, kind))
            listener.bind(address)
            if kind == socket.SOCK_STREAM:
                listener.listen()
            return listener

        path = str(folder / "socket")
        abstract = f"\0reapi-test-{os.getpid()}"
        listen(socket.AF_UNIX, path)
        os.chmod(path, 0o777)
        listen(socket.AF_UNIX, abstract)
        tcp = listen(socket.AF_INET, ("127.0.0.1", 0)).getsockname()
        udp = listen(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM).getsockname()
        inet, unix, stream = int(socket.AF_INET), int(socket.AF_UNIX), int(socket.SOCK_STREAM)
        self.addresses = [
            ("tcp", inet, stream, tcp),
            ("udp", inet, int(socket.SOCK_DGRAM), udp),
            ("unix", unix, stream, path),
            ("abstract", unix, stream, abstract),
        ]


@pytest.fixture
def listeners(reachable_path: Path) -> Iterator[Listeners]:
    with ExitStack() as stack:
        yield Listeners(reachable_path, stack)


class TestS9:
    """The network: off, unless the action asks for it on a worker that offers it."""

    async def connect(self, slot: Harness, listeners: Listeners, **options: Any) -> Any:
        return json.loads(await python(slot, CONNECT, json.dumps(listeners.addresses), **options))

    async def test_S9_sockets_of_the_host_are_out_of_reach(
        self, sandbox: str, slot: Harness, listeners: Listeners
    ) -> None:
        found = await self.connect(slot, listeners)
        if sandbox == BUBBLEWRAP:
            assert "reached" not in [found[name] for name in ("tcp", "unix", "abstract")]
            assert found["unix"] == "FileNotFoundError"
        else:
            assert set(found.values()) == {"reached"}  # not isolated

    async def test_S9_there_is_no_way_out(self, sandbox: str, slot: Harness) -> None:
        if sandbox == NONE:
            pytest.skip("not isolated: without bubblewrap the network is the worker's")
        script = "cut -d: -f1 /proc/net/dev | tail -n +3; cat /proc/net/route | tail -n +2"
        assert slot.stdout(await slot.sh(script)).split() == ["lo"]
        metadata = b"""
import json, socket, sys
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as client:
        try:
            client.connect(("169.254.169.254", 80))
        except OSError as error:
            print(error.errno)
"""
        assert (await python(slot, metadata)).split() == ["101", "101"]  # ENETUNREACH

    async def test_S9_the_property_network_on_gives_the_network_but_no_paths(
        self, sandbox: str, slot: Harness, listeners: Listeners
    ) -> None:
        hosts = await asyncio.to_thread(Path("/etc/hosts").read_text)
        found = await self.connect(slot, listeners, platform={"network": "on"})
        assert (found["tcp"], found["udp"]) == ("reached", "reached")
        if sandbox == BUBBLEWRAP:
            assert found["unix"] == "FileNotFoundError"
            script = "cat /etc/resolv.conf >/dev/null && cat /etc/hosts"
            response = await slot.sh(script, platform={"network": "on"})
            assert slot.stdout(response) == hosts

    async def test_S9_the_result_says_whether_there_was_a_network(
        self, sandbox: str, slot: Harness
    ) -> None:
        told = []
        for value in ("off", "on"):
            response = await slot.sh("true", platform={"network": value})
            packed, *_ = response.result.execution_metadata.auxiliary_metadata
            isolation = Isolation()
            assert packed.Unpack(isolation)
            assert isolation.sandbox == sandbox
            told.append(isolation.network)
        assert told == ([False, True] if sandbox == BUBBLEWRAP else [True, True])


class TestS12:
    """No process outlives its action, and none of it is seen by the next one."""

    async def test_S12_daemons_ptracers_and_stopped_processes_are_gone(self, slot: Harness) -> None:
        name = f"leftover-{os.urandom(8).hex()}"
        script = f"""
import os, signal, sys, time, ctypes
ready, done = os.pipe()
for kind in range(4):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            held = open("held", "w")
            if kind == 1:
                traced = os.fork()
                if traced == 0:
                    ctypes.CDLL(None).ptrace(0, 0, 0, 0)
                    os.kill(os.getpid(), signal.SIGSTOP)
                os.waitpid(traced, os.WUNTRACED)
            os.write(done, b"x")
            if kind == 2:
                os.kill(os.getpid(), signal.SIGSTOP)
            if kind == 3:
                os.execvp("sh", ["sh", "-c", "while :; do sleep 1000; done", "{name}"])
            time.sleep(1000)
        os._exit(0)
for _ in range(4):
    os.read(ready, 1)
print("begun")
"""
        tree: Tree = {"script.py": script.encode()}
        response = await slot.run(["python3", "script.py", name], tree)
        assert slot.stdout(response) == "begun\n", slot.stderr(response)
        assert not processes_of(name)
        assert slot.stdout(await slot.sh("ls")) == ""


@pytest.fixture
def setuid_program(reachable_path: Path) -> str:
    """A copy of id(1) that runs as root, whoever calls it."""
    tools = reachable_path / "tools"
    tools.mkdir(mode=0o755)
    program = tools / "id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    assert program.stat().st_mode & stat.S_ISUID
    return str(program)


def denied_calls() -> dict[str, int]:
    """By name, those of this machine that the filter looks at, but ioctl."""
    calls = next(iter(seccomp._MACHINES[os.uname().machine].values()))
    return {name: calls[name] for name in calls if name != "ioctl"} | seccomp._SINCE_LINUX_5


class TestS13:
    """What no action may ask of the kernel."""

    async def test_S13_attacks_on_the_kernel_are_not_permitted(self, slot: Harness) -> None:
        if not seccomp.is_supported():
            pytest.skip("not isolated: there is no filter for this machine")
        calls = denied_calls()
        asked = {name: (number, *[0] * 5) for name, number in calls.items()}
        new_user, new_network, new_time, signal_at_exit = 0x10000000, 0x40000000, 0x80, 17
        asked["clone"] = (calls["clone"], new_user | signal_at_exit, *[0] * 4)
        asked["clone network"] = (calls["clone"], new_network | signal_at_exit, *[0] * 4)
        asked["unshare"] = (calls["unshare"], new_user)
        asked["unshare time"] = (calls["unshare"], new_time)
        result = json.loads(await python(slot, CALLS, json.dumps(asked)))
        assert result == dict.fromkeys([*asked, "TIOCSTI"], "EPERM")

    async def test_S13_clone3_whose_flags_cannot_be_seen_is_unknown(self, slot: Harness) -> None:
        """So that every C library falls back on clone."""
        result = json.loads(await python(slot, CALLS, json.dumps({"clone3": (435, 0, 0)})))
        assert result["clone3"] == "ENOSYS"

    @needs_root
    async def test_S13_a_setuid_program_gives_nothing(
        self, sandbox: Any, reachable_path: Path, setuid_program: str
    ) -> None:
        directory = os.path.dirname(setuid_program)
        async with open_harness(
            reachable_path, separate_uid=SEPARATE_UID, sandbox=sandbox, sandbox_paths=[directory]
        ) as slot:
            own = slot.stdout(await slot.run(["id", "-u"]))
            gained = slot.stdout(await slot.run([setuid_program, "-u"]))
        assert int(own) != 0
        assert gained == own

    async def test_S13_no_capability_is_left(self, slot: Harness) -> None:
        script = "grep -E '^(CapPrm|CapEff|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status"
        status = dict(line.split(":\t") for line in slot.stdout(await slot.sh(script)).splitlines())
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")

    async def test_what_builds_and_tests_need_is_permitted(self, slot: Harness) -> None:
        assert await python(slot, BUILDS_NEED) == "works\n"

    @needs_root
    async def test_S13_roots_own_uid_changes_no_parameter_of_the_kernel(
        self, sandbox: Any, reachable_path: Path
    ) -> None:
        """As actions have it where their own users cannot reach the work area."""
        async with open_harness(reachable_path, separate_uid=False, sandbox=sandbox) as slot:
            script = "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do"
            response = await slot.sh(f"{script} test -w $f && echo $f; done; mount | grep sysfs")
        writable = slot.stdout(response)
        if sandbox == BUBBLEWRAP:
            assert writable == ""
        else:
            assert "core_pattern" in writable  # not isolated


class TestS14:
    async def test_S14_only_the_three_standard_descriptors_are_open(
        self, sandbox: Any, reachable_path: Path
    ) -> None:
        """Also when the executor has open what children would inherit."""
        with tempfile.TemporaryFile(dir=reachable_path) as leak:
            os.set_inheritable(leak.fileno(), True)
            async with open_harness(
                reachable_path, separate_uid=SEPARATE_UID, sandbox=sandbox
            ) as slot:
                script = b"import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"
                assert await python(slot, script) == "[0, 1, 2, 3]\n"  # 3 is the listing itself
                response = await slot.sh("readlink /proc/$$/fd/0")
                assert slot.stdout(response) == "/dev/null\n"
