"""All that a link may read, found without running it: more than it will, and never less.

The driver prints the command of its linker. From there on names are looked for as a hit looks for
them, those in linker scripts included, until nothing new is found.
"""

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from reapi.core.errors import FailedPrecondition

from .calls import Call
from .file_states import FileStates
from .hits import Hits
from .inputs import records_of
from .library_path import loader_files
from .linker_options import library_files
from .search_path import SearchPath

DRY_RUN = "-###"
"""With this drivers print what they would run, and run nothing."""

_MOST_FILES = 10_000
_LARGEST_SCRIPT_BYTES = 1 << 20
_LIBRARY = re.compile(r".*\.(?:o|os|obj|a|so)(?:\.\d+)*")
_NO_SCRIPTS = (b"\x7fELF", b"!<arch>", b"!<thin>")
_COMMENT = re.compile(rb"/\*.*?\*/", re.DOTALL)
_SCRIPT_WORD = re.compile(rb"[^\s(),;\"]+")


@dataclass(slots=True)
class _Told:
    """Files by their paths, and libraries and directories to look for them, as they are named."""

    files: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)


def link_inputs(
    call: Call, search: SearchPath, dry_run: bytes, hits: Hits, files: FileStates
) -> frozenset[str]:
    """The absolute paths of all that there is; `dry_run` is what the driver printed for DRY_RUN.

    Raises FailedPrecondition when it cannot be told.
    """
    told = _told_by_driver(os.fsdecode(dry_run))
    found = {call.path(name) for name in (*call.compilation.input_files, *told.files)}
    found = {path for path in found if os.path.isfile(path)}
    found.update(loader_files())
    search = replace(
        search,
        names=(*search.names, *told.names),
        after=(*search.after, *map(call.path, told.directories)),
    )
    new = found
    while new:
        scripts = [_told_by_script(path) for path in new]
        search = replace(
            search, names=(*search.names, *(name for script in scripts for name in script.names))
        )
        records = records_of(files, sorted(found))
        if records is None or len(records) > _MOST_FILES:
            raise FailedPrecondition("what it links cannot be read, or is too much")
        there = [path for script in scripts for path in script.files if os.path.isfile(path)]
        new = {*there, *hits.lookups(call, records, search).unread()} - found
        found |= new
    return frozenset(found)


def _told_by_driver(text: str) -> _Told:
    """Of the commands that a driver prints, each in a line that begins with a space."""
    told = _Told()
    for line in text.splitlines():
        if line.startswith(" "):
            try:
                _add_command(told, shlex.split(line)[1:])
            except ValueError as error:
                raise FailedPrecondition("the driver does not tell how it links") from error
    return told


def _add_command(told: _Told, words: Sequence[str]) -> None:
    rest = iter(words)
    for word in rest:
        if word == "-o":
            next(rest, None)
        elif word == "-L":
            told.directories.append(next(rest, ""))
        elif word.startswith("-L"):
            told.directories.append(word.removeprefix("-L"))
        elif word.startswith("-l") and word != "-l":
            told.names += library_files(word.removeprefix("-l"))
        else:
            told.files.append(word.partition("=")[2] if word.startswith("-") else word)


def _told_by_script(path: str) -> _Told:
    """All words of a linker script that stands for a library count, whatever they are."""
    told = _Told()
    if not _LIBRARY.fullmatch(path):
        return told
    with open(path, "rb") as file:
        text = file.read(_LARGEST_SCRIPT_BYTES)
    if not text.startswith(_NO_SCRIPTS) and b"\0" not in text:
        for word in map(os.fsdecode, _words_of(text)):
            if word.startswith("/"):
                told.files.append(word)
            elif word.startswith("-l"):
                told.names += library_files(word.removeprefix("-l"))
            else:
                told.names.append(word)
    return told


def _words_of(text: bytes) -> Iterable[bytes]:
    found: Iterator[re.Match[bytes]] = _SCRIPT_WORD.finditer(_COMMENT.sub(b" ", text))
    return (match[0] for match in found)
