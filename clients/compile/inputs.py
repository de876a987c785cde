"""What the inputs of a compile say about its result, by what is written in them."""

import os
from collections.abc import Iterable, Sequence

from .file_states import FileStates
from .manifest import Record
from .model import Compilation, Product
from .source_scan import SourceFacts, scan_source

_THIN = b"!<thin>"


def reason_to_decline(
    files: FileStates, compilation: Compilation, paths: Iterable[str]
) -> str | None:
    """Why a compile that reads these files is not one that always makes the same, if it is not."""
    if compilation.product is not Product.OBJECT:
        return next((f"{path} is a thin archive" for path in paths if is_thin(path)), None)
    if _facts_of_words(compilation).has_time:
        return "its arguments ask for the time (__DATE__, __TIME__)"
    for path in paths:
        facts = files.facts(path)
        if facts is None:
            return f"{path} cannot be read"
        if facts.has_time:
            return f"{path} asks for the time (__DATE__, __TIME__)"
        if facts.has_incbin:
            return f"{path} has .incbin"
        if facts.has_computed_check:
            return f"{path} computes which header it asks for (__has_include)"
        if os.path.exists(path + ".gch") or os.path.exists(path + ".pch"):
            return f"{path} has a precompiled form beside it"
    return None


def precompiled(unread: Iterable[str]) -> str | None:
    """Why files that are not known to be read may be: gcc takes a .gch without its header, too."""
    for path in unread:
        if path.endswith((".gch", ".pch")):
            return f"{path} may be taken for a header"
    return None


def use_file_names(files: FileStates, compilation: Compilation, paths: Iterable[str]) -> bool:
    """Whether the name by which a file is found can be in what is made of these (__FILE__)."""
    return _facts_of_words(compilation).has_file_name or any(
        facts is not None and facts.has_file_name for facts in map(files.facts, paths)
    )


def _facts_of_words(compilation: Compilation) -> SourceFacts:
    """What -D can have, too."""
    return scan_source(os.fsencode(" ".join(map(str, compilation.words))))


def records_of(files: FileStates, paths: Sequence[str]) -> list[Record] | None:
    """The files with their contents; None when one is gone, or has a name that is not UTF-8."""
    if not all(map(_is_utf8, paths)):
        return None
    records = [(path, files.digest(path)) for path in paths]
    found = [(path, digest) for path, digest in records if digest is not None]
    return found if len(found) == len(records) else None


def is_thin(path: str) -> bool:
    """Whether it is an archive of members that are elsewhere, which nobody tells of."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(len(_THIN)) == _THIN
    except OSError:
        return False


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
