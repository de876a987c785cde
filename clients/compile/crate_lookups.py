"""What stands where rustc would have found another file than it did."""

import hashlib
import os
from collections.abc import Iterable, Sequence

from .model import View
from .rustc_arguments import RustCompilation


class CrateLookups:
    """Which of the files exist that would stand for an input or against it: a module is x.rs or
    x/mod.rs, and a static library is in the first directory that has it.

    `paths` are the inputs, absolute. In one thread; blocks for a stat of each.
    """

    __slots__ = ("_candidates", "_found")

    def __init__(self, compilation: RustCompilation, directory: str, paths: Sequence[str]) -> None:
        libraries = (os.path.join(directory, path) for path in compilation.library_candidates)
        self._candidates = tuple(dict.fromkeys([*libraries, *_twins(paths)]))
        self._found = self._look()

    def fingerprint(self, view: View) -> str:
        """A hash of which exist, the same for the same files in another checkout."""
        there = "\0".join(map(view.there, self._found))
        return hashlib.sha256(there.encode(errors="surrogateescape")).hexdigest()

    def still_hold(self) -> bool:
        """Whether the same ones exist."""
        return self._look() == self._found

    def _look(self) -> tuple[str, ...]:
        return tuple(path for path in self._candidates if os.path.exists(path))


def _twins(paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        stem, extension = os.path.splitext(path)
        if extension == ".rs":
            parent, name = os.path.split(stem)
            yield f"{parent}.rs" if name == "mod" else f"{stem}/mod.rs"
