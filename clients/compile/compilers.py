"""Finds the compiler that a call means, and says what it is: asked once, then known by stat."""

import asyncio
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from .driver import Driver, ToolchainError, selecting_arguments
from .model import Compilation, Family, Invocation, Local, Product
from .rustc_arguments import target_of
from .rustc_environment import without_jobserver
from .rustc_toolchain import find_rustc_toolchain
from .toolchain import (
    COMPILING,
    LINKING,
    DigestOf,
    Stamp,
    Toolchain,
    find_archiver,
    find_toolchain,
    stamp_of,
    stamps_hold,
)

_NAME = re.compile(
    r"(?P<target>[\w.]+-(?:[\w.]+-)*)?(?P<name>gcc|g\+\+|cc|c\+\+|clang|clang\+\+)"
    r"(?:-(?:\d[\d.]*|win32|posix))*"
)
"""Of a compiler, and of none that understands other arguments, as clang-cl does."""

_ARCHIVER_NAME = re.compile(r"(?!.*gcc-)(?:[\w.]+-)*ar(?:-[\d.]+)?")
"""gcc-ar runs another ar."""

_RUSTC = re.compile(r"rustc(?:-[\w.]+)?")
_OUR_MARK = b"REAPI_CC"
_LARGEST_STUB_BYTES = 1 << 20
_MOST_KNOWN = 512


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler that can be packaged.

    `command` is what argv[0] is to be; `path` is where that lies, absolute, symlinks unresolved:
    compilers look at their name. `toolchain` is what it consists of without further arguments.
    """

    command: str
    path: str
    family: Family
    version: str
    target: str
    is_cplusplus: bool
    toolchain: Toolchain

    @property
    def digest(self) -> str:
        """The identity of its content: of all that it runs and loads, at their paths."""
        return self.toolchain.digest


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Known(Generic[T]):
    """An answer, which holds while nothing is at the `absent` paths and the stamps are right."""

    answer: T
    absent: tuple[str, ...]
    stamps: tuple[tuple[str, Stamp], ...]

    def holds(self) -> bool:
        for path in self.absent:
            if os.access(path, os.F_OK):
                return False
        return stamps_hold(self.stamps)


class _Answers(Generic[T]):
    """What was asked for once; None for what is to be asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], _Known[T]] = {}

    def get(self, key: tuple[str, ...]) -> T | None:
        known = self._known.get(key)
        return known.answer if known is not None and known.holds() else None

    def add(self, key: tuple[str, ...], known: _Known[T]) -> T:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = known
        return known.answer


class Compilers:
    """The compilers of this machine. `digest_of` may be called in a thread; for one event loop."""

    def __init__(self, digest_of: DigestOf) -> None:
        self._digest_of = digest_of
        self._compilers: _Answers[Compiler | Local] = _Answers()
        self._toolchains: _Answers[Toolchain | Local] = _Answers()
        self._asking = asyncio.Lock()
        """One at a time asks, that many calls at once do not all ask the same."""

    def known(self, invocation: Invocation) -> Compiler | Local | None:
        """As `find`, at once: None for one that has to be asked. Costs some 30 stats."""
        return self._compilers.get(_key(invocation))

    async def find(self, invocation: Invocation) -> Compiler | Local:
        """The compiler that argv[0] means; Local for what is none that can be packaged.

        One that is not known costs some processes and the reading of its files, in a thread, one
        at a time.
        """
        answer = self.known(invocation)
        if answer is None:
            async with self._asking:
                answer = self.known(invocation)
                if answer is None:
                    known = await asyncio.to_thread(_find, invocation, self._digest_of)
                    answer = self._compilers.add(_key(invocation), known)
        return answer

    def known_toolchain(
        self, compiler: Compiler, compilation: Compilation, invocation: Invocation
    ) -> Toolchain | Local | None:
        """As `toolchain`, at once: None where the compiler has to be asked."""
        selecting = _selecting(compilation)
        programs = _programs(compilation)
        if not selecting and programs is COMPILING:
            return compiler.toolchain
        return self._toolchains.get(_toolchain_key(compiler, selecting, invocation, programs))

    async def toolchain(
        self, compiler: Compiler, compilation: Compilation, invocation: Invocation
    ) -> Toolchain | Local:
        """What the compiler consists of for this compile: arguments such as -B may choose others.

        That of the compiler itself is taken to be current: `find` has just looked.
        """
        answer = self.known_toolchain(compiler, compilation, invocation)
        if answer is None:
            selecting = _selecting(compilation)
            answer = await self._ask(compiler, selecting, invocation, _programs(compilation))
        return answer

    async def _ask(
        self,
        compiler: Compiler,
        selecting: tuple[str, ...],
        invocation: Invocation,
        programs: tuple[str, ...],
    ) -> Toolchain | Local:
        key = _toolchain_key(compiler, selecting, invocation, programs)
        answer = self._toolchains.get(key)
        if answer is None:
            async with self._asking:
                answer = self._toolchains.get(key)
                if answer is None:
                    known = await asyncio.to_thread(
                        _select, compiler, selecting, invocation, programs, self._digest_of
                    )
                    answer = self._toolchains.add(key, known)
        return answer


def find_compiler(invocation: Invocation, digest_of: DigestOf) -> Compiler | Local:
    """As Compilers.find, for those who ask once. Blocks."""
    return _find(invocation, digest_of).answer


def _key(invocation: Invocation) -> tuple[str, ...]:
    """All that decides which program is meant and which libraries it loads."""
    name = invocation.arguments[0]
    environment = invocation.environment
    path = environment.get("PATH", "")
    is_relative = not name.startswith("/") and (
        "/" in name or any(not part.startswith("/") for part in path.split(":"))
    )
    directory = invocation.working_directory if is_relative else ""
    return name, path, environment.get("LD_LIBRARY_PATH", ""), directory


def _programs(compilation: Compilation) -> tuple[str, ...]:
    """Of a link the start files and libraries are inputs, and no parts of its toolchain."""
    return LINKING if compilation.product is Product.PROGRAM else COMPILING


def _toolchain_key(
    compiler: Compiler,
    selecting: tuple[str, ...],
    invocation: Invocation,
    programs: tuple[str, ...],
) -> tuple[str, ...]:
    own = compiler.digest, invocation.working_directory, programs[0]
    return *_key(invocation), *own, *selecting


def _selecting(compilation: Compilation) -> tuple[str, ...]:
    if compilation.family is Family.RUSTC:
        return target_of(compilation)
    return selecting_arguments(map(str, compilation.words))


def _find(invocation: Invocation, digest_of: DigestOf) -> _Known[Compiler | Local]:
    answer: Compiler | Local = Local(f"{invocation.arguments[0]} is not on the PATH")
    absent: list[str] = []
    stamps: list[tuple[str, Stamp]] = []
    for path in _candidates(invocation):
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            absent.append(path)
            continue
        stamps.append((path, stamp_of(path)))
        if _is_ours(path):
            continue
        try:
            answer = _describe(path, invocation, digest_of)
        except (ToolchainError, OSError) as error:
            answer = Local(str(error))
        if isinstance(answer, Compiler):
            stamps += answer.toolchain.stamps
        break
    return _Known(answer, tuple(absent), tuple(dict.fromkeys(stamps)))


def _candidates(invocation: Invocation) -> Iterator[str]:
    """Where the program may be: first as it was called, then on the PATH, as behind a symlink of
    ours that was called by its path."""
    name = invocation.arguments[0]
    if "/" in name:
        yield os.path.join(invocation.working_directory, name)
    for directory in invocation.environment.get("PATH", "").split(":"):
        yield os.path.join(invocation.working_directory, directory, os.path.basename(name))


def _is_ours(path: str) -> bool:
    """Whether this is the wrapper itself: the stub, whatever its name, or its script."""
    if os.path.basename(os.path.realpath(path)).startswith("reapi-"):
        return True
    if os.path.getsize(path) > _LARGEST_STUB_BYTES:
        return False
    with open(path, "rb") as file:
        return _OUR_MARK in file.read(_LARGEST_STUB_BYTES)


def _describe(path: str, invocation: Invocation, digest_of: DigestOf) -> Compiler | Local:
    """Asks a program what it is, after its name says that it may be a compiler."""
    real_name = os.path.basename(os.path.realpath(path))
    if _ARCHIVER_NAME.fullmatch(real_name):
        return _describe_archiver(path, invocation, digest_of)
    if _RUSTC.fullmatch(real_name):
        return _describe_rustc(path, invocation, digest_of)
    if real_name == "rustup":
        return Local(f"{path} is rustup, which runs one of several compilers")
    named = _NAME.fullmatch(real_name)
    if named is None or not _NAME.fullmatch(os.path.basename(path)):
        return Local(f"{path} is {real_name}, which is not known as gcc, clang or rustc")
    family = Family.CLANG if "clang" in named["name"] else Family.GCC
    directory, environment = invocation.working_directory, invocation.environment
    driver = Driver(path, family, environment, directory)
    greeting = driver.ask("--version")
    is_gnu = "Free Software Foundation" in greeting
    if is_gnu != (family is Family.GCC) or not (is_gnu or "clang version" in greeting):
        return Local(f"{path} does not say that it is {family}")
    target = driver.ask("-dumpmachine").strip()
    if named["target"] not in (None, f"{target}-"):
        return Local(f"{path} is named as a compiler for another target than its {target}")
    asked = ("-dumpversion",) if family is Family.CLANG else ("-dumpfullversion", "-dumpversion")
    return Compiler(
        command=_command(path, invocation),
        path=path,
        family=family,
        version=driver.ask(*asked).strip(),
        target=target,
        # clang goes by the name that it is called by, gcc has a program for each.
        is_cplusplus="++" in (os.path.basename(path) if family is Family.CLANG else real_name),
        toolchain=find_toolchain(driver, digest_of),
    )


def _describe_archiver(path: str, invocation: Invocation, digest_of: DigestOf) -> Compiler:
    driver = Driver(path, Family.AR, invocation.environment, invocation.working_directory)
    return Compiler(
        command=_command(path, invocation),
        path=path,
        family=Family.AR,
        version=driver.ask("--version").partition("\n")[0],
        target="",
        is_cplusplus=False,
        toolchain=find_archiver(driver, digest_of),
    )


def _command(path: str, invocation: Invocation) -> str:
    """The compiler's name: as it was called, unless that is a name of ours."""
    name = invocation.arguments[0]
    is_as_called = "/" not in name or path == os.path.join(invocation.working_directory, name)
    return name if is_as_called else path


def _describe_rustc(path: str, invocation: Invocation, digest_of: DigestOf) -> Compiler | Local:
    driver = _rustc_driver(path, invocation)
    greeting = dict(line.partition(": ")[::2] for line in driver.ask("-vV").splitlines()[1:])
    if greeting.get("binary") != "rustc" or "release" not in greeting or "host" not in greeting:
        return Local(f"{path} does not say that it is rustc")
    return Compiler(
        command=invocation.arguments[0],
        path=path,
        family=Family.RUSTC,
        version=greeting["release"],
        target=greeting["host"],
        is_cplusplus=False,
        toolchain=find_rustc_toolchain(driver, digest_of),
    )


def _rustc_driver(path: str, invocation: Invocation, selecting: tuple[str, ...] = ()) -> Driver:
    environment = without_jobserver(invocation.environment)
    return Driver(path, Family.RUSTC, environment, invocation.working_directory, selecting)


def _select(
    compiler: Compiler,
    selecting: tuple[str, ...],
    invocation: Invocation,
    programs: tuple[str, ...],
    digest_of: DigestOf,
) -> _Known[Toolchain | Local]:
    directory, environment = invocation.working_directory, invocation.environment
    driver = Driver(compiler.path, compiler.family, environment, directory, selecting)
    try:
        if compiler.family is Family.RUSTC:
            driver = _rustc_driver(compiler.path, invocation, selecting)
            found = find_rustc_toolchain(driver, digest_of)
        else:
            found = find_toolchain(driver, digest_of, programs)
    except (ToolchainError, OSError) as error:
        return _Known(Local(str(error)), (), compiler.toolchain.stamps)
    # A file that is new in a directory of -B changes what is found there.
    directories = driver.selected_directories()
    there = [(path, stamp_of(path)) for path in directories if os.path.isdir(path)]
    absent = tuple(path for path in directories if not os.path.isdir(path))
    return _Known(found, absent, (*found.stamps, *there))
