"""The directories in which a compiler looks for what is included, there or not."""

import asyncio
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from reapi.core.errors import FailedPrecondition

from .bounded_process import run_process
from .languages import PREPROCESSED
from .model import Compilation, Family, Invocation, Word
from .recent import Recent

_LARGEST_OUTPUT_BYTES = 1 << 20
_MOST_PATHS = 4096

_PLACES = {
    "-I": "angle",
    "--include-directory": "angle",
    "-F": "angle",
    "--embed-dir": "angle",
    "-iquote": "quote",
    "-isystem": "system",
    "-cxx-isystem": "system",
    "-c-isystem": "system",
    "-stdlib++-isystem": "system",
    "-internal-isystem": "system",
    "-internal-externc-isystem": "system",
    "-iframework": "system",
    "-idirafter": "after",
    "--include-directory-after": "after",
    "-include": "name",
    "--include": "name",
    "-imacros": "name",
    "--imacros": "name",
}
"""What takes a directory, or the name of a header, as its next word or joined to it."""

_CHANGES_BUILT_IN = re.compile(
    r"-(?:m(?!llvm)|B|isysroot|-sysroot|nostd|nobuiltin|nolibc|stdlib=|target|-target|-gcc-"
    r"|resource-dir|-?specs|iprefix|iwithprefix|imultilib|-config|ccc-)"
)
_TAKES_NEXT = (
    *("-B", "-isysroot", "--sysroot", "-target", "-resource-dir", "-imultilib", "--config"),
    *("--specs", "-iprefix", "-iwithprefix", "-iwithprefixbefore"),
)
_CARRIERS = ("-Xpreprocessor", "-Xclang")
_ROOTS = ("--sysroot", "-isysroot")

_ENVIRONMENT = {
    "angle": ("CPATH",),
    "system": ("C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH"),
}
_OTHER_ENVIRONMENT = ("GCC_EXEC_PREFIX", "COMPILER_PATH", "SDKROOT", "CCC_OVERRIDE_OPTIONS")

_MISSING = re.compile(r'^ignoring (?:nonexistent|duplicate) directory "(.*)"$', re.MULTILINE)
_LISTED = re.compile(r"^#include .*search starts here:\n((?: .*\n)*)", re.MULTILINE)
_CANDIDATE = re.compile(r"^Found candidate GCC installation: (.*)$", re.MULTILINE)


class CompilerCall(Protocol):
    """What of a call says where its compiler looks.

    The digest of the toolchain is another one when the compiler, or what it has built in, is.
    """

    @property
    def compiler(self) -> "_HasPath": ...
    @property
    def toolchain(self) -> "_HasDigest": ...
    @property
    def compilation(self) -> Compilation: ...
    @property
    def invocation(self) -> Invocation: ...
    @property
    def directory(self) -> str: ...


class _HasPath(Protocol):
    @property
    def path(self) -> str: ...


class _HasDigest(Protocol):
    @property
    def digest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class SearchPath:
    """Directories in the order of the search, absolute: for names in quotes, for all names, those
    with system headers, those that come last; some do not exist. `names` are those of -include
    and -imacros, which are looked up like others, but first in the working directory.
    """

    quote: tuple[str, ...]
    angle: tuple[str, ...]
    system: tuple[str, ...]
    after: tuple[str, ...]
    names: tuple[str, ...] = ()
    directories: tuple[str, ...] = field(init=False)
    """All of them, each once."""

    def __post_init__(self) -> None:
        every = (*self.quote, *self.angle, *self.system, *self.after)
        object.__setattr__(self, "directories", tuple(dict.fromkeys(every)))


_NOWHERE = SearchPath((), (), (), ())
"""A source that is preprocessed includes nothing more, and a crate no headers."""


class _BuiltIn(NamedTuple):
    """What a compiler searches on its own; it holds while the witnesses have their stamps."""

    directories: tuple[str, ...]
    witnesses: tuple[tuple[str, int], ...]

    def holds(self) -> bool:
        return all(_stamp(path) == stamp for path, stamp in self.witnesses)


class SearchPaths:
    """Finds search paths, and remembers them. For one event loop; safe for concurrent tasks."""

    def __init__(self) -> None:
        self._known: Recent[object, tuple[SearchPath, _BuiltIn]] = Recent(_MOST_PATHS)
        self._built_in: Recent[object, _BuiltIn] = Recent(_MOST_PATHS)
        self._running = asyncio.Lock()
        """Who needs what is being asked for finds it after waiting."""

    def known(self, call: CompilerCall) -> SearchPath | None:
        """What was found before; None if it is not known, or may be another one now."""
        compilation = call.compilation
        if compilation.language in PREPROCESSED.values() or compilation.family is Family.RUSTC:
            return _NOWHERE
        known = self._known.get(_key(call))
        return known[0] if known is not None and known[1].holds() else None

    async def find(self, call: CompilerCall) -> SearchPath:
        """Where the call's compiler looks; runs it when it was not asked before.

        Raises FailedPrecondition if it does not tell.
        """
        known = self.known(call)
        if known is not None:
            return known
        words = list(_flat(call.compilation.words))
        async with self._running:
            built_in = await self._built_in_of(call, tuple(_built_in_words(words)))
        path = _search_path(words, call.invocation.environment, call.directory, built_in)
        self._known.put(_key(call), (path, built_in))
        return path

    async def _built_in_of(self, call: CompilerCall, words: tuple[str, ...]) -> _BuiltIn:
        environment = call.invocation.environment
        language = call.compilation.language
        others = tuple(environment.get(name) for name in _OTHER_ENVIRONMENT)
        place = call.directory if words else ""
        key = (call.toolchain.digest, call.compiler.path, language, words, others, place)
        known = self._built_in.get(key)
        if known is None or not known.holds():
            known = await _ask(call.compiler.path, words, language, call.directory, environment)
            self._built_in.put(key, known)
        return known


def _key(call: CompilerCall) -> object:
    environment = call.invocation.environment
    return (
        call.toolchain.digest,
        call.compiler.path,
        call.compilation.language,
        call.compilation.words,
        call.directory,
        *(environment.get(name) for names in _ENVIRONMENT.values() for name in names),
        *(environment.get(name) for name in _OTHER_ENVIRONMENT),
    )


def _flat(words: Iterable[Word]) -> Iterator[str]:
    """The words as one program behind the driver gets them, or the driver itself."""
    for word in map(str, words):
        if word.startswith("-Wp,"):
            yield from word.split(",")[1:]
        elif word not in _CARRIERS:
            yield word


def _built_in_words(words: Sequence[str]) -> Iterator[str]:
    following = iter(words)
    for word in following:
        if word == "-mllvm" or _option_of(word) == word:
            next(following, None)
        elif _CHANGES_BUILT_IN.match(word):
            yield word
            if word in _TAKES_NEXT:
                yield from _next(following)


def _option_of(word: str) -> str | None:
    """The option of `_PLACES` that a word begins with, the longest one."""
    found = [option for option in _PLACES if word.startswith(option)]
    return max(found, key=len, default=None)


def _next(words: Iterator[str]) -> Iterator[str]:
    word = next(words, None)
    if word is not None:
        yield word


def _search_path(
    words: Sequence[str], environment: Mapping[str, str], directory: str, built_in: _BuiltIn
) -> SearchPath:
    found: dict[str, list[str]] = {"quote": [], "angle": [], "system": [], "after": [], "name": []}
    roots: list[str] = []
    following = iter(words)
    for word in following:
        option = _option_of(word)
        if option is not None:
            value = word.removeprefix(option).removeprefix("=" if option[:2] == "--" else "")
            found[_PLACES[option]] += [value] if value else list(_next(following))
        for root in _ROOTS:
            if word.startswith(root):
                value = word.removeprefix(root).removeprefix("=")
                roots += [value] if value else list(_next(following))
    for place, variables in _ENVIRONMENT.items():
        for variable in variables:
            value = environment.get(variable, "")
            found[place] += value.split(":") if value else []
    found["system"] += built_in.directories
    names = tuple(found.pop("name"))
    return SearchPath(
        names=names,
        **{place: _absolute(listed, roots, directory) for place, listed in found.items()},
    )


def _absolute(names: Iterable[str], roots: Sequence[str], directory: str) -> tuple[str, ...]:
    """The directories; one that begins with `=` is below the system root."""
    absolute: dict[str, None] = {}
    for name in names:
        absolute[os.path.join(directory, name)] = None
        for marker in ("=", "$SYSROOT"):
            if name.startswith(marker):
                for root in (*roots, ""):
                    absolute[os.path.join(directory, root + name.removeprefix(marker))] = None
    return tuple(absolute)


async def _ask(
    compiler: str,
    words: Sequence[str],
    language: str,
    directory: str,
    environment: Mapping[str, str],
) -> _BuiltIn:
    left_out = {name for names in _ENVIRONMENT.values() for name in names} | {"LANGUAGE"}
    variables = {name: value for name, value in environment.items() if name not in left_out}
    finished = await run_process(
        [compiler, *words, "-x", language, "-E", "-v", os.devnull],
        directory,
        {**variables, "LC_ALL": "C"},
        largest_output_bytes=_LARGEST_OUTPUT_BYTES,
    )
    text = os.fsdecode(finished.stderr)
    listed = _LISTED.findall(text)
    if finished.exit_code or (len(listed) < 2 and "-nostdinc" not in words):
        said = text.strip().rpartition("\n")[2]
        raise FailedPrecondition(
            f"{compiler} does not tell where it looks for headers: "
            f"it ends with {finished.exit_code}, saying {said!r}"
        )
    names = [line[1:] for line in "".join(listed).splitlines()]
    names = [name.removesuffix(" (framework directory)") for name in names]
    directories = (os.path.join(directory, name) for name in (*names, *_MISSING.findall(text)))
    # Clang takes the newest gcc that it finds.
    candidates = {os.path.dirname(name) for name in _CANDIDATE.findall(text)}
    witnesses = tuple((path, _stamp(path)) for path in sorted(candidates))
    return _BuiltIn(tuple(dict.fromkeys(directories)), witnesses)


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1
