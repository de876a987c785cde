"""Which file each name of a unit is found as, so that a new header that shadows one is noticed."""

import hashlib
import os
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from reapi.core.digest import Digest

from .directory_states import DirectoryStates, Kind, Listing, kind_of
from .file_states import FileStates
from .looked_up import LookedUp, names_in
from .model import View
from .search_path import SearchPath

_PRECOMPILED = ".gch"
"""Looked for in each directory before the header itself, and there without it."""

_CLANG_PRECOMPILED = ".pch"
"""Taken in place of a header of -include."""

_IDLE = ("", ".", "..")

_Names = dict[str, "_Names"]
"""Names in a directory, each with the names below it, if it may be a directory itself."""


class Lookups:
    """What is there of all names that a unit looks up, in all directories where it might.

    `records` are the files that the unit reads, absolute, with their contents. It is wider than
    what the compiler does: all names count in all directories, though one that has the name ends
    the search.

    What the names are follows from the content of the files: it holds only together with them.
    `told` is what somebody has found in them, who need not be asked again: it saves reading them.
    In one thread, blocks.
    """

    __slots__ = (
        *("_files", "_found", "_links", "_listings", "_records"),
        *("_search", "_states", "_watched", "_working_directory"),
    )

    def __init__(
        self,
        search: SearchPath,
        working_directory: str,
        records: Sequence[tuple[str, Digest]],
        files: FileStates,
        states: DirectoryStates,
        told: LookedUp | None = None,
    ) -> None:
        self._search = search
        self._working_directory = working_directory
        self._records = records
        self._files = files
        self._states = states
        self._keep(self._look(told))

    def names(self) -> LookedUp:
        """What is looked up because of what is in the files, rather than in the command."""
        files = [(self._absolute(path), digest) for path, digest in self._records]
        return names_in(files, self._directories(), self._files)

    def fingerprint(self, view: View) -> str:
        """A hash of which names were where, the same for the same files in another checkout."""
        told = hashlib.sha256()
        for directory in self._directories():
            told.update(os.fsencode(view.there(directory)) + b"\0")
        told.update(b"\0")
        for directory, present in self._found:
            told.update(os.fsencode(view.there(directory)) + b"\0" + present)
        return told.hexdigest()

    def still_hold(self) -> bool:
        """Whether all is as it was found; costs one stat per directory that exists."""
        if self._states.are(self._watched, self._listings) and all(
            kind_of(path, follow_symlinks=True) is kind for path, kind in self._links
        ):
            return True
        found = self._look()
        if tuple(found.present) != self._found:
            return False
        self._keep(found)
        return True

    def unread(self) -> list[str]:
        """The files that stand where a name is looked up, and are none of those read."""
        return self._look().unread

    def _look(self, told: LookedUp | None = None) -> "_Found":
        found = _Found(self._states, frozenset(self._absolute(path) for path, _ in self._records))
        for directory, names in self._names_by_directory(told):
            found.look_up(directory, names)
        return found

    def _keep(self, found: "_Found") -> None:
        self._watched, self._listings = tuple(found.listings), tuple(found.listings.values())
        self._links = tuple(found.links)
        self._found = tuple(found.present)

    def _names_by_directory(self, told: LookedUp | None) -> Iterator[tuple[str, _Names]]:
        names = told or self.names()
        asked = {
            name + suffix for name in self._search.names for suffix in ("", _CLANG_PRECOMPILED)
        }
        beside = dict(names.beside)
        if asked:
            here = self._absolute(".")
            beside[here] = {*beside.get(here, ()), *asked}
        searched = dict.fromkeys(self._directories())
        for start, below in _by_start({*names.everywhere, *asked}):
            self._states.ask_for(_all_of(below))
            for directory in searched:
                yield directory + start, below
        for directory in sorted(beside.keys() - searched.keys()):
            for start, below in _by_start(beside[directory]):
                self._states.ask_for(_all_of(below))
                yield directory + start, below

    def _directories(self) -> list[str]:
        return list(map(self._absolute, self._search.directories))

    def _absolute(self, path: str) -> str:
        """Without what is idle, but with `..`, which leads elsewhere behind a symlink."""
        if path[:1] != "/":
            path = os.path.join(self._working_directory, path)
        if "/." not in path and "//" not in path and path[-1] != "/":
            return path
        parts = path.split("/")
        return sys.intern("/" + "/".join(part for part in parts if part and part != "."))


class _Found:
    """What is there of names, and what it takes to notice that something else is."""

    def __init__(self, states: DirectoryStates, files: Collection[str]) -> None:
        self._states = states
        self._files = files
        self.listings: dict[str, Listing] = {}
        self.links: list[tuple[str, Kind | None]] = []
        self.present: list[tuple[str, bytes]] = []
        self.unread: list[str] = []

    def look_up(self, directory: str, names: _Names) -> None:
        left = [(directory, names)]
        while left:
            directory, names = left.pop()
            listing = self.listings[sys.intern(directory)] = self._states.listing(directory)
            present = []
            for name, kind in sorted(listing.kinds(names.keys()).items()):
                path = f"{directory}/{name}"
                leads_to = kind_of(path, follow_symlinks=True) if kind is Kind.SYMLINK else kind
                if leads_to is Kind.DIRECTORY and names[name]:
                    left.append((path, names[name]))
                    continue
                if leads_to is not None:
                    present.append(f"{leads_to}{name}")
                if leads_to is Kind.FILE and path not in self._files:
                    self.unread.append(path)
                if kind is Kind.SYMLINK and path not in self._files:
                    self.links.append((path, leads_to))
            if present:
                hashed = hashlib.sha256(os.fsencode("\0".join(present))).digest()
                self.present.append((sys.intern(directory), hashed))


def _by_start(names: Iterable[str]) -> Iterator[tuple[str, _Names]]:
    """The names as trees; those of each way up, such as `/..`, apart from the others."""
    trees: defaultdict[str, _Names] = defaultdict(dict)
    directories: dict[str, _Names] = {}
    for name in names:
        directory, _, last = name.rpartition("/")
        if last in _IDLE:
            directory, _, last = "/".join(_parts(name)).rpartition("/")
            if last in _IDLE:
                continue
        below = directories.get(directory)
        if below is None:
            below = directories[directory] = _below(trees, _parts(directory))
        below.setdefault(last, {})
        below.setdefault(last + _PRECOMPILED, {})
    yield from sorted(trees.items())


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part and part != "."]


def _below(trees: defaultdict[str, _Names], directory: list[str]) -> _Names:
    """The names in a directory that is named so."""
    ups = len(directory) - directory[::-1].index("..") if ".." in directory else 0
    below = trees["".join(f"/{part}" for part in directory[:ups])]
    for part in directory[ups:]:
        below = below.setdefault(part, {})
    return below


def _all_of(names: _Names) -> Iterator[str]:
    left = [names]
    while left:
        for name, below in left.pop().items():
            yield name
            if below:
                left.append(below)
