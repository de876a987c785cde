"""The files that a compile may read, found without its compiler: all that is named, everywhere.

Conditions are not evaluated, and a name counts wherever it exists, so this is wider than what the
compiler reads, and never narrower unless a name is computed. An input root may hold more than is
read, and what is asked for by __has_include has to be in it. It costs some milliseconds, where
asking the compiler (-M) costs a twentieth of a compile.
"""

import os
from collections.abc import Iterable, Iterator

from .directory_states import DirectoryStates, Kind, Listing
from .file_states import FileStates
from .search_path import SearchPath

_MOST_FILES = 20_000

_ALWAYS_INCLUDED = "stdc-predef.h"
"""By gcc, before the source, where the C library has it."""


def include_closure(
    source: str,
    directory: str,
    search: SearchPath,
    files: FileStates,
    directories: DirectoryStates,
) -> list[str] | None:
    """The absolute paths of a source and of all that it may include when compiled in `directory`.

    None when a file among them computes what it includes, or asks for files by computed names, or
    there are too many. Blocks.
    """
    return _Closure(source, directory, search, files, directories).paths()


class _Closure:
    def __init__(
        self,
        source: str,
        directory: str,
        search: SearchPath,
        files: FileStates,
        directories: DirectoryStates,
    ) -> None:
        self._source = source
        self._directory = directory
        self._files = files
        self._directories = directories
        self._search = search
        self._listings: dict[str, Listing] = {}
        self._names: set[str] = set()
        self._beside: set[tuple[str, str]] = set()

    def paths(self) -> list[str] | None:
        found = dict.fromkeys((self._source, *self._first()))
        waiting = list(found)
        while waiting:
            path = waiting.pop()
            facts = self._files.facts(path)
            if facts is None:
                continue
            if facts.has_computed_include or facts.has_computed_check or len(found) > _MOST_FILES:
                return None
            for included in self._included(path, facts.quoted, facts.angled):
                if included not in found:
                    found[included] = None
                    waiting.append(included)
        return list(found)

    def _first(self) -> Iterator[str]:
        """What the command line includes, and what compilers include by themselves."""
        yield from self._everywhere(_ALWAYS_INCLUDED)
        for name in self._search.names:
            yield from self._at(self._directory, name)
            yield from self._everywhere(name)

    def _included(self, path: str, quoted: Iterable[str], angled: Iterable[str]) -> Iterator[str]:
        directory = os.path.dirname(path)
        for name in quoted:
            if (directory, name) not in self._beside:
                self._beside.add((directory, name))
                yield from self._at(directory, name)
            yield from self._everywhere(name)
        for name in angled:
            yield from self._everywhere(name)

    def _everywhere(self, name: str) -> Iterator[str]:
        if name not in self._names:
            self._names.add(name)
            for directory in self._search.directories:
                yield from self._at(directory, name)

    def _at(self, directory: str, name: str) -> Iterator[str]:
        """The file of that name, if there is one."""
        path = os.path.join(directory, name)
        folder, base = os.path.split(path)
        listing = self._listings.get(folder)
        if listing is None:
            listing = self._listings[folder] = self._directories.listing(folder)
        kind = listing.kinds((base,)).get(base)
        if kind is Kind.FILE or (kind is Kind.SYMLINK and os.path.isfile(path)):
            yield path
