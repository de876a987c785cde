"""Which names there are in the directories of this machine, remembered between units."""

import os
import stat
import time
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum

from reapi.clients.file_digests import UNSETTLED_NS

from .recent import Recent

_MOST_NAMES = 300_000
"""In all listings together, about 40 MiB."""

_LARGEST_LISTING = 4096
"""A directory of more names is asked for single ones, so that a build whose objects go there does
not read it as a whole for each of them."""

_MOST_ASKED_NAMES = 200_000


class Kind(StrEnum):
    """What a name stands for; a symlink may stand for any or nothing."""

    FILE = "f"
    DIRECTORY = "d"
    SYMLINK = "l"


_Stamp = tuple[int, int, int, int]


class Listing:
    """The names in a directory, as long as no name changes that anybody asks for.

    Then there is another object: who has kept one, and is given the same, knows that all is as it
    was.
    """

    __slots__ = ("_kinds", "_path")

    def __init__(self, path: str, kinds: dict[str, Kind] | None) -> None:
        self._path = path
        self._kinds = kinds

    def kinds(self, names: Collection[str]) -> dict[str, Kind]:
        """Those of the names that are there, in any order."""
        kinds = self._kinds
        if kinds is not None:
            # Of two sets, or keys of dicts, it is the smaller one that is gone through.
            return {name: kinds[name] for name in kinds.keys() & names}
        probed = {name: kind_of(f"{self._path}/{name}", follow_symlinks=False) for name in names}
        return {name: kind for name, kind in probed.items() if kind is not None}

    @property
    def is_whole(self) -> bool:
        """Whether all names were read, rather than one at a time when they are asked for."""
        return self._kinds is not None

    def become(self, kinds: dict[str, Kind] | None, asked: Collection[str]) -> bool:
        """Takes over what was read now, if that is the same as before for all the asked names."""
        if kinds is None or self._kinds is None:
            return False
        if not {name for name, _ in self._kinds.items() ^ kinds.items()}.isdisjoint(asked):
            return False
        self._kinds = kinds
        return True


class DirectoryStates:
    """Listings by absolute path, checked by a stat at each question; in one thread, blocks.

    A directory that changed in the last seconds is read again each time, since its timestamps might
    not tell of another change.
    """

    __slots__ = ("_asked", "_known")

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._known: Recent[str, tuple[_Stamp | None, Listing]] = Recent(_MOST_NAMES)

    def ask_for(self, names: Iterable[str]) -> None:
        """Says which names matter to the listings that are asked for from now on."""
        if len(self._asked) > _MOST_ASKED_NAMES:
            self._asked.clear()
            self._known = Recent(_MOST_NAMES)
        self._asked.update(names)

    def listing(self, path: str) -> Listing:
        """The names in a directory now; none where there is no directory."""
        try:
            status = os.stat(path)
        except OSError:
            return _ABSENT
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        return self._read(path, stamp, known[1] if known else None)

    def are(self, paths: Sequence[str], listings: Sequence[Listing]) -> bool:
        """Whether each path still has the listing beside it; about 2 microseconds for each."""
        listing = self.listing
        return all(listing(path) is was for path, was in zip(paths, listings, strict=True))

    def _read(self, path: str, stamp: _Stamp, before: Listing | None) -> Listing:
        is_settled = max(stamp[:2]) < time.time_ns() - UNSETTLED_NS
        kinds = _list(path) if before is None or before.is_whole else None
        if before is None or not before.become(kinds, self._asked):
            before = Listing(path, kinds)
        self._known.put(path, (stamp if is_settled else None, before), 1 + len(kinds or ()))
        return before


_ABSENT = Listing("", {})


def _list(path: str) -> dict[str, Kind] | None:
    """None when they are too many to remember, or may not be read."""
    kinds: dict[str, Kind] = {}
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if len(kinds) == _LARGEST_LISTING:
                    return None
                kinds[entry.name] = _kind_of_entry(entry)
    except OSError as error:
        return {} if isinstance(error, FileNotFoundError | NotADirectoryError) else None
    return kinds


def _kind_of_entry(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return Kind.SYMLINK
    return Kind.DIRECTORY if entry.is_dir(follow_symlinks=False) else Kind.FILE


def kind_of(path: str, *, follow_symlinks: bool) -> Kind | None:
    """None when nothing is there."""
    try:
        mode = os.stat(path, follow_symlinks=follow_symlinks).st_mode
    except OSError:
        return None
    if stat.S_ISLNK(mode):
        return Kind.SYMLINK
    return Kind.DIRECTORY if stat.S_ISDIR(mode) else Kind.FILE
