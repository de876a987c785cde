"""The names that a unit looks up, as they follow from the content of what it reads."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument
from reapi.protos.reapi.compile.v1 import manifest_pb2

from .file_states import FileStates
from .model import View
from .packing import pack, unpack

_LARGEST_BYTES = 16 << 20


@dataclass(frozen=True)
class LookedUp:
    """Names for all directories of a search path, and names for single directories, absolute."""

    everywhere: Collection[str] = frozenset()
    beside: Mapping[str, Collection[str]] = field(default_factory=dict)


def names_in(
    files: Sequence[tuple[str, Digest]], directories: Iterable[str], states: FileStates
) -> LookedUp:
    """The names in these files, absolute, of a unit that searches these directories."""
    everywhere: set[str] = set()
    beside: defaultdict[str, set[str]] = defaultdict(set)
    has_computed = set()
    for file, digest in files:
        facts = states.facts_of(file, digest)
        if facts is None:
            continue
        everywhere.update(facts.quoted, facts.angled)
        if facts.quoted:
            beside[os.path.dirname(file)].update(facts.quoted)
        if facts.has_computed_include:
            has_computed.add(os.path.dirname(file))
    if has_computed:
        computed = _possible_names(files, {*directories, *has_computed})
        everywhere |= computed
        for directory in has_computed:
            beside[directory] |= computed
    return LookedUp(everywhere, beside)


def _possible_names(files: Sequence[tuple[str, Digest]], directories: Iterable[str]) -> set[str]:
    """The names by which a computed include may have found the files."""
    starts = {f"{directory}/" for directory in directories}
    return {
        file.removeprefix(start) for start in starts for file, _ in files if file.startswith(start)
    }


def pack_names(names: LookedUp, view: View) -> bytes:
    """The names for a manifest; nothing if one of them is no text, and every reader has to look."""
    index = {name: number for number, name in enumerate(sorted(names.everywhere))}
    try:
        message = manifest_pb2.LookedUp(everywhere=index)
        for directory, beside in sorted(names.beside.items()):
            numbers = sorted(index[name] for name in beside)
            message.beside.add(directory=view.there(directory), names=numbers)
    except ValueError:
        return b""
    return pack(message.SerializeToString(deterministic=True))


def unpack_names(data: bytes, view: View, files: Iterable[tuple[str, Digest]]) -> LookedUp | None:
    """What `pack_names` was given, of a unit that reads these files; None if that is not told.

    Whoever may write to the server may have written this: it names no directories of its own.
    """
    try:
        message = manifest_pb2.LookedUp.FromString(unpack(data, _LARGEST_BYTES))
        everywhere = list(message.everywhere)
        beside = {
            view.here(one.directory): {everywhere[number] for number in one.names}
            for one in message.beside
        }
    except (InvalidArgument, DecodeError, IndexError):
        return None
    has_own = not beside.keys() <= {os.path.dirname(file) for file, _ in files}
    if has_own or any("\0" in name for name in everywhere):
        return None
    return LookedUp(frozenset(everywhere), beside)
