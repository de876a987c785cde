"""What a compiler consists of: the files that a root file system needs for it to run there."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from reapi.core.digest import Digest

from .driver import Driver, ToolchainError
from .elf import NotAProgram, loaded_files
from .model import Family

DigestOf = Callable[[str], Digest]
"""The digest of the file at an absolute path, symlinks followed; raises OSError."""

Stamp = tuple[int, int, int, int]

COMPILING = ("cc1", "cc1plus", "cc1obj", "cc1objplus", "as", "objcopy")
"""Programs that a driver runs to make objects. objcopy is for -gsplit-dwarf."""

LINKING = (
    *("collect2", "ld", "ld.bfd", "ld.gold", "ld.lld", "lto-wrapper", "lto1", "nm", "strip"),
    *COMPILING,
)
"""Those that it runs to link, which with -flto is to compile, too."""

_LINKING_FILES = ("liblto_plugin.so", "libgomp.spec", "libitm.spec", "libsanitizer.spec")
"""Specs say what -fopenmp and the like link."""

_DETERMINISTIC = re.compile(r"^\s*\[D\].*\(default\)$", re.MULTILINE)
ENV = "/usr/bin/env"
"""Executors use it to give a command a PWD of its own."""

_LOCALES = (
    "/usr/lib/locale/C.utf8",
    "/usr/lib/locale/C.UTF-8",
    "/usr/share/locale/locale.alias",
)
_DISTRIBUTION = (
    "/etc/os-release",
    "/etc/lsb-release",
    "/etc/redhat-release",
    "/etc/debian_version",
    "/etc/gentoo-release",
    "/etc/alpine-release",
)
"""clang has defaults that depend on what these say."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What one compiler needs to be there, at the same paths as here.

    `digest` names the paths and contents of `files`, which hold symlinks as they are reached.
    `directories` are those that it searches for headers and that exist. `search_path` is the PATH
    that finds the same programs. `stamps` are of what runs; locales change with the C library.
    """

    family: Family
    digest: str
    files: Mapping[str, Digest]
    directories: tuple[str, ...]
    search_path: str
    stamps: tuple[tuple[str, Stamp], ...] = field(repr=False)

    @property
    def size_bytes(self) -> int:
        return sum(digest.size_bytes for digest in self.files.values())


def find_toolchain(
    driver: Driver, digest_of: DigestOf, programs: Sequence[str] = COMPILING
) -> Toolchain:
    """Asks the driver what it consists of and reads all of that; blocks, for a second or so.

    Raises ToolchainError for one that cannot be moved, such as a script.
    """
    found = [driver.path]
    is_whole = driver.family is Family.CLANG and programs == COMPILING
    for name in () if is_whole and not _needs_assembler(driver) else programs:
        path = driver.find(driver.ask(f"-print-prog-name={name}").strip())
        if path is not None:
            found.append(path)
    said = driver.ask("-v", "-E", "-x", "c", os.devnull)
    directories = _search_directories(said)
    if driver.family is Family.CLANG or any("/cc1plus" in path for path in found):
        directories += _search_directories(driver.ask("-v", "-E", "-x", "c++", os.devnull))
    watched, still = _with_libraries(found, driver), [*_locale_files()]
    if programs == LINKING:
        watched += filter(None, (_file(driver, name) for name in _LINKING_FILES))
    if driver.family is Family.GCC:
        watched += _specs(driver)
    else:
        still += filter(os.path.exists, _DISTRIBUTION)
        watched += (*_configuration(driver, said), *_gcc_markers(said))
    still += env_files(driver)
    stamps, digests = read_files([*watched, *still], digest_of)
    for directory in _watched_directories(driver, found, said):
        stamps[directory] = stamp_of(directory)
        watched.append(directory)
    needed = {os.path.dirname(path) for path in found}
    search_path = [directory for directory in driver.search_path if directory in needed]
    absolute = (os.path.join(driver.working_directory, directory) for directory in directories)
    return Toolchain(
        driver.family,
        identity_of(digests),
        digests,
        tuple(dict.fromkeys(path for path in absolute if os.path.isdir(path))),
        ":".join(dict.fromkeys(search_path)) or os.path.dirname(driver.path),
        tuple((path, stamps[path]) for path in dict.fromkeys(watched)),
    )


def find_archiver(driver: Driver, digest_of: DigestOf) -> Toolchain:
    """As `find_toolchain`, of an `ar` whose archives tell nothing but what is in their members.

    Raises ToolchainError for one that puts times and owners into them.
    """
    if not _DETERMINISTIC.search(driver.ask("--help")):
        raise ToolchainError(f"{driver.path} puts times into its archives")
    libraries = Path(os.path.dirname(driver.path), "../lib")
    plugins = [*libraries.glob("bfd-plugins"), *libraries.glob("*/bfd-plugins")]
    loaded = [str(path) for directory in plugins for path in directory.iterdir()]
    watched = [*_with_libraries([driver.path], driver), *loaded]
    for path in loaded:
        watched += loaded_files(path, driver.environment, like=driver.path)
    stamps, digests = read_files([*watched, *env_files(driver)], digest_of)
    stamps |= {str(directory): stamp_of(str(directory)) for directory in plugins}
    directory = os.path.dirname(driver.path)
    return Toolchain(
        driver.family, identity_of(digests), digests, (), directory, tuple(stamps.items())
    )


def env_files(driver: Driver) -> list[str]:
    """What gives commands of executors another PWD or working directory, if it is here."""
    return _with_libraries([ENV], driver) if os.path.exists(ENV) else []


def stamp_of(path: str) -> Stamp:
    """What stat tells of the content of a file; raises OSError."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def stamps_hold(stamps: Iterable[tuple[str, Stamp]]) -> bool:
    """Whether the files are what they were, as far as stat tells."""
    try:
        for path, stamp in stamps:
            if stamp_of(path) != stamp:
                return False
    except OSError:
        return False
    return True


def read_files(
    files: Iterable[str], digest_of: DigestOf
) -> tuple[dict[str, Stamp], dict[str, Digest]]:
    """Stamps and contents; the stamps are of before the content was read.

    Raises ToolchainError for what cannot be read.
    """
    digests: dict[str, Digest] = {}
    stamps: dict[str, Stamp] = {}
    try:
        for path in sorted(set(files)):
            stamps[path] = stamp_of(path)
            digests[path] = digest_of(path)
    except OSError as error:
        raise ToolchainError(f"{error.filename} cannot be read: {error.strerror}") from error
    return stamps, digests


def identity_of(digests: Mapping[str, Digest]) -> str:
    """A name for these contents at these paths."""
    identity = hashlib.sha256()
    for path, digest in digests.items():
        identity.update(f"{path}\0{digest}\0".encode(errors="surrogateescape"))
    return identity.hexdigest()


def _file(driver: Driver, name: str) -> str | None:
    """A file in the compiler's own directories; the answer is the bare name where it has none."""
    answer = driver.ask(f"-print-file-name={name}").strip()
    path = os.path.join(driver.working_directory, answer)
    return path if "/" in answer and os.path.isfile(path) else None


def _with_libraries(programs: Iterable[str], driver: Driver) -> list[str]:
    files: list[str] = []
    try:
        for program in programs:
            files += (program, *loaded_files(program, driver.environment))
    except NotAProgram as error:
        raise ToolchainError(str(error)) from error
    return files


def _needs_assembler(driver: Driver) -> bool:
    """Whether clang is told to use one of its own accord."""
    return any(word.endswith("no-integrated-as") for word in driver.selecting)


def _watched_directories(driver: Driver, programs: Sequence[str], said: str) -> Iterator[str]:
    """Where a new file would change what the compiler does: a program of its own, a newer gcc."""
    if driver.family is Family.GCC:
        yield from dict.fromkeys(os.path.dirname(path) for path in programs if "/cc1" in path)
    elif (gcc := _selected_gcc(said)) is not None:
        yield os.path.dirname(gcc)


def _selected_gcc(said: str) -> str | None:
    _, found, rest = said.partition("Selected GCC installation: ")
    return rest.splitlines()[0] if found else None


def _specs(driver: Driver) -> Iterator[str]:
    """The specs that gcc reads by itself, and those of -specs= that lie in its directories."""
    names = ["specs"]
    for word, after in pairwise((*driver.selecting, "")):
        if word.lstrip("-").startswith("specs"):
            names.append(word.partition("=")[2] or after)
    for name in names:
        given = os.path.join(driver.working_directory, name)
        path = given if name != "specs" and os.path.isfile(given) else _file(driver, name)
        if path is None:
            continue
        if "%include" in Path(path).read_text(errors="replace"):
            raise ToolchainError(f"{path} includes other specs")
        yield path


def _search_directories(said: str) -> list[str]:
    """The directories in what -v prints."""
    _, _, listed = said.partition("search starts here:")
    lines = listed.partition("End of search list.")[0].splitlines()
    return [line.strip() for line in lines if line.startswith(" ")]


def _configuration(driver: Driver, said: str) -> Iterator[str]:
    """Files of further arguments that clang reads by itself."""
    for line in said.splitlines():
        name, _, value = line.partition(": ")
        if name == "Configuration file":
            home = driver.environment.get("HOME")
            if home and value.startswith(home.rstrip("/") + "/"):
                raise ToolchainError(f"{driver.path} reads {value} of its user")
            yield value


def _gcc_markers(said: str) -> Iterator[str]:
    """What clang looks for to know a gcc and its variants."""
    for directory, _, names in os.walk(_selected_gcc(said) or ""):
        if "crtbegin.o" in names:
            yield os.path.join(directory, "crtbegin.o")


def _locale_files() -> Iterator[str]:
    for place in _LOCALES:
        if os.path.isfile(place):
            yield place
        for directory, _, names in os.walk(place):
            yield from (os.path.join(directory, name) for name in names)
