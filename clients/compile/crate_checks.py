"""Which crates are not kept: those that have more in them than rustc and its call tell."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress

from .archives import members_of

_INCLUDED = re.compile(rb'\.incbin|\.include\s*\\?"')
"""In the assembler of a source: another file, which dep-info does not tell."""

_BUNDLED = re.compile(rb'\bkind\s*=\s*"static')
"""In a source: another library, whose objects may be put into the crate."""

_OWN_MEMBERS = (b".rcgu.o", b".rmeta")
"""What the names of members of an rlib end with that are made of its sources."""


class UnkeptCrate(Exception):
    """What was made is not to be kept; the text says why."""


def check_unchanged(paths: Iterable[str], began_ns: int) -> None:
    """Raises UnkeptCrate if they may have changed since rustc began."""
    for path in paths:
        status = os.stat(path)
        if max(status.st_mtime_ns, status.st_ctime_ns) >= began_ns:
            raise UnkeptCrate(f"{path} has changed meanwhile")


def check_included(paths: Iterable[str]) -> None:
    """Raises UnkeptCrate if these sources read what nobody tells."""
    for path in paths:
        if _has(path, _INCLUDED):
            raise UnkeptCrate(f"{path} has other files read into its assembler")


def check_bundled(rlib: bytes, sources: Iterable[str], *, is_named: bool) -> None:
    """Raises UnkeptCrate if it has objects of libraries that are not known to be inputs.

    `is_named`: its call names libraries, which are. Raises ValueError for what is no archive.
    """
    foreign = [member for member in members_of(rlib) if not member.endswith(_OWN_MEMBERS)]
    if foreign and not (is_named and not any(_has(path, _BUNDLED) for path in sources)):
        raise UnkeptCrate(f"{os.fsdecode(foreign[0])} was put into it, which a source names")


def _has(path: str, pattern: re.Pattern[bytes]) -> bool:
    with open(path, "rb") as file:
        return pattern.search(file.read()) is not None


def check_open_directories(paths: Iterable[str]) -> None:
    """Raises UnkeptCrate if a crate may be found there: -L does not say what else is."""
    for path in paths:
        with suppress(FileNotFoundError):
            if any(map(_is_crate, os.listdir(path))):
                raise UnkeptCrate(f"-L {path} has crates, and does not say which it is for")


def _is_crate(name: str) -> bool:
    return name.endswith((".rlib", ".rmeta"))
