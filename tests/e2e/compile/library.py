"""Two real libraries: what they are built with, and their objects to compare.

They are in the source archives of two Python packages, which are there for the library's sake.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.command import run_command

DEADLINE_SECONDS = 600
JOBS = "-j2"


@dataclass(frozen=True)
class Library:
    """A library and the commands of its own build system, which run in the build directory.

    `source` is relative to the archive. `plain` and `wrapped` are what the environment of
    `configure` has for a build without and with `reapi-cc`. `link` does what is left when all
    objects are there, and compiles nothing.
    """

    archive: str
    source: str
    compiles: int
    plain: Mapping[str, str]
    wrapped: Mapping[str, str]
    wrapped_links: Mapping[str, str]
    configure: tuple[str, ...]
    build: tuple[str, ...]
    link: tuple[str, ...]
    test: tuple[str, ...]


ERFA = Library(
    archive="pyerfa-2.0.1.5",
    source="liberfa/erfa",
    compiles=251,
    plain={"CC": "gcc"},
    wrapped={"CC": "reapi-cc gcc"},
    wrapped_links={"AR": "reapi-cc ar"},
    configure=("meson", "setup", "--buildtype=debugoptimized", ".", "../source"),
    build=("ninja", JOBS),
    # Ninja compiles what it has not compiled itself.
    link=("sh", "-ec", 'ninja -t commands | grep -v -e " -c " | sh -e'),
    test=("meson", "test", "--no-rebuild"),
)
"""C; Meson with Ninja, which takes the depfiles away after it has read them."""

FASTJET = Library(
    archive="fastjet-3.5.2.0",
    source="extern/fastjet-core",
    compiles=125,
    plain={"CXX": "g++"},
    wrapped={"CXX": "g++", "CMAKE_CXX_COMPILER_LAUNCHER": "reapi-cc"},
    wrapped_links={"CMAKE_CXX_LINKER_LAUNCHER": "reapi-cc"},
    configure=(
        *("cmake", "-G", "Unix Makefiles", "-D", "CMAKE_BUILD_TYPE=Debug"),
        *("-D", "CMAKE_EXPORT_COMPILE_COMMANDS=ON", "-D", "FASTJET_ENABLE_ALLCXXPLUGINS=ON"),
        "../source",
    ),
    build=("make", JOBS),
    link=("make",),
    test=("ctest", "--output-on-failure"),
)
"""C++, 120 sources, some of them compiled twice; CMake with make, which leaves the depfiles."""


class Checkout:
    """A library's sources in a place of their own, and one build directory.

    Debug information names the directory, so all builds that are compared take place in it.
    """

    def __init__(self, library: Library, archives: Path, place: Path) -> None:
        self.library = library
        self.place = place
        self.directory = place / "build"
        shutil.copytree(archives / library.archive / library.source, place / "source")

    def configure(self, environment: Mapping[str, str], *, is_wrapped: bool) -> None:
        """Begins with an empty build directory; probes of the compiler are made of that."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        compilers = self.library.wrapped if is_wrapped else self.library.plain
        self.run(self.library.configure, {**environment, **compilers})

    def build(self, environment: Mapping[str, str]) -> None:
        self.run(self.library.build, environment)

    def run(self, command: tuple[str, ...], environment: Mapping[str, str]) -> str:
        """What a command says that has to succeed."""
        exit_code, output = run_command(
            command, self.directory, environment=environment, deadline_seconds=DEADLINE_SECONDS
        )
        assert exit_code == 0, f"{' '.join(command)} ended with {exit_code}"
        return output

    def made(self, pattern: str = "*.o") -> Mapping[str, str]:
        """Digests of the objects, or of the depfiles, by path."""
        return {
            str(path.relative_to(self.directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.directory.rglob(pattern)
            if path.is_file()
        }

    def linked(self) -> Mapping[str, str]:
        """Digests of libraries, archives and programs, by path."""
        programs = {
            str(path.relative_to(self.directory))
            for path in self.directory.rglob("*")
            if path.is_file() and not path.is_symlink() and _is_linked(path)
        }
        return {name: digest for name, digest in self.made("*").items() if name in programs}

    def remove_objects(self) -> None:
        for path in self.made():
            (self.directory / path).unlink()


def _is_linked(path: Path) -> bool:
    """Whether it is no object and made of objects; probes of build systems do not count."""
    if path.suffix == ".o" or {"CMakeFiles", "meson-private"} & {*path.parts}:
        return False
    with path.open("rb") as file:
        return file.read(8).startswith((b"\x7fELF", b"!<arch>\n"))
