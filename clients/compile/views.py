"""Where a compiler is told that a checkout is, so that results are shared as far as that is right.

Exactly where it is, the result is what the plain compiler would have made, path by path. At
CANONICAL_ROOT it is the same for all checkouts: right as it is when no path can be in it, and with
prefix maps, when its user has asked for that (`portable`).
"""

import os
from collections.abc import Iterable

from .model import CANONICAL_ROOT, Compilation, View

_MARKS = ("reapi.toml", ".git", ".hg", ".svn")


def find_root(directory: str) -> str | None:
    """The checkout that a directory is in: the nearest one upwards with a mark of one."""
    while True:
        if any(os.path.lexists(os.path.join(directory, mark)) for mark in _MARKS):
            return directory if directory != "/" else None
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


def exact_view(root: str | None) -> View:
    """Everything where it is."""
    root = root or "/"
    return View(root, root)


def canonical_view(root: str) -> View:
    """The checkout where all of them are."""
    return View(root, CANONICAL_ROOT)


def may_be_canonical(compilation: Compilation, directory: str, root: str | None) -> bool:
    """Whether the options of a call allow that its result has no path in it.

    Link-time optimisation keeps the text of options in an object, compressed.
    """
    if root is None or not is_below(directory, root) or compilation.carries_directory:
        return False
    paths = absolute_paths(compilation, root)
    return not (paths and any(str(word).startswith("-flto") for word in compilation.words))


def absolute_paths(compilation: Compilation, root: str) -> bool:
    """Whether the call names anything in the checkout by an absolute path: __FILE__ then does."""
    paths: Iterable[str | None] = (compilation.source, *(word.path for word in compilation.words))
    return any(path is not None and is_below(path, root) for path in paths)


def maps_names(compilation: Compilation, root: str) -> bool:
    """Whether the call itself has the names of files begin with something else than the checkout.

    So it has if a prefix map does that here and at CANONICAL_ROOT alike.
    """
    olds = [
        word.path or ""
        for word in compilation.words
        if word.before in ("-ffile-prefix-map=", "-fmacro-prefix-map=")
    ]
    whole = [old for old in olds if old in (root, f"{root}/")]
    others = tuple(old for old in olds if old not in whole)
    return bool(whole) and not root.startswith(others) and not CANONICAL_ROOT.startswith(others)


def is_below(path: str, root: str) -> bool:
    """Whether an absolute path is `root` or in it."""
    return path == root or path.startswith(root + "/")
