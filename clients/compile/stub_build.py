"""Makes the stub of this installation: native where a compiler is, else a copy of python_stub.py.

What is made is a file in the user's cache directory whose name says what it was made from.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(os.path.abspath(__file__)).parent
_COMPILERS = ("cc", "gcc", "clang")
_BUILD_SECONDS = 60.0
_HEAD_OF_SCRIPT = b"#!"


@dataclass(frozen=True, slots=True)
class Installation:
    """What a stub has to know: the interpreter, and the file that this runs as the daemon."""

    python: str
    entry: str

    @property
    def key(self) -> str:
        """The name of the socket: another installation, or version in its place, is another."""
        installed = os.stat(self.entry)
        fingerprint = hashlib.sha256(f"{installed.st_mtime_ns} {installed.st_size}".encode())
        for source in ("stub.c", "python_stub.py"):
            fingerprint.update((_HERE / source).read_bytes())
        return f"{self._place}-{fingerprint.hexdigest()[:12]}"

    @property
    def _place(self) -> str:
        return hashlib.sha256(f"{self.python}\0{self.entry}".encode()).hexdigest()[:8]

    def stub_in(self, directory: Path) -> Path:
        """Where its stub is, or would be."""
        return directory / f"stub-{self.key}"

    def former_stubs_in(self, directory: Path) -> Iterator[Path]:
        """Stubs of the versions that were in its place before."""
        current = self.stub_in(directory)
        return (path for path in directory.glob(f"stub-{self._place}-*") if path != current)


def this_installation() -> Installation:
    """The one whose code this is."""
    return Installation(sys.executable, str(_HERE / "entry.py"))


def is_own_stub(path: Path) -> bool:
    """It is there, and of this user: HOME may be another's."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and os.access(path, os.X_OK)


def is_native(path: Path) -> bool:
    """A program, not a script."""
    with path.open("rb") as file:
        return file.read(2) != _HEAD_OF_SCRIPT


def build_stub(installation: Installation, directory: Path) -> Path:
    """Makes the stub, native if possible, and returns its path; raises OSError.

    Many may do so at once: each makes a file of its own, and the last one stays.
    """
    stub = installation.stub_in(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _put(stub, lambda fresh: _compile(installation, fresh) or _copy(installation, fresh))
    for former in installation.former_stubs_in(directory):
        former.unlink(missing_ok=True)
    return stub


def build_python_stub(installation: Installation, path: Path) -> None:
    """Makes the stub that needs no compiler; raises OSError."""
    _put(path, lambda fresh: _copy(installation, fresh))


def place_stub(stub: Path, target: Path) -> None:
    """Puts a copy of the stub at `target`, in place of what is there; raises OSError."""
    _put(target, lambda fresh: bool(shutil.copyfile(stub, fresh)))


def _put(target: Path, make: Callable[[str], bool]) -> None:
    """Makes a file beside `target` and renames it, so that nobody ever runs half of it."""
    with tempfile.TemporaryDirectory(prefix=".stub-", dir=target.parent) as directory:
        fresh = os.path.join(directory, "reapi-cc")
        make(fresh)
        os.chmod(fresh, 0o755)
        os.replace(fresh, target)


def _compile(installation: Installation, target: str) -> bool:
    definitions = {
        "REAPI_PYTHON": installation.python,
        "REAPI_ENTRY": installation.entry,
        "REAPI_KEY": installation.key,
    }
    options = [f"-D{name}={_c_string(text)}" for name, text in definitions.items()]
    for compiler in _COMPILERS:
        for linking in (["-static"], []):
            command = [compiler, "-O2", *linking, *options, "-o", target, str(_HERE / "stub.c")]
            if _succeeds(command) and _succeeds([target, "/bin/true"], name="reapi-cc"):
                return True
    return False


def _c_string(text: str) -> str:
    octal = "".join(f"\\{byte:03o}" for byte in os.fsencode(text))
    return f'"{octal}"'


def _succeeds(command: list[str], *, name: str | None = None) -> bool:
    environment = os.environ | {"REAPI_CC_LOCAL": "1"}  # the compiler may be a link to us
    try:
        done = subprocess.run(
            [name or command[0], *command[1:]],
            executable=command[0],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _copy(installation: Installation, target: str) -> bool:
    source = (_HERE / "python_stub.py").read_text()
    baked = (installation.python, installation.entry, installation.key)
    call = f"main(*{baked!r}, arguments_of_this_process())"
    script = f"#!{installation.python} -IS\n{source}\n\n{call}\n"
    Path(target).write_text(script)
    return True
