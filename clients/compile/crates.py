"""Which crates rustc loads to make one: those of --extern, and all that these were made of."""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from reapi.core.digest import Digest

from .file_states import FileStates
from .recent import Recent

_FILE = re.compile(r"lib\w+?(?P<suffix>-[0-9a-f]{16})?(?:-[^./]*)?\.(?:rmeta|rlib|so)")
_SUFFIX = re.compile(rb"-[0-9a-f]{16}")
"""What cargo appends to the names of files (-C extra-filename). Metadata has that of each crate
that it refers to, as plain text."""

_MACROS = b"rustc_proc_macro_decls"
"""In the name of a symbol of each library of procedural macros, and of no other."""

_MOST_SUFFIXES = 100_000


class UnknownCrate(Exception):
    """A crate that does not tell which others it needs; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Closure:
    """All crates that a compile may load. `macros` are those of them that run in the compiler."""

    files: tuple[str, ...]
    macros: tuple[str, ...]


class Crates:
    """Finds closures by what is in the files; in one thread, blocks.

    What is found is wider than what rustc loads: a crate counts if its suffix is anywhere in the
    metadata of one that counts, or if it has none. rustc itself holds the narrow end: metadata has
    the hash of each crate that it refers to, and one of another hash is not loaded.
    """

    def __init__(self, files: FileStates) -> None:
        self._files = files
        self._needs: Recent[Digest, frozenset[str]] = Recent(_MOST_SUFFIXES)

    def closure(
        self, crates: Iterable[str], directories: Iterable[str], *, made: Collection[str]
    ) -> Closure:
        """All that these files need of these directories, all paths absolute; they are in it.

        Files that are `made` are not needed. Raises UnknownCrate, and OSError for what cannot be
        read.
        """
        there = _crates_in(directories, made)
        found: set[str] = set()
        waiting = [*crates, *there[""]]
        while waiting:
            path = waiting.pop()
            if path in found:
                continue
            found.add(path)
            for suffix in self._needs_of(path):
                waiting += there.get(suffix, ())
        macros = sorted(path for path in found if path.endswith(".so"))
        return Closure(tuple(sorted(found)), tuple(macros))

    def _needs_of(self, path: str) -> frozenset[str]:
        """The suffixes of the crates that one may need; none for a library of macros: it is whole.

        Of other libraries the metadata is compressed.
        """
        digest = self._files.digest(path)
        if digest is None:
            raise UnknownCrate(f"{path} cannot be read")
        needs = self._needs.get(digest)
        if needs is None:
            with open(path, "rb") as file:
                content = file.read()
            if not path.endswith(".so"):
                needs = frozenset(suffix.decode() for suffix in set(_SUFFIX.findall(content)))
            elif _MACROS in content:
                needs = frozenset()
            else:
                raise UnknownCrate(f"{path} is a dylib, which does not tell what it needs")
            self._needs.put(digest, needs, 1 + len(needs))
        return needs


def _crates_in(directories: Iterable[str], made: Collection[str]) -> defaultdict[str, list[str]]:
    """The crates that are there by suffix, with "" for none; metadata alone where that is there.

    A library without a suffix is not one of Rust, or is named by --extern.
    """
    stems: defaultdict[str, set[str]] = defaultdict(set)
    suffixes: dict[str, str] = {}
    for directory in directories:
        with suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                named = _FILE.fullmatch(entry.name)
                if named is not None and entry.path not in made:
                    stem, extension = os.path.splitext(entry.path)
                    stems[stem].add(extension)
                    suffixes[stem] = named["suffix"] or ""
    there: defaultdict[str, list[str]] = defaultdict(list)
    for stem, extensions in stems.items():
        extensions.discard(".rlib" if ".rmeta" in extensions else "")
        extensions.discard("" if suffixes[stem] else ".so")
        there[suffixes[stem]] += (stem + extension for extension in extensions)
    return there
