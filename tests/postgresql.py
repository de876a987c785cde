"""A real PostgreSQL server for tests: Debian's programs, a free port, and a death when one asks."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import asyncpg
import pytest

from reapi.core.postgresql.dsn import Dsn
from tests.ports import lasting_port

_DEADLINE_SECONDS = 60
# PostgreSQL refuses to be run by root. Not Popen's `user`, with which it forks: gRPC's threads mind
# that.
_AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
_KEPT_BY_THE_SYSTEM = ["-c", "fsync=off", "-c", "full_page_writes=off"]
"""What a server has written outlives it, however it ends; only the system itself must not crash."""

_LOGS_NEW_DATABASES_SINCE = 15
_VERSIONS = Path("/usr/lib/postgresql")


def find_programs() -> Path | None:
    """The folder with initdb and postgres, of the newest version that is installed."""
    versions = sorted(_VERSIONS.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    if versions:
        return versions[-1].parent
    return Path(on_path).resolve().parent if on_path else None


class PostgresqlServer:
    """A cluster of its own in a temporary folder, on loopback. Use it as a context manager."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._databases = 0
        self._command_prefix = _AS_NOBODY if os.getuid() == 0 else []

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="reapi-postgresql-"))
        if self._command_prefix:
            shutil.chown(self._folder, "nobody", "nogroup")
        try:
            self._data = self._folder / "data"
            command = [*self._command_prefix, str(self._programs / "initdb")]
            options = [
                f"--pgdata={self._data}",
                "--username=reapi",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ]
            subprocess.run(
                [*command, *options],
                check=True,
                cwd=self._folder,
                stdout=subprocess.DEVNULL,
            )
            self.port = lasting_port()
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Unlike one that is killed, it gives its shared memory back.
        self._process.send_signal(signal.SIGQUIT)
        try:
            self._process.wait(_DEADLINE_SECONDS)
        finally:
            self.kill()
            shutil.rmtree(self._folder)

    def start(self) -> None:
        """Returns when it accepts connections; recovers first, if it was killed."""
        while True:
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        *self._command_prefix,
                        str(self._programs / "postgres"), "-D", str(self._data),
                        "-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}",
                        "-c", "unix_socket_directories=", "-c", "max_connections=60",
                        *_KEPT_BY_THE_SYSTEM,
                    ],
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1"]
            while self._process.poll() is None:
                if subprocess.run([*ready, "-p", str(self.port)], check=False).returncode == 0:
                    return
            # Processes of the server that was killed may hold its memory for a moment longer.
            log_text = (self._folder / "log").read_text(errors="replace")
            if "pre-existing shared memory" not in log_text[-1000:]:
                raise AssertionError(f"PostgreSQL does not start:\n{log_text[-3000:]}")

    def kill(self) -> None:
        """SIGKILL for all of its processes: what is not on the disk is lost."""
        if self._process.poll() is None:
            # Stopped, it starts no more of them.
            self._process.send_signal(signal.SIGSTOP)
            pid = self._process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            self._process.kill()
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            self._process.wait(_DEADLINE_SECONDS)

    def restart(self) -> None:
        """Kills it, and waits until it is there again."""
        self.kill()
        self.start()

    async def create_database(self) -> Dsn:
        """A new empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        connection = await asyncpg.connect(self.dsn("postgres").url)
        try:
            # Files that nobody syncs are copied in a fraction of the time that logging them takes.
            is_logged = connection.get_server_version().major >= _LOGS_NEW_DATABASES_SINCE
            how = "STRATEGY file_copy" if is_logged else ""
            await connection.execute(f"CREATE DATABASE {name} {how}")
        finally:
            await connection.close()
        return self.dsn(name)

    async def drop_database(self, dsn: Dsn) -> None:
        """Ends its connections too."""
        connection = await asyncpg.connect(self.dsn("postgres").url)
        try:
            await connection.execute(f"DROP DATABASE {dsn.url.rpartition('/')[2]} WITH (FORCE)")
        finally:
            await connection.close()

    def dsn(self, database: str, user: str = "reapi") -> Dsn:
        """The connection string of a database."""
        return Dsn(f"postgresql://{user}@127.0.0.1:{self.port}/{database}")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One server for all tests of a process. A test that kills it starts it again."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; `make test` installs it when it may")
    with PostgresqlServer(programs) as server:
        yield server


@pytest.fixture
async def postgresql_dsn(postgresql_server: PostgresqlServer) -> AsyncIterator[Dsn]:
    """A database of its own for one test."""
    dsn = await postgresql_server.create_database()
    yield dsn
    await postgresql_server.drop_database(dsn)
