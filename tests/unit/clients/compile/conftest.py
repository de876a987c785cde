"""Stubs with daemons of their own, and compilers or what looks like them."""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reapi.clients.compile import directory_states, file_states
from reapi.clients.compile.control import ask_daemon
from reapi.clients.compile.model import Family, Invocation
from reapi.clients.compile.stub_build import (
    Installation,
    build_python_stub,
    build_stub,
    is_native,
    place_stub,
)
from tests.unit.clients.compile.calls import BOTH

from .units import MakeProject, Project

FAKE_DAEMON = Path(__file__).parent / "fake_daemon.py"


@dataclass
class Stub:
    """`reapi-cc` in a directory of its own; `home` has everything that it and its daemon write."""

    path: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def socket(self) -> str:
        """Where its daemon listens."""
        key = Installation(sys.executable, str(FAKE_DAEMON)).key
        return str(self.home / "reapi-cc" / f"{key}.socket")

    def start(
        self, *arguments: str | os.PathLike[str], program: Path | None = None, **variables: str
    ) -> subprocess.Popen[str]:
        """Calls it, or another program in its environment."""
        return subprocess.Popen(
            [program or self.path, *arguments],
            cwd=self.home,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str | os.PathLike[str], program: Path | None = None, **variables: str
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        with self.start(*arguments, program=program, **variables) as process:
            stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stdout, stderr

    def script(self, name: str, text: str) -> Path:
        """Makes a compiler."""
        path = self.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def pipe(self, name: str) -> Path:
        """Makes a named pipe."""
        os.mkfifo(self.home / name)
        return self.home / name

    def end_daemon(self) -> None:
        """Waits for its end."""
        facts = ask_daemon(self.socket, "flush")
        if facts is None:
            return
        pidfd = os.pidfd_open(facts["pid"])
        try:
            with suppress(ProcessLookupError):
                os.kill(facts["pid"], signal.SIGKILL)
            select.select([pidfd], [], [])
        finally:
            os.close(pidfd)


@pytest.fixture(scope="session")
def native_stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stub = build_stub(
        Installation(sys.executable, str(FAKE_DAEMON)), tmp_path_factory.mktemp("stub")
    )
    assert is_native(stub)
    return stub


@pytest.fixture(params=["native", "python"])
def stub(request: pytest.FixtureRequest, native_stub: Path) -> Iterator[Stub]:
    # Paths of sockets are short, and tmp_path is not.
    with tempfile.TemporaryDirectory(prefix="reapi-cc-test-") as name:
        home = Path(name)
        path = home / "bin" / "reapi-cc"
        path.parent.mkdir()
        if request.param == "native":
            place_stub(native_stub, path)
        else:
            build_python_stub(Installation(sys.executable, str(FAKE_DAEMON)), path)
        environment = {
            "PATH": f"{home / 'compilers'}:/usr/bin:/bin",
            "HOME": name,
            "REAPI_CC_CACHE_DIR": name,
        }
        made = Stub(path, home, environment)
        made.script("compilers/compiler", 'echo "$0 $*"; exit 5')
        try:
            yield made
        finally:
            made.end_daemon()


@pytest.fixture
def gcc(tmp_path: Path) -> Path:
    """A gcc of the test's own, alone in its directory."""
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("needs gcc")
    copy = tmp_path / "bin" / "gcc"
    copy.parent.mkdir()
    (tmp_path / "lib").symlink_to("/usr/lib")  # it looks for its programs beside itself
    shutil.copy(os.path.realpath(found), copy)
    return copy


def call(name: str, directory: Path, **environment: str) -> Invocation:
    """A call of a compiler that has no arguments."""
    variables: Mapping[str, str] = {"PATH": os.environ["PATH"], **environment}
    return Invocation((name,), str(directory), variables)


@pytest.fixture(params=BOTH, ids=lambda family: str(family))
def family(request: pytest.FixtureRequest) -> Family:
    family = Family(request.param)
    if shutil.which(family) is None:
        pytest.skip(f"{family} is not installed")
    return family


@pytest.fixture(params=["young files", "settled files", "told names"])
def make_project(
    request: pytest.FixtureRequest,
    family: Family,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> MakeProject:
    """Projects whose files are new, and are read each time, or whose stamps are trusted at once, or
    of which somebody else has found the names that are looked up."""
    if request.param == "settled files":
        for module in (file_states, directory_states):
            monkeypatch.setattr(module, "UNSETTLED_NS", -(1 << 60))

    def make(name: str) -> Project:
        (tmp_path / name).mkdir()
        return Project(tmp_path / name, family, tells_names=request.param == "told names")

    return make


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project("project")
