"""The directories in which a link looks for its libraries and start files, there or not."""

import asyncio
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from reapi.core.errors import FailedPrecondition

from .bounded_process import run_process
from .calls import Call
from .driver import selecting_arguments
from .elf import NotAProgram, needed_libraries
from .linker_options import library_files, linker_options, linker_words
from .model import Family, Product
from .recent import Recent
from .search_path import SearchPath, SearchPaths

_MOST_PATHS = 4096
_LARGEST_OUTPUT_BYTES = 1 << 20
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "HOME")
"""Others, such as LIBRARY_PATH, are of one call: they would be in the answer to all."""

_LOADER_PLACES = ("/etc/ld.so.conf", "/etc/ld.so.conf.d")
"""GNU ld looks where the loader does for what libraries need in their turn."""

LINKED = "--dependency-file="
"""By this GNU ld, gold and lld tell which files they have read."""

_STANDARD = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib")
_BUILT_IN = re.compile(r'SEARCH_DIR\("=?([^"]*)"\)')
_LIBRARY = re.compile(r"lib(.+?)\.(?:so|a)(?:\..*)?")
_NOWHERE = SearchPath((), (), (), ())


@dataclass(frozen=True, slots=True)
class _Known:
    """Directories that are searched for as long as the loader's places have not changed."""

    directories: tuple[str, ...]
    stamps: tuple[int, ...]

    def holds(self) -> bool:
        return self.stamps == _loader_stamps()


class LibraryPaths:
    """Where calls look, by what they make: of objects that is `headers`, of archives nowhere.

    For one event loop; safe for concurrent tasks.
    """

    def __init__(self, headers: SearchPaths) -> None:
        self._headers = headers
        self._built_in: Recent[object, _Known] = Recent(_MOST_PATHS)
        self._asking = asyncio.Lock()
        """Who needs what is being asked for finds it after waiting."""

    def known(self, call: Call) -> SearchPath | None:
        """What was found before; None if it is not known, or may be another one now."""
        match call.compilation.product:
            case Product.OBJECT:
                return self._headers.known(call)
            case Product.ARCHIVE:
                return _NOWHERE
            case Product.PROGRAM:
                known = self._built_in.get(_key(call))
                holds = known is not None and known.holds()
                return _search_path(call, known.directories) if known and holds else None

    async def find(self, call: Call) -> SearchPath:
        """Where the call looks; runs compiler and linker when they were not asked before.

        Raises FailedPrecondition if the compiler does not tell.
        """
        if call.compilation.product is Product.OBJECT:
            return await self._headers.find(call)
        async with self._asking:
            found = self.known(call)
            if found is None:
                built_in = await _ask(call)
                self._built_in.put(_key(call), built_in)
                found = _search_path(call, built_in.directories)
        return found


def with_files(call: Call, search: SearchPath, paths: Iterable[str]) -> SearchPath:
    """The search for all that a link has read: other files of these names may come to be found.

    So may what shared libraries need and did not find.
    """
    names, directories = dict.fromkeys(search.names), list(search.after)
    named = set(map(call.path, call.compilation.input_files))
    for path in paths if search.directories else ():
        name = os.path.basename(path)
        if path not in named:
            names[name] = None
            library = _LIBRARY.fullmatch(name)
            names.update(dict.fromkeys(library_files(library[1]) if library else ()))
        if ".so" in name:
            needed, searched = _needs_of(path)
            names.update(dict.fromkeys(needed))
            directories += searched
    return replace(search, names=tuple(names), after=tuple(dict.fromkeys(directories)))


def linked_files(rule: bytes) -> list[str]:
    """The files in what a linker writes for LINKED, each once: one in a line.

    Linkers disagree about quoting: a name with a backslash in it is that of no file.
    """
    lines = os.fsdecode(rule).split("\n\n", maxsplit=1)[0].splitlines()[1:]
    return list(dict.fromkeys(line.strip().removesuffix("\\").rstrip() for line in lines))


def _needs_of(path: str) -> tuple[list[str], list[str]]:
    try:
        return needed_libraries(path)
    except NotAProgram:  # a linker script
        return [], []


def _search_path(call: Call, built_in: Sequence[str]) -> SearchPath:
    words = [str(word) for word in call.compilation.words]
    told = linker_options(linker_words(words))
    environment = call.invocation.environment
    last = [*told.directories, *environment.get("LD_LIBRARY_PATH", "").split(":")]
    names = [file for name in _values(words, "-l") for file in library_files(name)]

    def absolute(directories: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(call.path(name) for name in directories if name))

    return SearchPath(
        quote=(),
        angle=absolute(_values(words, "-L")),
        system=absolute(built_in),
        after=absolute(last),
        names=(*names, *told.libraries),
    )


def _values(words: Iterable[str], option: str) -> list[str]:
    """The values of an option of the driver, joined to it or after it."""
    rest = iter(words)
    found = []
    for word in rest:
        if word == "-Xlinker":
            next(rest, None)
        elif word.startswith(option):
            found.append(word.removeprefix(option) or next(rest, ""))
    return found


def _selecting(call: Call) -> tuple[str, ...]:
    return selecting_arguments(map(str, call.compilation.words))


def _key(call: Call) -> object:
    selecting = _selecting(call)
    directory = call.directory if selecting else ""
    path = call.invocation.environment.get("PATH")
    return call.toolchain.digest, call.compiler.path, selecting, directory, path


async def _ask(call: Call) -> _Known:
    stamps = _loader_stamps()
    compiler, selecting = call.compiler.path, _selecting(call)
    said = await _run(call, compiler, *selecting, "-print-search-dirs")
    _, _, listed = said.partition("libraries: =")
    directories = listed.partition("\n")[0].split(":")
    root = ""
    if call.compiler.family is Family.GCC:
        root = (await _run(call, compiler, *selecting, "-print-sysroot")).strip()
    linker = (await _run(call, compiler, *selecting, "-print-prog-name=ld")).strip()
    told = ""
    with suppress(FailedPrecondition):  # lld looks nowhere else, others in the standard places
        told = await _run(call, linker, "--verbose")
    for name in (*_BUILT_IN.findall(told), *_STANDARD):
        directories += (f"{root}{name}", name)
    return _Known((*dict.fromkeys(directories), *_loader_directories()), stamps)


async def _run(call: Call, *argv: str) -> str:
    environment = call.invocation.environment
    finished = await run_process(
        argv,
        call.invocation.working_directory,
        {name: value for name, value in environment.items() if name in _KEPT_VARIABLES},
        largest_output_bytes=_LARGEST_OUTPUT_BYTES,
    )
    if finished.exit_code:
        raise FailedPrecondition(f"{argv[0]} does not tell where it looks for libraries")
    return os.fsdecode(finished.stdout)


def _loader_directories() -> list[str]:
    """Those that the loader's configuration names; all files beside it count as included."""
    found: list[str] = []
    for path in loader_files():
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            found += (line.strip() for line in file if line.startswith("/"))
    return found


def loader_files() -> list[str]:
    """The loader's configuration, which GNU ld reads."""
    main, below = _LOADER_PLACES
    files = [main]
    if os.path.isdir(below):
        files += (os.path.join(below, name) for name in os.listdir(below))
    return [path for path in files if os.path.isfile(path)]


def _loader_stamps() -> tuple[int, ...]:
    return tuple(os.stat(path).st_mtime_ns for path in _LOADER_PLACES if os.path.exists(path))
